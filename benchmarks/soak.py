"""Visitors who come, edit and leave in every way, for an hour: what of them is left in the app.

python -m benchmarks.soak --model checkpoints/faces64 --minutes 60

Every finished picture is compared with the one that the same photograph and strength gave before:
nobody may get another's. Memory, open files and the private folder are measured at the beginning,
after a first round of edits, and when all have left.
"""

import argparse
import os
import random
import socket
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from gradio_client import Client

from benchmarks.load import Leaving, edited, photographs, resident
from benchmarks.slider_release import App, running_app
from benchmarks.tables import publish
from pdae_app.private_folder import PREFIX

VISITORS = 4
STRENGTHS = (-1.0, -0.5, 0.5, 1.0)


@dataclass
class Record:
    """What happened, by all visitors together."""

    pictures: dict[tuple[int, float], str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        """One more of a kind."""
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def picture(self, key: tuple[int, float], digest: str) -> None:
        """A finished picture; whether it is the one that it was before."""
        with self.lock:
            same = self.pictures.setdefault(key, digest) == digest
        self.count("edits" if same else "wrong pictures")


class Visitor(threading.Thread):
    """Does one thing after the other until the time is over."""

    def __init__(self, app: App, photos: list[Path], record: Record, seed: int, end: float):
        super().__init__(daemon=True)
        self.app, self.photos, self.record, self.end = app, photos, record, end
        self.chance = random.Random(seed)

    def run(self) -> None:
        ways = (self.edit, self.edit, self.close_the_tab, self.abort_an_upload, self.say_nothing)
        while time.monotonic() < self.end:
            try:
                self.chance.choice(ways)()
            except Exception as error:  # whatever the client makes of a refusal
                self.record.count(f"refused: {str(error)[:60]}")

    def edit(self) -> None:
        """As a program does, in a session of its own."""
        number, strength = self.chance.randrange(len(self.photos)), self.chance.choice(STRENGTHS)
        client = Client(self.app.address, verbose=False)
        self.record.picture((number, strength), edited(client, self.photos[number], strength))

    def close_the_tab(self) -> None:
        """In the middle of an edit."""
        leaving = Leaving(self.app.address, self.chance.choice(self.photos))
        time.sleep(self.chance.random() * 2)
        leaving.leave()
        self.record.count("tabs closed")

    def abort_an_upload(self) -> None:
        """Half of a photograph arrives."""
        data = self.chance.choice(self.photos).read_bytes()
        head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        lines = (
            f"POST /gradio_api/upload HTTP/1.1\r\nHost: {urlsplit(self.app.address).netloc}\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n"
            f"Content-Length: {len(data) + 200}\r\n"
        )
        with self._connected() as connection:
            connection.sendall(lines.encode() + b"\r\n" + head + data[: len(data) // 2])
            time.sleep(0.2)
        self.record.count("uploads aborted")

    def say_nothing(self) -> None:
        """A connection on which half a request comes."""
        with self._connected() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n")
            time.sleep(self.chance.random() * 3)
        self.record.count("half requests")

    def _connected(self) -> socket.socket:
        place = urlsplit(self.app.address)
        return socket.create_connection((place.hostname, place.port), timeout=20)


def measured(app: App, folder: Path) -> dict[str, int]:
    """Megabytes, open files, and files of visitors."""
    lying = [path for path in folder.glob(f"{PREFIX}*/**/*") if path.is_file()]
    return {
        "memory (MB)": round(resident(app.process)),
        "open files": len(os.listdir(f"/proc/{app.process}/fd")),
        "files of visitors": len(lying),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="checkpoints/faces64")
    parser.add_argument("--minutes", type=float, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        os.environ["GRADIO_TEMP_DIR"] = place
        photos = photographs(6, Path(place))
        with running_app(arguments.model) as app:
            rows = [{"when": "before"} | measured(app, Path(place))]
            edited(Client(app.address, verbose=False), photos[0], 0.0)
            rows.append({"when": "after one edit"} | measured(app, Path(place)))
            record, end = Record(), time.monotonic() + 60 * arguments.minutes
            visitors = [Visitor(app, photos, record, seed, end) for seed in range(VISITORS)]
            for visitor in visitors:
                visitor.start()
            for visitor in visitors:
                visitor.join()
            time.sleep(30)  # silent connections end
            rows.append({"when": "when all have left"} | measured(app, Path(place)))
        left = len(list(Path(place).glob(f"{PREFIX}*")))
    happened = ", ".join(f"{count} {what}" for what, count in sorted(record.counts.items()))
    notes = (
        f"{arguments.minutes:g} minutes: {happened}. Private folders left after the end: {left}."
    )
    publish("soak", rows, notes)


if __name__ == "__main__":
    main()
