"""`Generator`: from codes to pictures, and new codes."""

from collections.abc import Iterator, Mapping

from PIL import Image

from pdae_app.drawing import Drawing
from pdae_app.engine.code import Code, EditError, Progress
from pdae_app.engine.generation import Drawn, draw_class, draw_code, drawing_with
from pdae_app.engine.loaded import LoadedModel
from pdae_app.engine.quality import FAST
from pdae_app.engine.rendering import decode_states, previews, result
from pdae_app.engine.sampler import Sampling


class Generator(LoadedModel):
    """A loaded model that makes pictures of codes, and draws codes of its own."""

    def decode(self, code: Code, steps: int | None = None, scale: float = 1.0) -> Image.Image:
        """The picture of a code: with the inferred x_T, the reconstruction.

        Args:
            steps: by default those that x_T was found for.
            scale: factor of the shift; 1 reconstructs, 0 is the unconditional model, above 1
                drives towards what z says (PDAE, Section 4.6).
        """
        return result(self.decode_steps(code, steps, scale))

    def decode_steps(
        self, code: Code, steps: int | None = None, scale: float = 1.0, **options
    ) -> Iterator[Progress]:
        """As `decode`, yielding a preview after every step; for the options see `Sampling`."""
        sampling = self.sampling(code, steps, scale, **options)
        return previews(self.sampler, decode_states(self.sampler, code, sampling))

    def draw(
        self,
        seed: int,
        steps: int = 100,
        label: str | None = None,
        wanted: Mapping[str, bool] | None = None,
        drawing: Drawing | None = None,
    ) -> Drawn:
        """A new picture's code from the latent diffusion model; x_T is noise.

        Args:
            seed: the same seed gives the same code, alone or among others.
            steps: evaluations of the latent network.
            label: the class, where the model knows classes; it has no latent model then.
            wanted: attributes that it is to have (True) or not (False); see `draw_code`.
            drawing: None is the model's own.
        """
        drawing = drawing or self.bundle.drawing
        if self.classes:
            return draw_class(self.sampler, seed, label, drawing)
        return draw_code(self.sampler, seed, steps, wanted, drawing)

    def drawing(self, **settings: float) -> Drawing:
        """How new pictures are drawn: the model's own way, but for these settings.

        Raises:
            EditError: an unknown setting, or a value that cannot be.
        """
        return drawing_with(self.bundle.drawing, settings)

    def generate(
        self,
        seeds: list[int],
        steps: int = FAST,
        scale: float = 1.0,
        label: str | None = None,
        **drawing: float,
    ) -> list[Image.Image]:
        """New pictures, one a seed.

        Args:
            drawing: settings of `Drawing` that are not to be the model's own.
            label: the class of the pictures, where the model knows classes; a scale above 1 then
                drives towards what is typical of it (PDAE, Section 4.6).
        """
        how = self.drawing(**drawing)
        codes = (self.draw(seed, label=label, drawing=how).code for seed in seeds)
        return [self.render_drawn(code, steps, scale, how.unguided) for code in codes]

    def render_drawn(
        self, code: Code, steps: int = FAST, scale: float = 1.0, unguided: float | None = None
    ) -> Image.Image:
        """The picture of a drawn code, as `generate` makes it; None is the model's own tail."""
        unguided = self.bundle.drawing.unguided if unguided is None else unguided
        options = {"unguided": unguided, "floor": self.bundle.floor}
        return result(self.decode_steps(code, steps, scale, **options))

    def sampling(self, code: Code, steps: int | None = None, scale=1.0, **options) -> Sampling:
        """How a code of this model is sampled; by default in the steps that x_T was found for.

        Raises:
            EditError: a foreign code.
        """
        self.check_code(code)
        made_for = FAST if code.drawn else code.inversion.steps
        return Sampling(made_for if steps is None else steps, scale, **options)

    def check_code(self, code: Code) -> None:
        """Refuse the code of another model.

        Raises:
            EditError: it is one.
        """
        if code.bundle != self.bundle.identity:
            raise EditError(
                f"This code was made by another model than {self.name}. Encode the picture again."
            )
