"""The most memory that any single request takes in a running app, above what it had before.

python -m benchmarks.request_memory --model checkpoints/faces128

Every attack is one request, or one upload and the request that reads it. The peak is the system's
own mark (VmHWM of Linux), set back before each.
"""

import argparse
import io
import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from gradio_client import Client, handle_file
from PIL import Image

from benchmarks.slider_release import App, running_app
from benchmarks.tables import publish
from pdae_app.ui.session import EXAMPLES

SLIDERS = {"Smiling": 1.0}
BATCH = 6
# Bytes of a picture that grow to as many pixels as a photograph may have, and beyond.
SIDE, BEYOND = 4990, 10_000


def photograph(side: int) -> Image.Image:
    """A synthetic face that fills a square of `side` pixels."""
    return Image.open(EXAMPLES[0]).convert("RGB").resize((side, side))


def pictures(folder: Path) -> Iterator[tuple[str, Path]]:
    """What is sent, and what it is; each is written when it is asked for."""
    grey = {"compress_level": 9}
    wide = np.tile(np.arange(SIDE, dtype=np.uint16) * 13, (SIDE, 1))
    makers: dict[str, tuple[str, Callable[[], Image.Image], dict]] = {
        "PNG of 10,000 x 10,000, RGB": ("png", lambda: _flat("RGB", BEYOND), grey),
        "PNG of 10,000 x 10,000, 16-bit grey": ("png", lambda: _flat("I;16", BEYOND), grey),
        "PNG of 25 megapixels, 16-bit grey": ("png", lambda: Image.fromarray(wide), {}),
        "PNG of 25 megapixels, transparent": ("png", lambda: _clear(photograph(SIDE)), {}),
        "TIFF of 25 megapixels, 32-bit float": ("tiff", lambda: _flat("F", SIDE), {}),
        "GIF of 25 megapixels": ("gif", lambda: photograph(SIDE).quantize(64), {}),
        "WebP of 25 megapixels": ("webp", lambda: photograph(SIDE), {"method": 0}),
        "WebP of 16,383 x 10,900, one colour": ("webp", lambda: _flat("RGB", 16383, 10900), {}),
        "AVIF of 25 megapixels": ("avif", lambda: photograph(SIDE), {"speed": 10}),
        "JPEG of 25 megapixels, a face fills it": ("jpg", lambda: photograph(SIDE), {}),
        "JPEG of 25 megapixels, turned by EXIF": ("jpg", lambda: photograph(SIDE), _turned()),
        "JPEG of 100 megapixels": ("jpg", lambda: photograph(BEYOND), {}),
        "JPEG of 100 megapixels, progressive": (
            "jpg",
            lambda: photograph(BEYOND),
            {"progressive": True, "subsampling": 0},
        ),
        "JPEG of 100 megapixels, progressive, CMYK": (
            "jpg",
            lambda: photograph(BEYOND).convert("CMYK"),
            {"progressive": True, "subsampling": 0},
        ),
    }
    for number, (what, (ending, make, options)) in enumerate(makers.items()):
        path = folder / f"{number}.{ending}"
        make().save(path, **options)
        yield what, path


def _flat(mode: str, width: int, height: int | None = None) -> Image.Image:
    return Image.new(mode, (width, height or width), 7 if mode != "RGB" else (7, 70, 170))


def _clear(image: Image.Image) -> Image.Image:
    image.putalpha(200)
    return image


def _turned() -> dict:
    exif = Image.Exif()
    exif[0x0112] = 6
    return {"exif": exif}


