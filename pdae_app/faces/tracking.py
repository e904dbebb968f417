"""One face through the frames of a film: found in each, and its path smoothed."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from PIL import Image

from pdae_app.faces.align import NoFaceError
from pdae_app.faces.detect import Face, detect_faces

# A face is looked for within so many eye distances of where it was.
REACH = 4.0
# From one frame to the next it moves by fewer eye distances than this, and grows by less.
MOST_MOVE, MOST_GROWTH = 1.0, 1.5
# Where it is lost for so many frames, it is looked for in every so many-th only: that takes long.
PATIENCE, SKIP = 5, 10
# Shorter gaps than this many frames are bridged.
MOST_GAP = 12
# Frames over which eyes are smoothed: landmarks tremble by about one per cent.
SMOOTHNESS = 1.5


def track(frames: Iterable[Image.Image], which: int = 0) -> Iterator[Face | None]:
    """The face in one frame after the other, as found; None where it is not.

    Args:
        which: of the faces in the first frame that shows so many, 0 being the largest.

    Raises:
        NoFaceError: no frame shows it.
    """
    last, lost = None, 0
    for number, frame in enumerate(frames):
        face = None
        if lost < PATIENCE or number % SKIP == 0:
            face = _first(frame, which) if last is None else _near(frame, last)
        yield face
        last, lost = face or last, 0 if face else lost + 1
    if last is None:
        raise NoFaceError(
            "No face was found in this film. Use one where the face looks towards the camera."
        )


def _first(frame: Image.Image, which: int) -> Face | None:
    faces = detect_faces(frame, small=False)
    return faces[which] if which < len(faces) else None


def _near(frame: Image.Image, last: Face) -> Face | None:
    """The face that lies where one was, as large as it was."""
    (x, y), reach = last.center, REACH * last.eye_distance
    left, top = (max(0, int(v - reach)) for v in (x, y))
    right, bottom = min(frame.width, int(x + reach)), min(frame.height, int(y + reach))
    if right - left < 2 or bottom - top < 2:
        return None
    faces = [
        Face(*(tuple(np.add(eye, (left, top)).tolist()) for eye in (face.left_eye, face.right_eye)))
        for face in detect_faces(frame.crop((left, top, right, bottom)), small=False)
    ]
    faces = [face for face in faces if _continues(last, face)]
    return min(faces, key=lambda face: _distance(last, face), default=None)


def _continues(last: Face, face: Face) -> bool:
    growth = face.eye_distance / last.eye_distance
    near = _distance(last, face) < MOST_MOVE * last.eye_distance
    return near and 1 / MOST_GROWTH < growth < MOST_GROWTH


def _distance(a: Face, b: Face) -> float:
    return float(np.hypot(*np.subtract(a.center, b.center)))


def smoothed(found: Sequence[Face | None]) -> list[Face | None]:
    """The face's path without its trembling, short gaps bridged; None where it is gone for long."""
    there = np.array([face is not None for face in found])
    eyes = np.array([[*f.left_eye, *f.right_eye] if f else [0.0] * 4 for f in found])
    present = _bridged(there)
    every = np.arange(len(found))
    filled = np.stack([np.interp(every, every[there], eyes[there, i]) for i in range(4)], axis=1)
    path = gaussian(filled, SMOOTHNESS, present)
    return [
        Face(tuple(row[:2].tolist()), tuple(row[2:].tolist())) if here else None
        for row, here in zip(path, present, strict=True)
    ]


def _bridged(there: np.ndarray) -> np.ndarray:
    """Where a face is taken to be (N,): found, or between two findings that are near in time."""
    places = np.flatnonzero(there)
    present = there.copy()
    for before, after in pairwise(places):
        if after - before <= MOST_GAP:
            present[before:after] = True
    return present


def gaussian(values: np.ndarray, sigma: float, present: np.ndarray) -> np.ndarray:
    """Values (N, D) averaged over neighbours in time; only those that are `present` (N,) count."""
    offsets = np.arange(len(values))
    weights = np.exp(-(((offsets[:, None] - offsets) / sigma) ** 2) / 2) * present
    return weights @ values / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
