"""Time from a slider's release to the first preview and the final picture, by the app's API.

python -m benchmarks.slider_release --model checkpoints/faces128

The app runs as a program of its own. Every edited picture is fetched over one open connection, as a
browser does (gradio_client itself opens a new one for each file, which takes longer than the edit).
"""

import argparse
import http.client
import socket
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gradio_client import Client, handle_file

from benchmarks.tables import publish
from benchmarks.threads import busy
from pdae_app.engine.quality import QUALITY
from pdae_app.ui.rendering import FINISHING
from pdae_app.ui.result_panel import ADD
from pdae_app.ui.session import EXAMPLES
from pdae_app.ui.slider_pool import SLOTS

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class App:
    """Where a running app answers, and its process."""

    address: str
    process: int


@contextmanager
def running_app(model: str, *options: str):
    """`python app.py` as a program of its own, which ends with this context."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, ROOT / "app.py", "--model", model, "--port", str(port), *options]
    app = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for(port, app)
        yield App(f"http://127.0.0.1:{port}", app.pid)
    finally:
        app.terminate()
        app.wait()


def wait_for(port: int, app: subprocess.Popen) -> None:
    """Until the app listens; on a busy machine it takes minutes to start."""
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if app.poll() is not None:
            raise RuntimeError(f"the app ended with exit code {app.returncode}")
        time.sleep(0.5)


class Browser:
    """A client that knows what came from the app, fetched as pictures."""

    def __init__(self, address: str):
        self.client = Client(address, verbose=False, download_files=False)
        self.connection = http.client.HTTPConnection(urlsplit(address).netloc)

    def fetch(self, url: str) -> None:
        """Get a file, whole."""
        self.connection.request("GET", urlsplit(url).path)
        response = self.connection.getresponse()
        if response.status != 200 or not response.read():
            raise RuntimeError(f"{url} answered {response.status}")


def one_release(browser: Browser, strength: float) -> dict[str, float]:
    """Seconds to the first preview, to the finished face, and to the whole photograph."""
    values = [strength] + [0.0] * (SLOTS - 1)
    start, arrived = time.perf_counter(), {}
    browser.client.predict(ADD, 1.0, *values, None, None, api_name="/ui_release")
    updates = browser.client.submit(api_name="/ui_render")
    for face, status in updates:
        browser.fetch(face[1]["url"])
        now = time.perf_counter() - start
        arrived.setdefault("first preview", now)
        if status == FINISHING:
            arrived.setdefault("final", now)
    browser.client.predict("PNG", api_name="/ui_complete")
    return arrived | {"whole photograph": time.perf_counter() - start}


def measure(address: str, quality: str, repeats: int) -> dict[str, float | str]:
    """Medians over `repeats` releases, after two that warm up."""
    browser, photo = Browser(address), handle_file(EXAMPLES[0])
    browser.client.predict(ADD, photo, api_name="/ui_choose")
    start = time.perf_counter()
    browser.client.predict(quality, api_name="/ui_open")
    opened = time.perf_counter() - start
    times = [one_release(browser, 0.05 * (i + 1)) for i in range(repeats + 2)][2:]
    medians = {key: statistics.median(row[key] for row in times) for key in times[0]}
    return {"quality": f"{quality}, {QUALITY[quality]} steps", "opening, once": opened} | medians


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(ROOT / "checkpoints" / "faces128"))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 2])
    arguments = parser.parse_args()
    with running_app(arguments.model) as app:
        rows = []
        for count in arguments.busy:
            with busy(count):
                for quality in QUALITY:
                    row = measure(app.address, quality, arguments.repeats)
                    rows.append({"busy processes": count} | row)
    note = f"Seconds, medians of {arguments.repeats} releases. Busy processes only compute."
    publish("slider_release", rows, note)


if __name__ == "__main__":
    main()
