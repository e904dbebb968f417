"""Visitors who come, edit and leave in every way, for an hour: what of them is left in the app.

python -m benchmarks.soak --minutes 10

Four visitors edit, close tabs in the middle of it, abort uploads and say half a request; meanwhile
the model's thread is killed, the disk fills up and the clock jumps. Every finished picture is
compared with the one that the same photograph and strength gave before: nobody may get another's.
Memory, open files and the private folder are measured after a first round, and when all have left.
The private folder lies on a small file system of its own where this program may mount one.
"""

import argparse
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from gradio_client import Client

from benchmarks.load import Leaving, edited, photographs, resident
from benchmarks.slider_release import ROOT, App, wait_for
from benchmarks.tables import publish
from pdae_app.private_folder import PREFIX

VISITORS, PHOTOS = 4, 6
STRENGTHS = (-1.0, -0.5, 0.5, 1.0)
# Megabytes of the small file system, which also fills up by itself in a longer run.
DISK = 400
# Seconds between two harms; for which the disk is full; after which silent connections are closed.
HARM_EVERY, FULL_FOR, SILENT = 30, 4, 25
SHORTEST_HARM = 3
# Longer than the clock of `benchmarks.soak_app` is wrong.
WRONG_FOR = 5
# Seconds that the app may take to end: ten, and more on a busy machine.
ENDING = 60
# What the app says when it cannot do what it is asked; anything else is counted as a fault.
SENTENCES = ("no room", "deleted", "no memory", "interrupted", "too much", "queue is full")


@dataclass
class Record:
    """What happened, by all visitors together."""

    pictures: dict[tuple[int, float], str] = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        """One more of a kind."""
        with self.lock:
            self.counts[what] += 1

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
        for way in ways[1:]:  # each once, however short the time is
            self.go(way)
        while time.monotonic() < self.end:
            self.go(self.chance.choice(ways))

    def go(self, way) -> None:
        """One thing, whatever comes of it."""
        try:
            way()
        except Exception as error:  # whatever the client makes of a refusal
            text = str(error) or type(error).__name__
            known = next((words for words in SENTENCES if words in text.lower()), text[:70])
            self.record.count(f"refused ({known})")

    def edit(self) -> None:
        """As a program does, in a session of its own."""
        number, strength = self.chance.randrange(len(self.photos)), self.chance.choice(STRENGTHS)
        client = Client(self.app.address, verbose=False)
        try:
            digest = edited(client, self.photos[number], strength, {})
        finally:
            client.close()
        self.record.picture((number, strength), digest)

    def close_the_tab(self) -> None:
        """In the middle of an edit."""
        leaving = Leaving(self.app.address, self.chance.choice(self.photos))
        time.sleep(self.chance.random() * 2)
        leaving.leave()
        leaving.client.close()
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


