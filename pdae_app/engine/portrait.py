"""An encoded photograph, and what all its edits share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from pdae_app.engine.code import Code
from pdae_app.engine.editor import Editor
from pdae_app.engine.framing import Framed, Photograph
from pdae_app.engine.rendering import Shared
from pdae_app.faces.align import Alignment, center_square
from pdae_app.faces.paste import paste_difference, pasted

# Side of the square that people look at: sharper than the model's.
VIEW_SIDE = 384

# Previews at these parts of the way; more would cost time and flicker.
PREVIEWS = (0.0, 0.5)


@dataclass(frozen=True)
class Layer:
    """An edited square, where it lies in its photograph, and the square unedited.

    Without the latter all of the square is taken, and not only what changed.
    """

    alignment: Alignment | None
    edited: Image.Image
    unchanged: Image.Image | None


@dataclass(frozen=True)
class Portrait:
    """A photograph and its code.

    `square` is what the model saw, `view` the same square at the photograph's own sharpness.
    `reconstructions` are the pictures of the unchanged code: x0_hat at the preview steps, and the
    final one at the last step. An edit's picture is compared with the one of the same step, so
    that even the first, coarse one shows the change and nothing else. `notice` says what to expect
    of an unusual picture.
    """

    photograph: Photograph
    code: Code
    square: Image.Image
    view: Image.Image
    reconstructions: dict[int, Image.Image]
    start: Shared | None = None
    notice: str = ""

    @property
    def steps(self) -> int:
        """Of decoding: those that its noise was inferred for."""
        return self.code.inversion.steps

    @property
    def reconstruction(self) -> Image.Image:
        """The model's own picture, with nothing edited."""
        return self.reconstructions[self.steps]

    def view_with(self, edited: Image.Image, step: int | None = None) -> Image.Image:
        """The sharp square with the change that `edited` shows at this step; by default, the last.

        Raises:
            KeyError: no preview step (see `preview_steps`).
        """
        unchanged = self.reconstructions[step or self.steps]
        return paste_difference(self.view, center_square(self.view), edited, unchanged)

    def layer(self, edited: Image.Image, replace: bool = False) -> Layer:
        """The edit as it lies on the photograph: what it changed, or, to `replace`, its square."""
        return Layer(self.code.alignment, edited, None if replace else self.reconstruction)

    def whole_with(
        self, edited: Image.Image, replace: bool = False, others: Sequence[Layer] = ()
    ) -> Image.Image:
        """The whole photograph with the edit, and with those of its `others`, which lie below.

        Raises:
            PhotoError: the photograph is gone.
        """
        whole = self.photograph.image
        for layer in (*others, self.layer(edited, replace)):
            whole = pasted(whole, layer.alignment, layer.edited, layer.unchanged)
        return whole


def preview_steps(steps: int) -> set[int]:
    """The steps of a rendering that are shown, the last included."""
    return {max(1, round(part * steps)) for part in PREVIEWS} | {steps}


def make_portrait(editor: Editor, framed: Framed, code: Code) -> Portrait:
    """The portrait of a photograph with its code; renders its reconstruction."""
    steps = code.inversion.steps
    shown, start = preview_steps(steps), editor.start(code, steps)
    reconstructions = {
        progress.step: progress.image
        for progress in editor.edit_steps(code, {}, steps, start=start)
        if progress.step in shown
    }
    return Portrait(
        framed.photograph,
        code,
        framed.square(editor.image_size),
        framed.view(VIEW_SIDE),
        reconstructions,
        start=start,
        notice=" ".join(editor.notices(code)),
    )


def read_steps(
    editor: Editor, framed: Framed, steps: int
) -> Iterator[tuple[float, Portrait | None]]:
    """Encode a photograph, yielding (part done, None) after every step, at last (1, portrait)."""
    for part, code in editor.encode_steps(framed, steps):
        yield part, make_portrait(editor, framed, code) if code else None
