"""What a visitor's session holds: a photograph and its code. Nothing is shared between visitors."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from pdae_app.engine import Code, Editor
from pdae_app.engine.rendering import Shared
from pdae_app.faces.align import Alignment, center_square, crop
from pdae_app.faces.paste import paste_difference
from pdae_app.faces.photo import PhotoError, open_photo
from pdae_app.ui.events import SHOWN_SIDE, shown
from pdae_app.ui.files import encoded, stored
from pdae_app.ui.framing import Eyes

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.jpg"))

# After this many seconds Gradio forgets a session's photograph.
TIME_TO_LIVE = 3600

# Previews at these parts of the way; more would cost time and flicker.
PREVIEWS = (0.0, 0.5)

# The seam of a kept part is this soft, in parts of the square's side.
SEAM = 1 / 32


@dataclass(frozen=True)
class Keep:
    """The part of the square that an edit leaves as it is: a grey picture, white where it stays."""

    mask: Image.Image

    @classmethod
    def painted(cls, alpha: Image.Image) -> "Keep | None":
        """From what was painted over the square; None where nothing was."""
        mask = alpha.resize((SHOWN_SIDE, SHOWN_SIDE)).point(lambda value: 255 * (value > 0))
        return (
            cls(mask.filter(ImageFilter.GaussianBlur(SEAM * SHOWN_SIDE)))
            if mask.getbbox()
            else None
        )

    def weights(self, size: int) -> np.ndarray:
        """(size, size) in [0, 1] for the engine."""
        small = self.mask.resize((size, size), Image.Resampling.BOX)
        return np.asarray(small, np.float32) / 255


@dataclass(frozen=True)
class Opening:
    """Which square of which picture is to be opened; `eyes` are those that were clicked on.

    Without a framing nothing is opened, and `told` says why.
    """

    path: str | None
    framing: str | None
    eyes: Eyes = ()
    told: str = ""


@dataclass(frozen=True)
class Portrait:
    """An encoded photograph.

    `square` is what the model saw, `view` the same square at the photograph's own sharpness.
    `reconstructions` are the pictures of the unchanged code: x0_hat at the preview steps, and the
    final one at the last step. An edit's picture is compared with the one of the same step, so
    that even the first, coarse one shows the change and nothing else. `notice` says what to expect
    of an unusual picture. Of the photograph `path` is kept, and not the pixels.
    """

    path: str
    square: Image.Image
    view: Image.Image
    code: Code
    reconstructions: dict[int, Image.Image]
    steps: int
    start: Shared | None = None
    notice: str = ""
    stored: dict[str, str] = field(default_factory=dict)

    @cached_property
    def view_file(self) -> bytes:
        """The view, encoded once: it stands beside every edit."""
        return encoded(self.view)

    def photo(self) -> Image.Image:
        """The photograph, opened anew.

        Raises:
            PhotoError: it was deleted meanwhile.
        """
        if not Path(self.path).is_file():
            raise PhotoError("This photograph has been deleted. Choose it again.")
        return open_photo(self.path)

    def photo_file(self, photo: Image.Image) -> str:
        """The path of the opened photograph as PNG, encoded anew only where it was deleted."""
        path = self.stored.get("photo")
        if path is None or not Path(path).is_file():
            self.stored["photo"] = path = stored(encoded(photo), "before.png")
        os.utime(path)
        return path

    @cached_property
    def square_file(self) -> bytes:
        """What the model saw, enlarged."""
        return encoded(shown(self.square))

    def view_with(self, edited: Image.Image, step: int) -> Image.Image:
        """The sharp square with the change that `edited` shows at this step."""
        whole = center_square(self.view)
        return paste_difference(self.view, whole, edited, self.reconstructions[step])

    def kept(self, edited: Image.Image, step: int, keep: Keep | None) -> Image.Image:
        """The edit with the unchanged picture where something is to stay: to the bit."""
        if keep is None:
            return edited
        mask = keep.mask.resize(edited.size, Image.Resampling.BOX)
        return Image.composite(self.reconstructions[step], edited, mask)


def preview_steps(steps: int) -> set[int]:
    """The steps of a rendering that are shown, the last included."""
    return {max(1, round(part * steps)) for part in PREVIEWS} | {steps}


def open_portrait(
    editor: Editor, path: str, photo: Image.Image, alignment: Alignment, code: Code, steps: int
) -> Portrait:
    """The portrait of an encoded photograph, opened from `path`; renders its reconstruction."""
    marks, start = preview_steps(steps), editor.start(code, steps)
    reconstructions = {
        progress.step: progress.image
        for progress in editor.edit_steps(code, {}, steps, start=start)
        if progress.step in marks
    }
    square = crop(photo, alignment, editor.image_size)
    view = crop(photo, alignment, SHOWN_SIDE)
    notice = " ".join(editor.notices(code))
    return Portrait(path, square, view, code, reconstructions, steps, start, notice)
