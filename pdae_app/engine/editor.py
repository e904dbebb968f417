"""`Editor`: encode, decode, edit and interpolate photographs with one loaded bundle.

An editor holds weights and never a user: nothing of a request stays in it, so one editor serves
many people at once.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pdae_app.engine.code import Code, EditError, Progress
from pdae_app.engine.encoding import square_steps, squares_to_codes
from pdae_app.engine.framing import Framed, Square, as_framed, frame
from pdae_app.engine.generator import Generator
from pdae_app.engine.quality import FAST
from pdae_app.engine.rendering import (
    Shared,
    checked_keep,
    edit_states,
    edited_pictures,
    frames_between,
    previews,
    result,
    shared_start,
)
from pdae_app.engine.sliders import fitted, moved, notices, standings
from pdae_app.faces.align import Alignment
from pdae_app.faces.paste import pasted
from pdae_app.faces.photo import open_photo
from pdae_app.latents.few_shot import FewShot


class Editor(Generator):
    """The one object that the UI, scripts and tests talk to: a loaded model, and what it does."""

    def align(self, photo: Image.Image, which: int = 0) -> Image.Image:
        """The aligned square that the model will see. `which` counts faces, largest first.

        Raises:
            PhotoError: the picture cannot be used. NoFaceError: it shows no face.
        """
        return frame(photo, self.framing, Square(which + 1)).square(self.image_size)

    def encode(
        self,
        photo: Image.Image | Framed,
        steps: int = FAST,
        align: bool | Alignment = True,
        iterations: int | None = None,
    ) -> Code:
        """Z and the inferred noise map of a photograph (PDAE, Section 4.3).

        Args:
            steps: of the decoding that x_T is made for.
            align: True finds the face; False takes the picture as the square that it is; an
                `Alignment` says where the square lies, and so does a `Framed` photograph.
            iterations: the most network evaluations to solve each step exactly with (see
                `pdae_app.diffusion.inversion`); 0 takes the plain inversion of PDAE's Eq. 8, one a
                step. By default exact, but plain where x0_hat is clamped, which cannot be undone.
        """
        *_, last = self.encode_steps(photo, steps, align, iterations)
        return last[1]

    def encode_steps(
        self,
        photo: Image.Image | Framed,
        steps: int = FAST,
        align: bool | Alignment = True,
        iterations: int | None = None,
    ) -> Iterator[tuple[float, Code | None]]:
        """As `encode`, yielding (part done, None) after every step, at last (1, code)."""
        if not self.bundle.family.reads_pictures:
            raise EditError(f"{self.name} knows classes only, and cannot read a picture.")
        framed = as_framed(photo, align, self.framing)
        place = framed.alignment if align else None
        square = framed.square(self.image_size)
        return square_steps(self.sampler, square, place, steps, iterations)

    def encode_squares(self, squares: Tensor, steps: int = FAST) -> list[Code]:
        """The codes of aligned squares (N, C, S, S) in [-1, 1], found together."""
        return squares_to_codes(self.sampler, squares, steps)

    def edit(
        self,
        code: Code,
        sliders: Mapping[str, float],
        steps: int | None = None,
        scale: float = 1.0,
        keep: np.ndarray | None = None,
    ) -> Image.Image:
        """The picture with attributes changed, e.g. {"Smiling": 1.0, "Eyeglasses": -0.5}.

        0 changes nothing, +1 makes a typical positive of this picture, -1 a typical negative.

        Args:
            keep: (S, S) in [0, 1]: where it is 1, the unchanged code's picture stays.

        Raises:
            EditError: an unknown attribute, a strength beyond +-5 or not finite, a foreign code.
        """
        return result(self.edit_steps(code, sliders, steps, scale, keep=keep))

    def edit_steps(
        self,
        code: Code,
        sliders: Mapping[str, float],
        steps: int | None = None,
        scale: float = 1.0,
        *,
        start: Shared | None = None,
        keep: np.ndarray | None = None,
    ) -> Iterator[Progress]:
        """As `edit`, yielding a preview after every step; closing the generator stops the work.

        Args:
            start: of this code, by `start`: the first preview then comes sooner.
        """
        sampling, z = self.sampling(code, steps, scale), self.moved(code, sliders).z[None]
        kept = checked_keep(keep, self.image_size)
        states = edit_states(self.sampler, code, z, sampling, start=start, keep=kept)
        return previews(self.sampler, states)

    def start(self, code: Code, steps: int | None = None) -> Shared | None:
        """What every edit of this code shares; None where there is nothing."""
        return shared_start(self.sampler, code, self.sampling(code, steps).steps)

    def strip(
        self,
        code: Code,
        name: str,
        strengths: Sequence[float],
        steps: int | None = None,
        scale: float = 1.0,
        others: Mapping[str, float] | None = None,
    ) -> Iterator[Image.Image]:
        """The picture at several strengths of one attribute; the `others` stand still meanwhile."""
        z = torch.stack([self.moved(code, {**(others or {}), name: at}).z for at in strengths])
        return edited_pictures(self.sampler, code, z, self.sampling(code, steps, scale))

    def moved(self, code: Code, sliders: Mapping[str, float]) -> Code:
        """The code with its attributes changed, nothing rendered yet."""
        self.check_code(code)
        return code.with_z(moved(self.bundle.latents, code.z, sliders))

    def strengths(self, code: Code) -> dict[str, float]:
        """Where the picture stands on each attribute: -1 typical negative, +1 typical positive."""
        self.check_code(code)
        return standings(self.bundle.latents, code)

    def notices(self, code: Code) -> list[str]:
        """What to expect of a picture that is unlike the training pictures; mostly nothing."""
        self.check_code(code)
        return notices(self.bundle, code)

    def interpolate(
        self,
        code_a: Code,
        code_b: Code,
        frames: int = 7,
        mode: str = "trajectory",
        steps: int | None = None,
        scale: float = 1.0,
    ) -> list[Image.Image]:
        """Pictures from one code to another; the ends are the two reconstructions.

        mode "latent": straight line in z, great circle in x_T, one shift. "trajectory": both
        codes' shifts are blended at every step (PDAE, Section 4.4, Fig. 7).
        """
        return list(self.interpolate_frames(code_a, code_b, frames, mode, steps=steps, scale=scale))

    def interpolate_frames(
        self, code_a: Code, code_b: Code, frames: int = 7, mode: str = "trajectory", **sampling
    ) -> Iterator[Image.Image]:
        """As `interpolate`, yielding each frame when it is finished."""
        self.check_code(code_b)
        how = self.sampling(code_a, **sampling)
        return frames_between(self.sampler, (code_a, code_b), frames, mode, how)

    def fit_attribute(
        self, name: str, positives: Sequence[Code], negatives: Sequence[Code] = ()
    ) -> FewShot:
        """A new slider from a few codes, for `with_attributes`.

        Without `negatives`, the positives are set against people whom the latent diffusion model
        makes up, of whom nothing is known (positive-unlabelled).

        Raises:
            EditError: too few codes, a foreign one, or a model that lacks what this needs.
        """
        for code in (*positives, *negatives):
            self.check_code(code)
        return fitted(self.sampler, name, positives, negatives)

    def paste(
        self,
        photo: Image.Image,
        code: Code,
        edited: Image.Image,
        reconstruction: Image.Image | None = None,
    ) -> Image.Image:
        """The edit in the full photograph.

        With the `reconstruction` (the same decode, all sliders at zero), only the difference is
        added, and the photograph keeps its sharpness; without it, the square replaces the face.
        """
        return pasted(open_photo(photo), code.alignment, edited, reconstruction)
