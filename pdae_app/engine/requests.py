"""What can be asked of the engine, whichever door it comes by: page, endpoints, command line.

A request is checked when it is made, and says what the provenance of its pictures is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from pdae_app.drawing import Drawing
from pdae_app.engine.checks import check_scale
from pdae_app.engine.code import EditError
from pdae_app.engine.framing import Square
from pdae_app.engine.generation import check_seed, drawing_with
from pdae_app.engine.keep import KeepMask
from pdae_app.engine.preset import Preset
from pdae_app.engine.quality import FAST
from pdae_app.engine.rendering import MODES
from pdae_app.export.provenance import Provenance
from pdae_app.latents.directions import LatentSpace
from pdae_app.typed_config import short

# New pictures that are made together, and frames of an interpolation, for one visitor.
MOST_PICTURES = 12
MOST_FRAMES = 30


@dataclass(frozen=True)
class EditRequest:
    """An edit of a photograph, or of many.

    `aims` are logits that attributes are carried to, whoever it is (see `pdae_app.engine.aims`);
    the preset's sliders go before them. `keep` is what stays as it is; to `replace`, the square
    itself is put into the photograph, rather than only what changed.
    """

    preset: Preset = field(default_factory=Preset)
    steps: int = FAST
    square: Square = field(default_factory=Square)
    keep: KeepMask | None = None
    replace: bool = False
    aims: Mapping[str, float] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        """Whether anything is edited."""
        return bool(self.preset.sliders or self.aims) or self.preset.scale != 1

    def settled(self, space: LatentSpace | None, z: Tensor) -> "EditRequest":
        """The request for the person of this code z (D,): its aims as sliders."""
        if not self.aims:
            return self
        sliders = space.sliders_to(z, self.aims) | self.preset.sliders
        return replace(self, preset=replace(self.preset, sliders=sliders), aims={})

    def provenance(
        self, model: str, others: Mapping[str, "EditRequest"] | None = None
    ) -> Provenance:
        """What the file of a picture says that a model of this title edited.

        Args:
            others: edits of other faces in it, by the faces' names.
        """
        recipe = self._recipe
        if others:
            recipe["other faces"] = {face: other._recipe for face, other in others.items()}
        return Provenance(model, recipe)

    @property
    def _recipe(self) -> dict:
        recipe = {"edit": dict(self.preset.sliders), "scale": float(self.preset.scale)}
        recipe |= {"aims": dict(self.aims)} if self.aims else {}
        return recipe | {"steps": self.steps}


@dataclass(frozen=True)
class InterpolationRequest:
    """The frames from one photograph to another.

    Raises:
        EditError: an unknown mode.
    """

    mode: str = "trajectory"
    frames: int = 7
    steps: int = FAST
    square: Square = field(default_factory=Square)

    def __post_init__(self):
        if self.mode not in MODES:
            raise EditError(f"There is no mode {short(self.mode)}. Known: {', '.join(MODES)}.")

    def provenance(self, model: str) -> Provenance:
        """What the frames of a model of this title say."""
        recipe = {"interpolate": self.mode, "frames": self.frames, "steps": self.steps}
        return Provenance(model, recipe)


@dataclass(frozen=True)
class GenerationRequest:
    """New pictures: one a seed and guidance scale.

    `wanted` attributes are to be there (True) or not; `label` is the class, of models that know
    classes; `drawing` are settings of `Drawing` that are not to be the model's own.

    Raises:
        EditError: a seed, a scale or a setting that cannot be.
    """

    seeds: Sequence[int] = (0,)
    scales: Sequence[float] = (1.0,)
    drawing: Mapping[str, float | None] = field(default_factory=dict)
    wanted: Mapping[str, bool] = field(default_factory=dict)
    label: str | None = None
    steps: int = FAST

    def __post_init__(self):
        for seed in self.seeds:
            check_seed(seed)
        for scale in self.scales:
            check_scale(scale)
        drawing_with(Drawing(), self.drawing)

    @property
    def count(self) -> int:
        """How many pictures it makes."""
        return len(self.seeds) * len(self.scales)

    def provenance(self, model: str, seed: int, scale: float) -> Provenance:
        """What one of the pictures of a model of this title says."""
        recipe = {
            "seed": seed,
            "wanted": dict(self.wanted),
            "class": self.label,
            "scale": scale,
            **self.drawing,
            "steps": self.steps,
        }
        return Provenance(model, recipe, from_photo=False)


def wanted_attributes(having: Sequence[str], lacking: Sequence[str]) -> dict[str, bool]:
    """What new pictures are to have and not, for `GenerationRequest`.

    Raises:
        EditError: one attribute is both.
    """
    if both := set(having) & set(lacking):
        raise EditError(f"{sorted(both)[0]} cannot be both wanted and unwanted.")
    return dict.fromkeys(having, True) | dict.fromkeys(lacking, False)
