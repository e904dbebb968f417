"""An edit of the aligned square, back in the full photograph."""

import functools

import cv2
import numpy as np
from PIL import Image

from pdae_app.faces.align import Alignment, center_square

# Width of the soft border of the square, as a part of its side.
FEATHER = 0.18

# Fine structure is what is finer than FINE pixels of the square; it is compared within WINDOW of
# them, against a noise of NOISE grey levels.
FINE, WINDOW, NOISE = 1.5, 2.5, 4.0

# Of the old structure's strength: from where on its detail stays whole, and down to where none is.
WHOLE, GONE = 0.5, 0.05

# So many pixels of a photograph are changed at a time: each takes some fifty bytes meanwhile.
STRIP = 4_000_000


def soft_mask(size: int, feather: float = FEATHER) -> np.ndarray:
    """(size, size) float32: 1 in the middle, falling smoothly to 0 at the border."""
    place = (np.arange(size) + 0.5) / size
    edge = np.clip(np.minimum(place, 1 - place) / feather, 0, 1)
    ramp = edge * edge * (3 - 2 * edge)
    return np.outer(ramp, ramp).astype(np.float32)


def pasted(
    photo: Image.Image,
    alignment: Alignment | None,
    edited: Image.Image,
    reconstruction: Image.Image | None = None,
) -> Image.Image:
    """The edited square in the photograph: what changed, or without a reconstruction all of it.

    Without an alignment the square is the photograph's centre.
    """
    alignment = alignment or center_square(photo)
    if reconstruction is None:
        return paste_replacement(photo, alignment, edited)
    return paste_difference(photo, alignment, edited, reconstruction)


def paste_difference(
    photo: Image.Image, alignment: Alignment, edited: Image.Image, reconstruction: Image.Image
) -> Image.Image:
    """Add what the edit changed to the photograph's own pixels.

    The small difference (edited - reconstruction) is enlarged and added under a soft mask, so the
    photograph keeps its sharpness although the model works on few pixels. Where the edit took away
    what the photograph's detail belongs to, as teeth or hair, the detail goes too.
    """
    new, old = (np.asarray(image, np.float32) for image in (edited, reconstruction))
    mask = soft_mask(len(old))[:, :, None]
    lost = 1 - kept_detail(new, old)[:, :, None]
    layers = np.concatenate([mask * (new - old), mask * lost], axis=2)

    def add(pixels, warp):
        warped = warp(layers)
        added = pixels + warped[:, :, :3]
        return added - warped[:, :, 3:] * (pixels - warp(old)) if lost.any() else added

    return _with_region(photo, alignment, add)


def kept_detail(edited: np.ndarray, unchanged: np.ndarray) -> np.ndarray:
    """How much of the photograph's detail belongs to the edit as well: (S, S) in [0, 1].

    Of two squares (S, S, 3) in [0, 255], the slope of a local regression of the edited one's fine
    structure on the unchanged one's: 1 where it is still there, whatever its colour, or where there
    was none, 0 where it has gone.
    """
    new, old = (_fine(square.mean(axis=2)) for square in (edited, unchanged))
    slope = (_local(new * old) + NOISE**2) / (_local(old * old) + NOISE**2)
    return np.clip((slope - GONE) / (WHOLE - GONE), 0, 1)


def _fine(grey: np.ndarray) -> np.ndarray:
    return grey - cv2.GaussianBlur(grey, (0, 0), FINE)


def _local(products: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(products, (0, 0), WINDOW)


def paste_replacement(photo: Image.Image, alignment: Alignment, edited: Image.Image) -> Image.Image:
    """Put the edited square itself into the photograph under a soft mask: blurred, but complete."""
    square = np.asarray(edited, np.float32)
    mask = soft_mask(len(square))[:, :, None]
    layers = np.concatenate([square * mask, mask], axis=2)

    def blend(pixels, warp):
        warped = warp(layers)
        return pixels * (1 - warped[:, :, 3:]) + warped[:, :, :3]

    return _with_region(photo, alignment, blend)


def _with_region(photo: Image.Image, alignment: Alignment, change) -> Image.Image:
    """`photo` with the pixels around the square changed by `change(pixels, warp)`.

    `warp` carries a (S, S, C) array of the square onto those pixels, 0 outside.
    """
    pixels = np.asarray(photo).copy()
    left, top, right, bottom = _bounds(alignment, photo.size)
    if left >= right or top >= bottom:
        return photo.copy()
    rows = max(1, STRIP // (right - left))
    for start in range(top, bottom, rows):
        end = min(bottom, start + rows)
        region = pixels[start:end, left:right]
        warp = functools.partial(_warped, alignment, (left, start), (right - left, end - start))
        changed = change(region.astype(np.float32), warp)
        region[:] = changed.round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def _warped(
    alignment: Alignment, corner: tuple[int, int], size: tuple[int, int], array: np.ndarray
) -> np.ndarray:
    """A (S, S, C) array of the square on `size` pixels of the photograph from `corner` on."""
    to_photo = alignment.pixel_matrix(len(array))
    to_photo[:, 2] -= corner
    warped = cv2.warpAffine(array, to_photo, size, flags=cv2.INTER_CUBIC)
    return warped.reshape(*warped.shape[:2], -1)


def _bounds(alignment: Alignment, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The pixels that the square covers: left, top, right, bottom, within the photograph."""
    corners = np.array([(0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)]) @ np.array(alignment.matrix).T
    low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, size)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int), 0, size)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
