"""What is measured: a model, as its users have it, and people that it never saw."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from pdae_app.bundle import load_bundle
from pdae_app.engine import Editor
from pdae_app.engine.code import Code
from training.config import ConfigError
from training.data import DataConfig
from training.evaluation.albums import Album
from training.evaluation.held_out import load_squares
from training.evaluation.people import chosen_people


@dataclass(frozen=True)
class Subject:
    """An editor, and held-out squares (N, 3, S, S) in [-1, 1] of its size with their label rows.

    `people` are the numbers of the squares that edits are measured on.
    """

    editor: Editor
    squares: Album | Tensor
    rows: list[dict[str, str]]
    people: list[int]
    steps: int

    @property
    def faces(self) -> Tensor:
        """The squares (P, 3, S, S) of `people`."""
        return self.squares[self.people]

    @cached_property
    def codes(self) -> list[Code]:
        """The codes of `people`, as the app finds them."""
        found = [self.editor.encode_squares(part, self.steps) for part in self.faces.split(8)]
        return [code for part in found for code in part]


def load_subject(model: str, data: DataConfig, people: int, steps: int) -> Subject:
    """A bundle with the pictures that `data` names.

    Raises:
        ConfigError: the bundle reads no pictures, or has no sliders.
    """
    bundle = load_bundle(model)
    if not bundle.family.reads_pictures or bundle.latents is None:
        raise ConfigError(f"{model} has no sliders of pictures; run training/train_attributes.py")
    held_out = load_squares(data, bundle.picture_size, bundle.first_stage.picture_channels)
    chosen = chosen_people(held_out.rows, held_out.pictures, people)
    return Subject(Editor(bundle, model), held_out.pictures, held_out.rows, chosen, steps)
