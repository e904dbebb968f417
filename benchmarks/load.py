"""Many clients at once: every one gets the picture that it would get alone, and memory returns.

python -m benchmarks.load --model checkpoints/faces64 --clients 20 --edits 5

Each client edits a photograph of its own at strengths of its own through /edit, all at the same
time; afterwards the same is asked one by one, and compared bit for bit. Then a line longer than the
queue's bound is made, and a client leaves while it waits.
"""

import argparse
import hashlib
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

from gradio_client import Client, handle_file
from PIL import Image

from benchmarks.slider_release import running_app
from benchmarks.tables import publish
from pdae_app.ui.app import LINE
from pdae_app.ui.session import EXAMPLES


def photographs(count: int, folder: Path) -> list[Path]:
    """As many different photographs: the examples, each at sizes of its own."""
    paths = []
    for number in range(count):
        image = Image.open(EXAMPLES[number % len(EXAMPLES)])
        side = image.width + 8 * (number // len(EXAMPLES))
        path = folder / f"{number}.png"
        image.resize((side, side)).save(path)
        paths.append(path)
    return paths


def edited(client: Client, photo: Path, strength: float) -> str:
    """A digest of the finished picture."""
    sliders = {"Smiling": strength, "Gray_Hair": 0.5}
    path, progress = client.predict(handle_file(photo), sliders, api_name="/edit")
    if not progress["done"]:
        raise RuntimeError("the last update was not the final picture")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def strength(client: int, edit: int) -> float:
    """A strength that no other request has."""
    return round(0.02 * client + 0.31 * edit - 1, 3)


def together(address: str, photos: list[Path], edits: int) -> tuple[dict, list[float], float]:
    """All clients at once: digests by (client, edit), seconds of each request, and of all."""
    found, seconds, ready = {}, [], threading.Barrier(len(photos) + 1)

    def work(number: int) -> None:
        client = Client(address, verbose=False)
        ready.wait()
        for edit in range(edits):
            start = time.perf_counter()
            found[number, edit] = edited(client, photos[number], strength(number, edit))
            seconds.append(time.perf_counter() - start)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(photos))]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return found, seconds, time.perf_counter() - start


def alone(address: str, photos: list[Path], edits: int) -> dict:
    """The same requests one after the other, each client new."""
    found = {}
    for number, photo in enumerate(photos):
        client = Client(address, verbose=False)
        for edit in range(edits):
            found[number, edit] = edited(client, photo, strength(number, edit))
    return found


def overfull(address: str, photo: Path) -> tuple[int, int, str]:
    """More requests than the line holds: how many were answered, refused, and the words."""
    client = Client(address, verbose=False)
    jobs = [
        client.submit(handle_file(photo), {"Smiling": 0.001 * i}, api_name="/edit")
        for i in range(LINE + 20)
    ]
    words, answered = "", 0
    for job in jobs:
        try:
            job.result()
            answered += 1
        except Exception as error:  # whatever the client makes of a refusal
            words = str(error)
    return answered, len(jobs) - answered, words


def leaving(address: str, photo: Path) -> float:
    """Seconds that an edit takes after ten clients left the line; theirs would take longer."""
    for _ in range(10):
        client = Client(address, verbose=False)
        client.submit(
            handle_file(photo), {"Smiling": 1.0}, quality="Best", api_name="/edit"
        ).cancel()
    start = time.perf_counter()
    edited(Client(address, verbose=False), photo, 0.77)
    return time.perf_counter() - start


def resident(process: int) -> float:
    """Megabytes of a process in memory (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="checkpoints/faces64")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--edits", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_app(arguments.model) as app:
        photos = photographs(arguments.clients, Path(folder))
        edited(Client(app.address, verbose=False), photos[0], 0.0)
        before = resident(app.process)
        found, seconds, whole = together(app.address, photos, arguments.edits)
        after = resident(app.process)
        single = alone(app.address, photos, arguments.edits)
        answered, refused, words = overfull(app.address, photos[0])
        freed = leaving(app.address, photos[0])
        end = resident(app.process)
    same = sum(found[key] == digest for key, digest in single.items())
    row = {
        "clients x edits": f"{arguments.clients} x {arguments.edits}",
        "as alone, bit for bit": f"{same} of {len(found)}",
        "edits a second": len(found) / whole,
        "median wait (s)": statistics.median(seconds),
        "longest (s)": max(seconds),
        "memory before (MB)": round(before),
        "after": round(after),
        "at the end": round(end),
    }
    notes = (
        f"Of {LINE + 20} requests at once of one client, {answered} were answered and {refused} "
        f"refused at once: “{words}”. After ten clients left the line, an edit took {freed:.1f} s."
    )
    publish("load", [row], notes)


if __name__ == "__main__":
    main()
