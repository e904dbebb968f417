"""Any picture file to an upright RGB photograph, with its size bounded before it is decoded."""

import io
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from pdae_app.limits import Limits

MIN_SIDE = 16

# Pillow knows many more, and some of them run programs (EPS: Ghostscript) or have no bounds.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF")

# A JPEG is decoded at half, a quarter or an eighth of its size where it would be too large, but one
# of more than so many times the bound takes too long even so.
REDUCTIONS = (2, 4, 8)
LARGEST_JPEG = 4
# Every scan of a progressive JPEG goes over the whole picture; usual ones have ten.
MOST_SCANS = 64
START_OF_SCAN = b"\xff\xda"

# A layer of a canvas is as large as a screen, at most.
LARGEST_LAYER = 4_000_000

# Pixels that are converted at a time.
STRIP = 1_000_000

# By the value of EXIF's tag "Orientation".
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Source = str | Path | bytes


class PhotoError(ValueError):
    """A picture that cannot be used; the message is for the person who chose it."""


def open_photo(source: Source | Image.Image) -> Image.Image:
    """The first frame of a picture, upright (EXIF) and RGB; transparency becomes white.

    It has at most `Limits.pixels`: a larger JPEG is decoded at a reduced size.

    Args:
        source: a path, the bytes of a file, or a PIL image of any mode.

    Raises:
        PhotoError: not an image, truncated, too large, or smaller than `MIN_SIDE`.
    """
    if isinstance(source, Image.Image):
        return _decoded(source)
    with opened(source) as image:
        if image.format in ("JPEG", "MPO"):
            _check_scans(source)
            _reduce(image)
        return _decoded(image)


def open_layer(source: Source) -> Image.Image:
    """What was painted on a canvas: RGBA.

    Raises:
        PhotoError: not an image, damaged, or larger than any canvas.
    """
    with opened(source) as image:
        _check_size(image, LARGEST_LAYER)
        try:
            return image.convert("RGBA")
        except Exception as error:  # decoders raise what they happen upon in a damaged file
            raise _damaged(error) from error


def opened(source: Source) -> Image.Image:
    """A picture file of one of `FORMATS`, nothing of it decoded yet: its mode, size and notes.

    Raises:
        PhotoError: not such a file.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            # Pillow's own warning comes too early; `_check_size` is the bound here, and it runs
            # before anything is decoded.
            warnings.simplefilter("ignore")
            return Image.open(stream, formats=_known_formats())
    except Image.DecompressionBombError as error:
        raise _too_large("more than 170 million pixels", Limits.of().pixels) from error
    except FileNotFoundError as error:
        raise PhotoError(f"There is no file {source}.") from error
    except Exception as error:  # decoders raise what they happen upon in a damaged file
        raise PhotoError(
            "This file is not a picture that can be read. Use a JPEG, PNG or WebP file."
        ) from error


def _known_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow reads; HEIF takes a plugin."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_scans(source: Source) -> None:
    """Raise for a JPEG that is small on disk and takes hours to decode."""
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        scans, before = 0, b""
        while block := file.read(1 << 20):
            scans += (before + block).count(START_OF_SCAN)
            before = block[-1:]
    if scans > MOST_SCANS:
        raise PhotoError(f"This JPEG has {scans} scans, which no camera makes. Save it anew.")


def _reduce(image: Image.Image) -> None:
    """Let a JPEG that is too large be decoded at a smaller size."""
    most = Limits.of().pixels
    width, height = image.size
    if not most < width * height <= LARGEST_JPEG * most:
        return
    for factor in REDUCTIONS:
        size = math.ceil(width / factor), math.ceil(height / factor)
        if size[0] * size[1] <= most:
            image.draft(None, (width // factor, height // factor))
            return


def _decoded(image: Image.Image) -> Image.Image:
    _check_size(image, Limits.of().pixels)
    try:
        image.load()
        return to_rgb(_upright(image))
    except Exception as error:  # decoders raise what they happen upon in a damaged file
        raise _damaged(error) from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # EXIF is read by whoever wrote it last; the picture is whole without it
        return image
    turn = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _check_size(image: Image.Image, most: int) -> None:
    width, height = image.size
    if width * height > most:
        raise _too_large(f"{width} x {height} pixels", most)
    if min(width, height) < MIN_SIDE:
        raise PhotoError(
            f"This picture is only {width} x {height} pixels. "
            f"Use one with at least {MIN_SIDE} pixels a side."
        )


def _too_large(size: str, most: int) -> PhotoError:
    return PhotoError(
        f"This picture is too large ({size}). "
        f"Make it smaller than {most / 1_000_000:g} million pixels and try again."
    )


def _damaged(error: Exception) -> PhotoError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:80]
    return PhotoError(
        f"This picture is damaged or incomplete ({reason}). Try another copy of the file."
    )


def to_rgb(image: Image.Image) -> Image.Image:
    """Any PIL mode to RGB: alpha over white, 16-bit and float grey scaled to 8 bits."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_grey(image)
    if "A" in image.getbands() or "transparency" in image.info:
        return _over_white(image)
    return image.convert("RGB")


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The rows a few at a time: where they begin, and they; so that no large copies are made."""
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        bottom = min(image.height, top + rows)
        yield top, image.crop((0, top, image.width, bottom))


def _over_white(image: Image.Image) -> Image.Image:
    result = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        white = Image.new("RGBA", strip.size, (255, 255, 255, 255))
        whole = Image.alpha_composite(white, strip.convert("RGBA"))
        result.paste(whole.convert("RGB"), (0, top))
    return result


def _from_deep_grey(image: Image.Image) -> Image.Image:
    brightest = max(float(_numbers(strip).max()) for _, strip in _strips(image))
    top_level = 1 if brightest <= 1 else 255 if brightest <= 255 else max(65535, brightest)
    result = Image.new("L", image.size)
    for top, strip in _strips(image):
        grey = _numbers(strip).clip(0, top_level) * (255 / top_level)
        result.paste(Image.fromarray(grey.round().astype(np.uint8)), (0, top))
    return result.convert("RGB")


def _numbers(strip: Image.Image) -> np.ndarray:
    return np.nan_to_num(np.asarray(strip, dtype=np.float64))
