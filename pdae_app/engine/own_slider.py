"""A slider of one's own from a few photographs, for the page and the endpoints."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pdae_app.engine.code import Code, EditError
from pdae_app.engine.editor import Editor
from pdae_app.engine.framing import frame
from pdae_app.faces.photo import PhotoError
from pdae_app.latents.few_shot import FewShot
from pdae_app.latents.slider_file import LONGEST_NAME, NAME

FEWEST, MOST = 5, 200
# z alone is wanted: one step of the inversion is made and thrown away.
ONE_STEP = 1


@dataclass(frozen=True)
class SliderRequest:
    """A slider's name, and picture files of people who have what it changes and who do not.

    Raises:
        EditError: a name that is none, or too many pictures.
    """

    name: str
    having: Sequence[str] = ()
    lacking: Sequence[str] = ()

    def __post_init__(self):
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name.strip()):
            raise EditError(
                f"Give the slider a name of letters, digits and spaces, at most {LONGEST_NAME}."
            )
        for paths in (self.having, self.lacking):
            if len(paths) > MOST:
                raise EditError(f"Use at most {MOST} pictures of a kind, not {len(paths)}.")


@dataclass(frozen=True)
class SliderStep:
    """So many of all pictures read; at last the slider, and what could not be used."""

    read: int
    pictures: int
    fitted: FewShot | None = None
    skipped: tuple[str, ...] = ()


def fit_slider(editor: Editor, request: SliderRequest) -> Iterator[SliderStep]:
    """Encode the pictures and fit the slider, yielding before each picture and at the end.

    Raises:
        EditError: fewer than `FEWEST` usable pictures of a kind that was given, or a model that
            lacks what this needs.
    """
    codes, skipped = ([], []), []
    pictures = len(request.having) + len(request.lacking)
    kinds = [(kind, path) for kind in (0, 1) for path in (request.having, request.lacking)[kind]]
    for read, (kind, path) in enumerate(kinds):
        yield SliderStep(read, pictures)
        try:
            codes[kind].append(_code(editor, path))
        except PhotoError as error:
            skipped.append(f"{Path(path).name}: {error}")
    having, lacking = codes
    _check_counts(having, lacking, skipped)
    fitted = editor.fit_attribute(request.name.strip(), having, lacking)
    yield SliderStep(pictures, pictures, fitted, tuple(skipped))


def _code(editor: Editor, path: str) -> Code:
    return editor.encode(frame(path, editor.framing), ONE_STEP, iterations=0)


def _check_counts(having: list[Code], lacking: list[Code], skipped: list[str]) -> None:
    """Enough pictures, or a sentence that says how many there are."""
    for kind, codes, needed in (("have", having, True), ("lack", lacking, bool(lacking))):
        if needed and len(codes) < FEWEST:
            raise EditError(
                f"At least {FEWEST} usable pictures that {kind} it are needed, got {len(codes)}. "
                f"{skipped_in_words(skipped)}"
            )


def skipped_in_words(skipped: Sequence[str]) -> str:
    """The pictures that could not be used, as a sentence."""
    return f"Skipped: {'; '.join(skipped)}" if skipped else ""
