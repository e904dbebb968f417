"""What a visitor's session holds: a photograph and its code. Nothing is shared between visitors."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pdae_app.engine.framing import Eyes, Photograph
from pdae_app.engine.portrait import Portrait
from pdae_app.ui.events import shown
from pdae_app.ui.files import encoded, stored

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.jpg"))

# After this many seconds Gradio forgets a session's photograph.
TIME_TO_LIVE = 3600


@dataclass(frozen=True)
class Opening:
    """Which square of which photograph is to be opened; `eyes` are those that were clicked on.

    Without the `choice` of a square nothing is opened, and `status` says why. `given` are the model
    and the file that this is the first wish of.
    """

    photograph: Photograph | None
    choice: str | None
    eyes: Eyes = ()
    status: str = ""
    given: tuple[str, str | None] | None = None


@dataclass(frozen=True)
class Opened:
    """A portrait and the files of its unedited pictures, which stand beside every edit.

    `choice` is the name of its square among those of the photograph, `number` that of the wish.

    Each is encoded once, and written anew where it was deleted meanwhile.
    """

    portrait: Portrait
    choice: str = ""
    number: int | None = None
    _paths: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def view_file(self) -> str:
        """The path of the sharp square."""
        return stored(self._view, "before.png")

    @property
    def square_file(self) -> str:
        """The path of what the model saw, enlarged."""
        return stored(self._square, "before.png")

    @property
    def photo_file(self) -> str:
        """The path of the whole photograph."""
        path = self._paths.get("photo")
        if path is None or not Path(path).is_file():
            image = self.portrait.photograph.image
            self._paths["photo"] = path = stored(encoded(image), "before.png")
        os.utime(path)
        return path

    @cached_property
    def _view(self) -> bytes:
        return encoded(self.portrait.view)

    @cached_property
    def _square(self) -> bytes:
        return encoded(shown(self.portrait.square))
