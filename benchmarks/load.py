"""Many clients at once: every one gets the picture that it would get alone, and memory returns.

python -m benchmarks.load --model checkpoints/faces128 --clients 20 --edits 5

Each client edits a photograph of its own at strengths of its own through /edit, all at the same
time; afterwards the same is asked one by one, and compared bit for bit. Then a line longer than the
queue's bound is made, and a client leaves while it waits.
"""

import argparse
import hashlib
import http.client
import json
import os
import socket
import statistics
import tempfile
import threading
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import torch
from gradio_client import Client, handle_file
from PIL import Image

from benchmarks.slider_release import running_app
from benchmarks.tables import publish
from pdae_app.threads import BRIEFLY
from pdae_app.ui.app import LINE
from pdae_app.ui.session import EXAMPLES

# A program of gradio_client's keeps at most forty requests going: several overfill the line.
PROGRAMS, EXTRA = 4, 20


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


def edited(client: Client, photo: Path, strength: float, others: dict | None = None) -> str:
    """A digest of the finished picture; `others` are sliders that stay."""
    sliders = {"Smiling": strength, **({"Gray_Hair": 0.5} if others is None else others)}
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
    clients = [Client(address, verbose=False) for _ in range(PROGRAMS)]
    jobs = [
        client.submit(handle_file(photo), {"Smiling": 0.01 * number}, api_name="/edit")
        for client in clients
        for number in range((LINE + EXTRA) // PROGRAMS)
    ]
    words, answered = "", 0
    for job in jobs:
        try:
            job.result()
            answered += 1
        except Exception as error:  # whatever the client makes of a refusal
            words = str(error)
    return answered, len(jobs) - answered, words


class Leaving:
    """A client that asks for an edit as a browser does, and closes its connection."""

    def __init__(self, address: str, photo: Path):
        self.client = Client(address, verbose=False)
        self.host, self.session = urlsplit(address).netloc, uuid.uuid4().hex
        path = upload(address, photo)
        picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
        data = [picture, {"Smiling": 1.0}, 1, "Best", 1, False, "", None]
        number = next(index for index, e in self.client.endpoints.items() if e.api_name == "/edit")
        asked = {"data": data, "fn_index": number, "session_hash": self.session}
        self._post("/gradio_api/queue/join", asked)
        self.stream = http.client.HTTPConnection(self.host)
        self.stream.request("GET", f"/gradio_api/queue/data?session_hash={self.session}")
        self.stream.getresponse().readline()

    def _post(self, path: str, content: dict) -> None:
        connection = http.client.HTTPConnection(self.host)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(content), headers)
        if connection.getresponse().status != 200:
            raise RuntimeError(f"{path} was refused")

    def leave(self) -> None:
        """Close the connection, as a closed page does."""
        self.stream.sock.shutdown(socket.SHUT_RDWR)
        self.stream.close()


def upload(address: str, photo: Path) -> str:
    """The server's path of an uploaded file."""
    boundary = uuid.uuid4().hex
    head = f'Content-Disposition: form-data; name="files"; filename="{photo.name}"'
    body = f"--{boundary}\r\n{head}\r\n\r\n".encode() + photo.read_bytes()
    body += f"\r\n--{boundary}--\r\n".encode()
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    connection.request("POST", "/gradio_api/upload", body, headers)
    return json.loads(connection.getresponse().read())[0]


def after_leaving(address: str, photo: Path, leave: bool) -> float:
    """Seconds that an edit takes behind ten clients, who leave the line or stay."""
    leaving = [Leaving(address, photo) for _ in range(10)]
    if leave:
        for client in leaving:
            client.leave()
    start = time.perf_counter()
    edited(Client(address, verbose=False), photo, 0.77)
    return time.perf_counter() - start


def resident(process: int) -> float:
    """Megabytes of a process in memory (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measured(arguments: argparse.Namespace, workers: int, folder: Path) -> tuple[dict, str]:
    """The row of an app with so many workers, and what else was seen of it."""
    # As many threads as ever: those of the clients, else, leave fewer, and other last bits.
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    os.environ.setdefault("GOMP_SPINCOUNT", BRIEFLY)
    with running_app(arguments.model, "--workers", str(workers)) as app:
        photos = photographs(arguments.clients, folder)
        edited(Client(app.address, verbose=False), photos[0], 0.0)
        before = resident(app.process)
        found, seconds, whole = together(app.address, photos, arguments.edits)
        after = resident(app.process)
        single = alone(app.address, photos, arguments.edits)
        answered, refused, words = overfull(app.address, photos[0])
        freed, waited = (after_leaving(app.address, photos[0], leave) for leave in (True, False))
        end = resident(app.process)
    row = {
        "workers": workers,
        "clients x edits": f"{arguments.clients} x {arguments.edits}",
        "as alone, bit for bit": f"{sum(found[k] == single[k] for k in single)} of {len(found)}",
        "edits a second": len(found) / whole,
        "median wait (s)": statistics.median(seconds),
        "longest (s)": max(seconds),
        "memory before (MB)": round(before),
        "after": round(after),
        "at the end": round(end),
    }
    notes = (
        f"Workers: {workers}. Of {answered + refused} requests at once, {answered} were "
        f"answered and {refused} refused at once: “{words}”. Behind ten clients with edits in best "
        f"quality, an edit took {waited:.1f} s; when they closed their connections, {freed:.1f} s."
    )
    return row, notes


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="checkpoints/faces128")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--edits", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [measured(arguments, workers, Path(folder)) for workers in arguments.workers]
    rows, notes = zip(*runs, strict=True)
    publish("load", list(rows), " ".join(notes))


if __name__ == "__main__":
    main()
