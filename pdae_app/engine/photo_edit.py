"""A whole photograph edited in one go, and many of them: for the API, the command line, batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pdae_app.engine.code import Code, EditError
from pdae_app.engine.editor import Editor
from pdae_app.engine.framing import frame
from pdae_app.engine.preset import Preset
from pdae_app.faces.align import Alignment, align_face
from pdae_app.faces.detect import Face
from pdae_app.faces.photo import PhotoError

# Steps by the only two words that people need.
QUALITY = {"Fast": 10, "Best": 40}


@dataclass(frozen=True)
class PhotoEdit:
    """One step of an edited photograph; `whole` at the last step only."""

    step: int
    steps: int
    face: Image.Image
    whole: Image.Image | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one of many photographs: a picture, or a sentence about what was wrong."""

    name: str
    whole: Image.Image | None = None
    error: str | None = None


def framed_by_eyes(
    editor: Editor, left: tuple[float, float], right: tuple[float, float]
) -> Alignment:
    """The square of a face whose eyes were pointed at, in pixels of the photograph.

    Raises:
        EditError: the two are the same point.
    """
    left, right = sorted((tuple(left), tuple(right)))
    if abs(left[0] - right[0]) + abs(left[1] - right[1]) < 4:
        raise EditError("The two eyes are the same point. Click on one eye, then on the other.")
    framing = editor.framing if editor.framing != "center" else "face"
    return align_face(Face(left, right), framing)


def edit_photo(
    editor: Editor, photo: Image.Image, code: Code, preset: Preset, replace: bool = False
) -> Iterator[PhotoEdit]:
    """Edit an encoded photograph, yielding a preview after every step.

    Args:
        replace: put the square itself into the photograph, rather than only what changed.
    """
    reconstruction = None if replace else editor.decode(code)
    for progress in editor.edit_steps(code, preset.sliders, scale=preset.scale):
        whole = None
        if progress.done:
            whole = editor.paste(photo, code, progress.image, reconstruction)
        yield PhotoEdit(progress.step, progress.steps, progress.image, whole)


def edit_many(
    editor: Editor, paths: Sequence[str | Path], preset: Preset, steps: int, center: bool = False
) -> Iterator[Outcome]:
    """Edit photographs one by one; one that cannot be edited does not end the rest."""
    for path in map(Path, paths):
        try:
            framed = frame(path, editor.framing, center=center)
            code = editor.encode(framed, steps)
            *_, last = edit_photo(editor, framed.photo, code, preset)
        except (PhotoError, EditError) as error:
            yield Outcome(path.name, error=str(error))
        else:
            yield Outcome(path.name, last.whole)
