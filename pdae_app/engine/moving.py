"""Moving pictures: one edit on all frames of a film, steady from frame to frame.

Every frame is edited by the same change of code and the same noise; the face's path and its codes
are smoothed over time. Three passes read the film: faces, codes, edits; no more than a frame is
held at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pdae_app.clips import Clip, Frame
from pdae_app.engine.code import EditError
from pdae_app.engine.editor import Editor
from pdae_app.engine.pictures import plain, to_tensor
from pdae_app.engine.requests import EditRequest
from pdae_app.engine.sliders import moved
from pdae_app.faces.align import FRAMINGS, Alignment, align_face, center_square, crop
from pdae_app.faces.detect import upright_faces
from pdae_app.faces.paste import paste_difference
from pdae_app.faces.tracking import gaussian, smoothed, track

# Frames over which codes are smoothed, and over which an edit comes and goes with its face.
CODE_SMOOTHNESS = 2.0
FADE = 4
# Finding a face in a frame, in seconds: for the estimate alone.
FINDING = 0.15


@dataclass(frozen=True)
class Moment:
    """How far a film is: the pass, how many frames of it are done, and at last the edited frame."""

    what: str
    done: int
    frame: Frame | None = None


def edit_clip(editor: Editor, clip: Clip, request: EditRequest) -> Iterator[Moment]:
    """Edit a film, yielding after every frame of the passes "faces", "codes" and "frames".

    Raises:
        EditError: an attribute that the model does not know, or a model that edits no films.
        ClipError: a film that cannot be read. NoFaceError: it shows no such face.
    """
    _check(editor, request)
    if request.square.center or FRAMINGS[editor.framing] is None:
        places = [center_square(frame.image) for frame in clip.frames()]
    else:
        found = []
        for face in track((frame.image for frame in clip.frames()), request.square.face - 1):
            found.append(face)
            yield Moment("faces", len(found))
        places = [face and align_face(face, editor.framing) for face in smoothed(found)]
    read = []
    for frame, place in zip(clip.frames(), places, strict=False):
        read.append(_read(editor, frame.image, place) if place else None)
        yield Moment("codes", len(read))
    for number, frame in enumerate(_edited_frames(editor, clip, request, read), 1):
        yield Moment("frames", number, frame)


def edit_frame(editor: Editor, image: Image.Image, request: EditRequest) -> Image.Image:
    """A frame edited by itself, as it comes from a camera; as it is where it shows no upright face.

    Raises:
        EditError: as `edit_clip`.
    """
    _check(editor, request)
    if request.square.center or FRAMINGS[editor.framing] is None:
        place = center_square(image)
    else:
        faces = upright_faces(image)[request.square.face - 1 :]
        place = align_face(faces[0], editor.framing) if faces else None
    if place is None:
        return image
    read, space = _read(editor, image, place), editor.bundle.latents
    changed = moved(space, read.z, request.settled(space, read.z).preset.sliders)
    return _edited(editor, image, read, (read.z, changed), request)


def clip_seconds(editor: Editor, frames: int, steps: int) -> float:
    """What a film of so many frames takes, about: two evaluations of the networks a step."""
    return frames * (FINDING + 2 * steps * editor.sampler.step_seconds)


def _check(editor: Editor, request: EditRequest) -> None:
    if editor.bundle.coupled_from is None:
        raise EditError(f"{editor.name} edits photographs through x_T, and no films.")
    if not request.changes:
        raise EditError("Nothing would change: set a slider.")
    if request.square.eyes or request.keep is not None:
        raise EditError("In a film faces are found, and nothing is kept by a brush.")


@dataclass(frozen=True)
class _Read:
    """The square of a frame as the model reads it: its place, code (D,) and state (1, C, S, S)."""

    place: Alignment
    z: Tensor
    state: Tensor


def _read(editor: Editor, image: Image.Image, place: Alignment) -> _Read:
    square = crop(image, place, editor.image_size)
    picture = to_tensor(square, editor.bundle.first_stage.picture_channels)
    z, state = editor.sampler.read(picture)
    return _Read(place, plain(z[0]), plain(state))


def _edited_frames(
    editor: Editor, clip: Clip, request: EditRequest, read: list[_Read | None]
) -> Iterator[Frame]:
    present = np.array([square is not None for square in read])
    steady = _steady(read, present)
    middle = torch.from_numpy(steady[present].mean(axis=0))
    space = editor.bundle.latents
    change = moved(space, middle, request.settled(space, middle).preset.sliders) - middle
    parts = fading(present)
    for number, frame in enumerate(islice(clip.frames(), len(read))):
        if not present[number]:
            yield frame
            continue
        z = torch.from_numpy(steady[number])
        codes = (z, z + float(parts[number]) * change)
        yield Frame(_edited(editor, frame.image, read[number], codes, request), frame.time)


def _edited(
    editor: Editor,
    image: Image.Image,
    read: _Read,
    codes: tuple[Tensor, Tensor],
    request: EditRequest,
) -> Image.Image:
    """The frame with its square edited: by its own code and the changed one, each (D,)."""
    sampler, (own, changed) = editor.sampler, codes
    shared = sampler.coupling(own, read.state[0], request.steps)
    scale = request.preset.scale
    *_, last = sampler.edit_coupled(shared, changed[None], scale, own=own)
    unchanged = read.state.to(last.x.device)
    edited, unchanged = (sampler.pictures(x)[0] for x in (last.x, unchanged))
    return paste_difference(image, read.place, edited, unchanged)


def _steady(read: list[_Read | None], present: np.ndarray) -> np.ndarray:
    """Codes (N, D) smoothed over time."""
    nowhere = torch.zeros_like(next(square.z for square in read if square))
    rows = torch.stack([square.z if square else nowhere for square in read])
    return gaussian(rows.numpy(), CODE_SMOOTHNESS, present).astype(np.float32)


def fading(present: np.ndarray) -> np.ndarray:
    """How much of the edit a frame has (N,): less within `FADE` frames of one without the face."""
    absent = np.flatnonzero(~present)
    if not len(absent):
        return np.ones(len(present))
    distance = np.abs(np.arange(len(present))[:, None] - absent).min(axis=1)
    return np.minimum(1.0, distance / FADE)
