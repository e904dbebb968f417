"""What is read of strangers: how each kind is damaged, and how it is read.

A subject makes a damaged thing from a source of chance, and reads it. Reading says whether it could
be read; it raises nothing but what is a fault of ours.
"""

import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pdae_app.bundle import BundleError, check_config
from pdae_app.engine import EditError, Editor
from pdae_app.engine.preset import parse_preset
from pdae_app.engine.sliders import load_slider_of, save_slider_of
from pdae_app.faces.photo import PhotoError, open_layer, open_photo
from pdae_app.latents.slider_file import SliderFileError
from tests.attacks import encoded
from tests.fuzz.mutations import changed_bytes, changed_json, hostile

PRESET = {
    "format": "pdae_app preset 1",
    "model": "m",
    "scale": 1.0,
    "sliders": {"Smiling": 1.0, "Young": -0.5},
}


@dataclass(frozen=True)
class Subject:
    """One kind of thing that strangers send."""

    make: Callable[[random.Random], bytes]
    read: Callable[[bytes], bool]


def whole_pictures() -> list[bytes]:
    """Small pictures in every format that is read, in several of its ways."""
    gradient = Image.linear_gradient("L").resize((40, 30))
    colour = Image.merge("RGB", (gradient, gradient.rotate(180), gradient))
    clear = colour.copy()
    clear.putalpha(gradient)
    exif = Image.Exif()
    exif[0x0112] = 6
    more = {"save_all": True, "append_images": [colour.rotate(90)]}
    return [
        *(encoded(colour, kind) for kind in ("PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")),
        encoded(colour, "JPEG", exif=exif),
        encoded(colour, "JPEG", progressive=True),
        encoded(colour.convert("CMYK"), "JPEG"),
        encoded(colour, "MPO", **more),
        encoded(clear, "PNG"),
        encoded(colour.quantize(16), "PNG"),
        encoded(gradient.convert("I;16"), "PNG"),
        encoded(gradient.convert("F"), "TIFF"),
        encoded(clear, "WEBP", lossless=True),
        encoded(gradient, "TIFF", compression="tiff_lzw"),
        encoded(colour, "TIFF", compression="jpeg"),
        *(encoded(colour.copy(), kind, **more) for kind in ("GIF", "WEBP", "AVIF", "PNG")),
    ]


def pictures() -> Subject:
    """Photographs, as an upload is read; and as a painted layer is."""
    whole = whole_pictures()

    def read(data: bytes) -> bool:
        seen = False
        for opened, mode in ((open_photo, "RGB"), (open_layer, "RGBA")):
            try:
                assert opened(data).mode == mode
                seen = True
            except PhotoError as error:
                assert one_sentence(error)
        return seen

    return Subject(lambda chance: changed_bytes(chance.choice(whole), chance), read)


def configurations(config: dict, folder: Path) -> Subject:
    """A bundle's config.json, changed in its values or in its bytes."""
    folder.mkdir(exist_ok=True)
    path = folder / "config.json"

    def read(data: bytes) -> bool:
        path.write_bytes(data)
        try:
            check_config(folder)
        except BundleError as error:
            return not one_sentence(error)
        return True

    return Subject(lambda chance: changed_json(config, chance), read)


def presets() -> Subject:
    """A preset's file."""

    def make(chance: random.Random) -> bytes:
        if chance.random() < 0.1:
            return json.dumps(hostile(chance)).encode()
        return changed_json(PRESET, chance)

    def read(data: bytes) -> bool:
        try:
            preset = parse_preset(data, ["Smiling", "Young"])
        except EditError as error:
            return not one_sentence(error)
        assert 0 <= preset.scale <= 10 and all(-9 < v < 9 for v in preset.sliders.values())
        return True

    return Subject(make, read)


def slider_files(editor: Editor, folder: Path) -> Subject:
    """A slider's file; one that is read must move a code to finite numbers."""
    folder.mkdir(exist_ok=True)
    whole, crafted = folder / "grin.safetensors", folder / "crafted.safetensors"
    codes = [editor.draw(seed, steps=5).code for seed in range(12)]
    save_slider_of(editor.bundle, editor.fit_attribute("Grin", codes[:6], codes[6:]), whole)
    data = whole.read_bytes()

    def read(data: bytes) -> bool:
        crafted.write_bytes(data)
        try:
            fitted = load_slider_of(editor.bundle, crafted)
        except SliderFileError as error:
            return not one_sentence(error)
        moved = editor.with_attributes(fitted).moved(codes[0], {fitted.attribute.name: 1.0})
        assert moved.z.isfinite().all()
        return True

    return Subject(lambda chance: changed_slider(data, chance), read)


def changed_slider(data: bytes, chance: random.Random) -> bytes:
    """A slider's file with changed bytes, other facts, or other numbers."""
    way = chance.random()
    if way < 0.4:
        return changed_bytes(data, chance)
    length = int.from_bytes(data[:8], "little")
    header, numbers = json.loads(data[8 : 8 + length]), data[8 + length :]
    if way < 0.6:
        text = changed_json(header, chance)
    else:
        facts = header["__metadata__"]
        attribute = changed_json(json.loads(facts["attribute"]), chance)
        facts["attribute"] = attribute.decode("utf-8", "replace")
        text = json.dumps(header).encode()
    if way > 0.8:
        factor = np.float32(chance.choice((0, -1, 1e-30, 1e-6, 3, 1e6, 1e30, np.inf, np.nan)))
        numbers = (np.frombuffer(numbers, np.float32) * factor).tobytes()
    return len(text).to_bytes(8, "little") + text + numbers


def one_sentence(error: Exception) -> bool:
    """An error that a person can read: neither empty nor endless."""
    assert 0 < len(str(error)) < 3000, str(error)[:100]
    return True


def is_whole(data: bytes) -> bool:
    """Whether a picture of `whole_pictures` can be read."""
    return Image.open(io.BytesIO(data)).size == (40, 30) and open_photo(data).mode == "RGB"