class Harm(threading.Thread):
    """What happens to a server: its model's thread dies, its disk is full, its clock is set."""

    def __init__(self, app: App, disk: Path | None, record: Record, end: float):
        super().__init__(daemon=True)
        self.app, self.disk, self.record, self.end = app, disk, record, end

    def run(self) -> None:
        ways = [self.kill_the_model, self.set_the_clock] + [self.fill_the_disk] * bool(self.disk)
        pause = max(SHORTEST_HARM, min(HARM_EVERY, (self.end - time.monotonic()) / 8))
        number = 0
        while time.monotonic() < self.end - pause:
            time.sleep(pause)
            ways[number % len(ways)]()
            number += 1

    def kill_the_model(self) -> None:
        """Its thread ends, in the middle of whatever it does."""
        os.kill(self.app.process, signal.SIGUSR1)
        self.record.count("model threads killed")

    def set_the_clock(self) -> None:
        """Hours forward or back."""
        os.kill(self.app.process, signal.SIGUSR2)
        self.record.count("clock jumps")

    def fill_the_disk(self) -> None:
        """Another program takes all that is left, and gives it back."""
        path = self.disk / "another program's"
        try:
            with open(path, "wb", buffering=0) as file:
                while file.write(bytes(1 << 20)):
                    pass
        except OSError:  # it is full
            time.sleep(FULL_FOR)
        path.unlink()
        self.record.count("disks filled")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A small file system of its own at `folder`; None where nothing may be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def harmed_app(model: str, folder: Path, log: Path) -> Iterator[App]:
    """`benchmarks.soak_app` as a program of its own; it may take ten seconds to end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.soak_app", "--model", model, "--port", str(port)]
    environment = os.environ | {"GRADIO_TEMP_DIR": str(folder)}
    with open(log, "wb") as out:
        app = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
    try:
        wait_for(port, app)
        yield App(f"http://127.0.0.1:{port}", app.pid)
    finally:
        app.terminate()
        app.wait(ENDING)


def measured(app: App, folder: Path) -> dict[str, int]:
    """Megabytes, open files, threads, and files of visitors."""
    lying = [path for path in folder.glob(f"{PREFIX}*/**/*") if path.is_file()]
    return {
        "memory (MB)": round(resident(app.process)),
        "open files": len(os.listdir(f"/proc/{app.process}/fd")),
        "threads": len(os.listdir(f"/proc/{app.process}/task")),
        "files of visitors": len(lying),
    }


@contextmanager
def watched(app: App, folder: Path, minutes: float) -> Iterator[list[dict]]:
    """Measurements at five moments: what goes on growing is told from what was reached once."""
    rows: list[dict] = []
    over = threading.Event()

    def watch() -> None:
        for part in range(1, 6):
            if over.wait(60 * minutes / 6):
                return
            rows.append({"when": f"minute {part * minutes / 6:.3g}"} | measured(app, folder))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield rows
    finally:
        over.set()
        watcher.join()


@dataclass(frozen=True)
class Soaked:
    """Measurements before and after, what happened between, and what the end left."""

    rows: list[dict]
    counts: dict[str, int]
    faults: tuple[str, ...]
    folders_left: int


def soak(model: str, minutes: float) -> Soaked:
    """Let visitors and harm come for so long; then let the hour pass, and look what is left."""
    record = Record()
    with tempfile.TemporaryDirectory() as place:
        folder, log = Path(place) / "visitors", Path(place) / "log"
        folder.mkdir()
        photos = photographs(PHOTOS, Path(place))
        with small_disk(folder) as disk:
            with harmed_app(model, folder, log) as app:
                rows = [{"when": "started"} | measured(app, folder)]
                _visits(app, photos, None, record, 0)
                rows.append({"when": "after a first round"} | measured(app, folder))
                with watched(app, folder, minutes) as between:
                    _visits(app, photos, disk, record, 60 * minutes)
                rows += between
                rows.append({"when": "when all have left"} | measured(app, folder))
                _let_the_hour_pass(app, folder, rows[0]["files of visitors"])
                rows.append({"when": "an hour later, by the clock"} | measured(app, folder))
            left = len(list(folder.glob(f"*{PREFIX}*")))
        faults = [line for line in log.read_text(errors="replace").splitlines() if _is_fault(line)]
    return Soaked(rows, dict(record.counts), tuple(faults), left)


def _is_fault(line: str) -> bool:
    """The last line of a traceback, which names the error."""
    return re.match(r"[\w.]+(Error|Exception|Exit|Disconnect)\b", line) is not None


def _visits(
    app: App, photos: list[Path], disk: Path | None, record: Record, seconds: float
) -> None:
    """Visitors until the time is over, and harm where there is time for it."""
    end = time.monotonic() + seconds
    threads: list[threading.Thread] = [
        Visitor(app, photos, record, seed, end) for seed in range(VISITORS)
    ]
    threads += [Harm(app, disk, record, end)] if seconds else []
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(min(SILENT, 5 + seconds / 10))


def _let_the_hour_pass(app: App, folder: Path, least: int) -> None:
    """Set the clock on until no more files are there than the page has, or it went round twice."""
    for _ in range(6):
        os.kill(app.process, signal.SIGUSR2)
        time.sleep(WRONG_FOR + 3)
        if measured(app, folder)["files of visitors"] <= least:
            return


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="checkpoints/faces128")
    parser.add_argument("--minutes", type=float, default=60)
    arguments = parser.parse_args()
    soaked = soak(arguments.model, arguments.minutes)
    happened = ", ".join(f"{count} {what}" for what, count in sorted(soaked.counts.items()))
    notes = (
        f"{arguments.minutes:g} minutes: {happened}. "
        f"Wrong pictures: {soaked.counts.get('wrong pictures', 0)}. "
        f"Errors in the log: {'; '.join(soaked.faults) or 0}. "
        f"Private folders left after the end: {soaked.folders_left}."
    )
    publish("soak", soaked.rows, notes)


if __name__ == "__main__":
    main()
