"""Any picture file to an upright RGB photograph, with its size bounded before it is decoded."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000
MIN_SIDE = 16


class PhotoError(ValueError):
    """A picture that cannot be used; the message is for the person who chose it."""


def open_photo(source: str | Path | bytes | Image.Image) -> Image.Image:
    """The first frame of a picture, upright (EXIF) and RGB; transparency becomes white.

    Args:
        source: a path, the bytes of a file, or a PIL image of any mode.

    Raises:
        PhotoError: not an image, truncated, larger than `MAX_PIXELS` or smaller than `MIN_SIDE`.
    """
    image = source if isinstance(source, Image.Image) else _open(source)
    _check_size(image)
    try:
        image.load()
        return to_rgb(ImageOps.exif_transpose(image))
    except (OSError, SyntaxError, ValueError, MemoryError) as error:
        raise PhotoError(
            f"This picture is damaged or incomplete ({error}). Try another copy of the file."
        ) from error


def _open(source: str | Path | bytes) -> Image.Image:
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            # Pillow's own warning comes too early for a photograph of 100 million pixels;
            # `_check_size` is the bound here, and it runs before anything is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(stream)
    except Image.DecompressionBombError as error:
        raise PhotoError(_too_large("more than 170 million pixels")) from error
    except FileNotFoundError as error:
        raise PhotoError(f"There is no file {source}.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise PhotoError(
            "This file is not a picture that can be read. Use a JPEG, PNG or WebP file."
        ) from error


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PhotoError(_too_large(f"{width} x {height} pixels"))
    if min(width, height) < MIN_SIDE:
        raise PhotoError(
            f"This picture is only {width} x {height} pixels. "
            f"Use one with at least {MIN_SIDE} pixels a side."
        )


def _too_large(size: str) -> str:
    return (
        f"This picture is too large ({size}). "
        f"Make it smaller than {MAX_PIXELS // 1_000_000} million pixels and try again."
    )


def to_rgb(image: Image.Image) -> Image.Image:
    """Any PIL mode to RGB: alpha over white, 16-bit and float grey scaled to 8 bits."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8_bit(np.asarray(image, dtype=np.float64))).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _to_8_bit(grey: np.ndarray) -> np.ndarray:
    grey = np.nan_to_num(grey)
    top = 255 if grey.max() <= 255 else 65535 if grey.max() <= 65535 else grey.max()
    if grey.max() <= 1:
        top = 1
    return (grey.clip(0, top) * (255 / top)).round().astype(np.uint8)
