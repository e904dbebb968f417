"""Files for the page, in Gradio's own cache, which is private to this app and emptied hourly."""

import hashlib
import os
import uuid
from io import BytesIO
from pathlib import Path

from gradio.utils import get_upload_folder
from PIL import Image

from pdae_app.engine import Editor
from pdae_app.engine.sliders import save_slider_for
from pdae_app.export import STILLS
from pdae_app.export.credentials import signed_still
from pdae_app.export.provenance import Provenance
from pdae_app.latents.few_shot import FewShot

# Of a preview, which is seen for less than a second.
WEBP = {"format": "webp", "quality": 90, "method": 0}


def encoded(image: Image.Image) -> bytes:
    """The bytes of a PNG."""
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def stored(data: bytes, name: str) -> str:
    """The path of a file of this name with these bytes; its hour begins anew."""
    folder = Path(get_upload_folder()) / hashlib.sha256(data).hexdigest()
    path = folder / name
    try:
        os.utime(path)  # it may be on its way to somebody: only its date is changed
    except FileNotFoundError:  # it was never there, or the sweep took it this moment
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{uuid.uuid4().hex}"
        partial.write_bytes(data)
        os.replace(partial, path)
    return str(path)


def preview(image: Image.Image) -> str:
    """The path of a small lossy picture."""
    buffer = BytesIO()
    image.save(buffer, **WEBP)
    return stored(buffer.getvalue(), "preview.webp")


def saved(image: Image.Image, name: str, provenance: Provenance, kind: str = "PNG") -> str:
    """The path of a finished picture's file, of a kind in `STILLS`, saying where it comes from."""
    return stored(signed_still(image, provenance, kind), f"{name}{STILLS[kind]}")


def slider_file(editor: Editor, fitted: FewShot) -> str:
    """The path of the slider's file."""
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".slider-{uuid.uuid4().hex}"
    try:
        save_slider_for(editor.bundle, fitted, partial)
        return stored(partial.read_bytes(), f"{fitted.attribute.name}.safetensors")
    finally:
        partial.unlink(missing_ok=True)