class Measured:
    """The running app's memory around one request after the other."""

    def __init__(self, app: App):
        self.app, self.rows = app, []

    def request(self, what: str, ask: Callable[[], str]) -> None:
        """Ask, and note what came and what it took."""
        time.sleep(2)  # what the request before left is put away
        Path(f"/proc/{self.app.process}/clear_refs").write_text("5")
        before = self._status("VmRSS")
        try:
            told = ask()
        except Exception as error:  # whatever the client makes of a refusal
            told = str(error).splitlines()[0][:70] if str(error) else type(error).__name__
        row = {
            "request": what,
            "answer": told,
            "peak above before (MB)": round(self._status("VmHWM") - before),
            "kept (MB)": round(self._status("VmRSS") - before),
        }
        print(row, flush=True)
        self.rows.append(row)

    def _status(self, name: str) -> float:
        lines = Path(f"/proc/{self.app.process}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(name))


def edited(client: Client, path: Path) -> str:
    """The answer to an edit of a whole photograph, in a few words."""
    center = path.suffix != ".jpg"
    made, _ = client.predict(handle_file(path), SLIDERS, center=center, api_name="/edit")
    width, height = Image.open(made).size
    return f"edited, {width} x {height}"


def batch(client: Client, path: Path) -> str:
    """The answer to several large photographs in one request."""
    paths = []
    for number in range(BATCH):
        copy = path.with_name(f"copy{number}.jpg")
        copy.write_bytes(path.read_bytes())
        paths.append(handle_file(copy))
    made, errors = client.predict(paths, SLIDERS, 1, "Fast", False, api_name="/batch")
    return f"zip of {Path(made).stat().st_size / 1e6:.0f} MB, {len(errors)} errors"


def posted(address: str, path: str, body: bytes, kind: str = "application/json") -> str:
    """The status of a plain request."""
    request = urllib.request.Request(f"{address}/gradio_api/{path}", body, {"Content-Type": kind})
    try:
        return f"status {urllib.request.urlopen(request, timeout=120).status}"
    except urllib.error.HTTPError as error:
        return f"status {error.code}"


def many_files(count: int, megabytes: int) -> bytes:
    """The body of an upload of as many files."""
    body = io.BytesIO()
    for number in range(count):
        head = f'Content-Disposition: form-data; name="files"; filename="{number}.png"'
        body.write(f"--x\r\n{head}\r\n\r\n".encode() + bytes(megabytes * 1_000_000) + b"\r\n")
    body.write(b"--x--\r\n")
    return body.getvalue()


def blob(address: str, index: object) -> str:
    """What Gradio's canvas made a list of, as long as the index."""
    config = json.loads(urllib.request.urlopen(f"{address}/config").read())
    canvas = next(c["id"] for c in config["components"] if c["type"] == "imageeditor")
    data = {"data": {"type": "layer", "id": "x", "index": index}, "files": [["a", "b"]]}
    asked = {"session_hash": "a", "component_id": canvas, "fn_name": "accept_blobs", "data": data}
    return posted(address, "component_server", json.dumps(asked).encode())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="checkpoints/faces128")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_app(arguments.model) as app:
        client, measured = Client(app.address, verbose=False), Measured(app)
        edited(client, EXAMPLES[0])
        for what, path in pictures(Path(folder)):
            size = path.stat().st_size / 1e6
            measured.request(f"{what} ({size:.2g} MB)", lambda path=path: edited(client, path))
            if what.endswith("a face fills it"):
                large = path
        measured.request(f"batch of {BATCH} such JPEGs", lambda: batch(client, large))
        body = many_files(9, 39)
        files = "multipart/form-data; boundary=x"
        measured.request(
            "upload of 351 MB in 9 files", lambda: posted(app.address, "upload", body, files)
        )
        deep, wide = b"[" * (8 << 20), b"[" + b"[]," * (2 << 20) + b"[]]"
        for what, text in (("JSON, 8 MB of [", deep), ("JSON of 2 million lists", wide)):
            measured.request(what, lambda text=text: posted(app.address, "queue/join", text))
        measured.request("canvas, layer number 10^7", lambda: blob(app.address, 10**7))
    worst = max(row["peak above before (MB)"] for row in measured.rows)
    publish("request_memory", measured.rows, f"The most: {worst} MB.")


if __name__ == "__main__":
    main()
