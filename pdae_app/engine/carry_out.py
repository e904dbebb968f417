"""Requests carried out: one function a kind, for the page, the endpoints and the command line."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from PIL import Image

from pdae_app.engine.checks import by_known_names
from pdae_app.engine.code import Code, EditError, Progress
from pdae_app.engine.editor import Editor
from pdae_app.engine.framing import Photograph, frame
from pdae_app.engine.portrait import Portrait, read_steps
from pdae_app.engine.requests import EditRequest, GenerationRequest, InterpolationRequest
from pdae_app.export.provenance import Provenance
from pdae_app.faces.align import NoFaceError
from pdae_app.faces.photo import PhotoError, Source

MOST_PHOTOGRAPHS = 100


@dataclass(frozen=True)
class Outcome:
    """What became of one of many photographs: a picture, or a sentence about what was wrong.

    `faceless`: it is wrong that no such face was found, where the centre square could be taken.
    """

    name: str
    whole: Image.Image | None = None
    error: str | None = None
    faceless: bool = False


@dataclass(frozen=True)
class Generated:
    """A new picture, its seed and scale, how many candidates were drawn for it, and its origin."""

    image: Image.Image
    seed: int
    scale: float
    tries: int
    provenance: Provenance


def edit(editor: Editor, portrait: Portrait, request: EditRequest) -> Iterator[Progress]:
    """Edit a portrait, yielding after every step; what is to stay does so at those shown.

    For the whole photograph see `Portrait.whole_with`.

    Raises:
        EditError: an attribute or a scale that this model cannot be asked for.
    """
    keep, request = request.keep, request.settled(editor.bundle.latents, portrait.code.z)
    for progress in editor.edit_steps(
        portrait.code,
        request.preset.sliders,
        portrait.steps,
        request.preset.scale,
        start=portrait.start,
        keep=keep.weights(editor.image_size) if keep else None,
    ):
        unchanged = portrait.reconstructions.get(progress.step)
        if keep and unchanged:
            progress = replace(progress, image=keep.applied(progress.image, unchanged))
        yield progress


def edit_photograph(editor: Editor, source: Source, request: EditRequest) -> Image.Image:
    """The whole photograph, edited.

    Raises:
        PhotoError: the picture cannot be used. EditError: see `edit`.
    """
    framed = Photograph(source).framed(editor.framing, request.square)
    *_, (_, portrait) = read_steps(editor, framed, request.steps)
    *_, last = edit(editor, portrait, request)
    return portrait.whole_with(last.image, request.replace)


def edit_many(
    editor: Editor, paths: Sequence[str | Path], request: EditRequest
) -> Iterator[Outcome]:
    """Edit photographs one by one; one that cannot be edited does not end the rest."""
    for path in map(Path, paths):
        try:
            whole = edit_photograph(editor, path, request)
        except (PhotoError, EditError) as error:
            yield Outcome(path.name, None, str(error), isinstance(error, NoFaceError))
        else:
            yield Outcome(path.name, whole)


def check_many(paths: Sequence[str] | None, request: EditRequest) -> list[str]:
    """The photographs, each once: something to do, and not too much.

    Raises:
        EditError: no photographs, too many, or an edit that changes nothing.
    """
    if not paths:
        raise EditError("Choose photographs first.")
    if len(paths) > MOST_PHOTOGRAPHS:
        raise EditError(f"Use at most {MOST_PHOTOGRAPHS} photographs at once, not {len(paths)}.")
    if not request.changes:
        raise EditError("Nothing would change: set a slider in the Edit tab, or give a preset.")
    return list(dict.fromkeys(paths))


def encode_end(editor: Editor, source: Source, request: InterpolationRequest) -> Code:
    """The code of one of the two photographs of an interpolation.

    Raises:
        PhotoError: the picture cannot be used.
    """
    return editor.encode(frame(source, editor.framing, request.square), request.steps)


def interpolate(
    editor: Editor, ends: tuple[Code, Code], request: InterpolationRequest
) -> Iterator[Image.Image]:
    """The frames from one code to another, each when it is finished.

    Raises:
        EditError: too few or too many frames.
    """
    yield from editor.interpolate_frames(*ends, request.frames, request.mode, steps=request.steps)


def generate(editor: Editor, request: GenerationRequest) -> Iterator[Generated]:
    """New pictures, each when it is finished; all scales of a seed share a code.

    Raises:
        EditError: attributes or a class that the model does not know, or that cannot be drawn.
    """
    wanted = request.wanted
    if wanted and not editor.classes:
        wanted = by_known_names(wanted, editor.attributes)
    drawing = editor.drawing(**request.drawing)
    made = replace(request, wanted=wanted, drawing=asdict(drawing))
    for seed in request.seeds:
        drawn = editor.draw(seed, label=request.label, wanted=wanted, drawing=drawing)
        for scale in request.scales:
            image = editor.render_drawn(drawn.code, request.steps, scale, drawing.unguided)
            provenance = made.provenance(editor.title, seed, scale)
            yield Generated(image, seed, scale, drawn.tries, provenance)
