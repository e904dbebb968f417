"""What a table is measured from: a model, pictures, and the tools to look at them with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from training.evaluation.albums import Album, drawn_album
from training.evaluation.held_out import Squares
from training.evaluation.model import Decoding, Model
from training.evaluation.sizes import Sizes
from training.evaluation.table import LeftOutError
from training.evaluation.tools import Tools
from training.pixel_classifier import ClassifierConfig
from training.sources import spread_places

PRIOR_STEPS = 100


@dataclass(frozen=True)
class Case:
    """A model with held-out pictures of its size, and training pictures where there are any.

    `read_training` reads those when a table needs them; `others` are pictures of other things.
    `class_column` of the labels tells classes.
    """

    model: Model
    held_out: Squares
    tools: Tools
    sizes: Sizes
    read_training: Callable[[], Squares] | None = None
    others: Squares | None = None
    seed: int = 0
    class_column: str = "class"
    _drawn: dict = field(default_factory=dict, repr=False)

    @cached_property
    def training(self) -> Squares | None:
        """Pictures that the model learned from; None where none are known."""
        return self.read_training() if self.read_training else None

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
            raise LeftOutError(
                f"{self.model.name} is told no classes; this is measured on models of classes only"
            )
        return self.model

    @cached_property
    def codes(self) -> Tensor:
        """Z (N, D) of the held-out pictures."""
        return self.codes_of(self.held_out)

    def codes_of(self, squares: Squares) -> Tensor:
        """Z (N, D) of pictures, or of their classes where the model's codes are made of those.

        Raises:
            LeftOutError: it has no codes, or the labels name other classes.
        """
        if self.model.family.has_codes and self.model.bundle.classes:
            return self.model.class_codes(self.class_numbers(squares))
        return self.reading().codes(squares.pictures)

    def class_numbers(self, squares: Squares) -> Tensor:
        """The number of each picture's class (N,).

        Raises:
            LeftOutError: the labels name other classes.
        """
        known = {name: i for i, name in enumerate(self.with_classes().bundle.classes)}
        found = [known.get(row.get(self.class_column, "")) for row in squares.rows]
        if None in found:
            raise LeftOutError(
                f"the column `{self.class_column}` of the labels does not name the model's classes "
                f"({', '.join(known)}); data.class_column=NAME takes another column"
            )
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

    def new_pictures(self, steps: int, count: int) -> Album:
        """Generated pictures (N, C, S, S), kept for the next table that asks for as many or fewer.

        With codes of `new_codes`, the last 30 % of the steps unguided (PDAE, Section 4.8); by the
        unconditional model where there are no codes.
        """
        kept = self._drawn.get(steps, ())
        if len(kept) < count:
            z = self.new_codes(count, self.seed) if self.model.family.has_codes else None
            how = Decoding(self.model.own_stepping, steps, unguided=0.3, drawn=True)
            self._drawn[steps] = kept = self.drawn(z, count, how, self.seed + 1)
        return kept.at(slice(count))

    def drawn(self, z: Tensor | None, count: int, how: Decoding, seed: int) -> Album:
        """Pictures of codes (N, D), or of none, and of noise that follows from the seed.

        Without codes, a model that is told classes is told them in turn.
        """
        model, size = self.model, self.model.bundle.picture_size
        classes = bool(model.bundle.classes) and not model.family.has_codes

        def draw(places: range) -> Tensor:
            noise, part = model.noise(places, seed), slice(places.start, places.stop)
            if classes:
                return model.decoded_classes(self.classes_in_turn(count)[part], noise, how)
            return model.decoded(None if z is None else z[part], noise, how)

        return drawn_album(count, (model.channels, size, size), draw, f"{model.name}: drawing")

    def true_codes(self, count: int) -> tuple[Tensor, list[int]]:
        """Codes (N, D) of held-out pictures from all over, and which they are."""
        places = spread_places(len(self.held_out), count)
        return self.codes[places], places

    def classifier(self, epochs: int) -> ClassifierConfig:
        """How classifiers on pixels are trained here."""
        return ClassifierConfig(epochs=epochs, seed=self.seed)
