"""What a table is measured from: a model, pictures, and the tools to look at them with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from training.evaluation.distances import PIXELS, Distance, feature_distance
from training.evaluation.features import Features
from training.evaluation.held_out import Squares
from training.evaluation.judge import Judge
from training.evaluation.model import Decoding, Model
from training.evaluation.sizes import Sizes
from training.evaluation.table import LeftOutError
from training.pixel_classifier import ClassifierConfig
from training.sources import spread_places

Embed = Callable[[Tensor], Tensor]

PRIOR_STEPS = 100


@dataclass(frozen=True)
class Tools:
    """What looks at pictures; each may be missing, then `missing` says why by its name."""

    judge: Judge | None = None
    features: Features | None = None
    lpips: Distance | None = None
    embed: Embed | None = None
    missing: dict[str, str] = field(default_factory=dict)

    def needed(self, name: str) -> object:
        """A tool.

        Raises:
            LeftOutError: it is missing.
        """
        tool = getattr(self, name)
        if tool is None:
            raise LeftOutError(self.missing.get(name, f"there is no {name}"))
        return tool

    @property
    def distance(self) -> Distance:
        """LPIPS, or what stands in for it: features, or pixels."""
        if self.lpips is not None:
            return self.lpips
        return PIXELS if self.features is None else feature_distance(self.features)


@dataclass(frozen=True)
class Case:
    """A model with held-out pictures of its size, and training pictures where there are any.

    `others` are pictures of other things.
    """

    model: Model
    held_out: Squares
    tools: Tools
    sizes: Sizes
    training: Squares | None = None
    others: Squares | None = None
    seed: int = 0
    _drawn: dict = field(default_factory=dict, repr=False)

    @property
    def faces(self) -> bool:
        """Whether the model's squares are faces."""
        return self.model.bundle.framing != "center"

    @property
    def real(self) -> Squares:
        """What generated pictures are set against: training pictures, as the papers do, if any."""
        return self.training or self.held_out

    @cached_property
    def real_features(self) -> Tensor:
        """(N, D) of `real`, at most as many as are generated or 2,048."""
        count = max(self.sizes.drawn, 2048)
        return self.tools.needed("features")(self.real.spread(count).pictures)

    def reading(self) -> Model:
        """The model, which makes codes of pictures.

        Raises:
            LeftOutError: it does not.
        """
        if not self.model.family.reads_pictures:
            raise LeftOutError(f"{self.model.name} makes no codes of pictures")
        return self.model

    def with_classes(self) -> Model:
        """The model, which is told classes.

        Raises:
            LeftOutError: it is not.
        """
        if not self.model.bundle.classes:
            raise LeftOutError(f"{self.model.name} knows no classes")
        return self.model

    @cached_property
    def codes(self) -> Tensor:
        """Z (N, D) of the held-out pictures."""
        return self.reading().codes(self.held_out.pictures)

    def class_numbers(self, squares: Squares) -> Tensor:
        """The number of each picture's class (N,).

        Raises:
            LeftOutError: the labels name other classes.
        """
        known = {name: i for i, name in enumerate(self.with_classes().bundle.classes)}
        found = [known.get(row.get("class", "")) for row in squares.rows]
        if None in found:
            raise LeftOutError("the column `class` does not name the model's classes")
        return torch.tensor(found)

    def classes_in_turn(self, count: int) -> Tensor:
        """Numbers of classes (N,)."""
        return torch.arange(count) % len(self.with_classes().bundle.classes)

    def new_codes(self, count: int, seed: int = 0) -> Tensor:
        """Z (N, D) of new pictures: of the latent diffusion model, or of the classes in turn.

        Raises:
            LeftOutError: the model has neither.
        """
        model, bundle = self.model, self.model.bundle
        if model.family.has_codes and bundle.classes:
            return model.class_codes(self.classes_in_turn(count))
        if bundle.prior is None or bundle.latents is None:
            raise LeftOutError(f"{model.name} has no latent diffusion model")
        space, prior = bundle.latents, bundle.prior
        draws = (torch.Generator().manual_seed(seed * 1_000_003 + i) for i in range(count))
        noise = torch.stack([torch.randn(prior.z_dim, generator=g) for g in draws])
        steps = min(PRIOR_STEPS, prior.schedule.most_steps)
        z_n = model.batched(
            "new codes", lambda noise: prior.sample(noise, steps, model.own_stepping), noise
        )
        return z_n * space.std + space.mean

    def new_pictures(self, steps: int, count: int) -> Tensor:
        """Generated pictures (N, C, S, S), kept for the next table that asks for as many or fewer.

        With codes of `new_codes`, the last 30 % of the steps unguided (PDAE, Section 4.8); by the
        unconditional model where there are no codes.
        """
        kept = self._drawn.get(steps)
        if kept is None or len(kept) < count:
            self._drawn[steps] = self._made(steps, count)
        return self._drawn[steps][:count]

    def _made(self, steps: int, count: int) -> Tensor:
        how = Decoding(self.model.own_stepping, steps, unguided=0.3, drawn=True)
        z = self.new_codes(count, self.seed) if self.model.family.has_codes else None
        return self.model.decoded(z, self.model.noise(count, self.seed + 1), how)

    def true_codes(self, count: int) -> tuple[Tensor, list[int]]:
        """Codes (N, D) of held-out pictures from all over, and which they are."""
        places = spread_places(len(self.held_out), count)
        return self.codes[places], places

    def classifier(self, epochs: int) -> ClassifierConfig:
        """How classifiers on pixels are trained here."""
        return ClassifierConfig(epochs=epochs, seed=self.seed)
