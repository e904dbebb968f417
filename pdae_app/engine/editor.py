"""`Editor`: encode, decode, edit and interpolate photographs with one loaded bundle.

An editor holds weights and never a user: nothing of a request stays in it, so one editor serves
many people at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pdae_app.bundle import Bundle, load_bundle, network_identity
from pdae_app.diffusion.coupled import Coupling
from pdae_app.diffusion.denoisers import Mix, Start, slerp
from pdae_app.diffusion.grids import STEPPINGS
from pdae_app.diffusion.solvers import State
from pdae_app.engine.checks import check_known, check_strength
from pdae_app.engine.code import Code, EditError, Inversion, Progress
from pdae_app.engine.decoder import Decoder, Run
from pdae_app.engine.pictures import plain, to_tensor
from pdae_app.engine.sampling import Drawn, draw_class, draw_code, unlabelled_codes
from pdae_app.faces.align import FRAMINGS, Alignment, center_square, crop, find_alignment
from pdae_app.faces.paste import paste_difference, paste_replacement
from pdae_app.faces.photo import open_photo
from pdae_app.hub import local_folder, push
from pdae_app.latents.directions import LatentSpace
from pdae_app.latents.few_shot import FewShot, fit_few_shot
from pdae_app.latents.slider_file import load_slider, save_slider
from pdae_app.latents.typical import code_distance, noise_structure

# Steps of encoding and decoding, and evaluations to solve each step of encoding with, at most.
STEPS = 20
ITERATIONS = 5
MODES = ("latent", "trajectory")
MOST_FRAMES = 100
STRANGE_CODE = (
    "This picture is unlike those that the model learned from, so its sliders may do something "
    "else than they say, or little. A frontal, evenly lit face works best."
)
STRANGE_NOISE = (
    "The model cannot describe much of this picture and keeps it as it is: what is unusual in it "
    "stays, and may shine through where an edit changes the face."
)


class Editor:
    """The one object that the UI, scripts and tests talk to; PDAE and Diff-AE look alike in it.

    `stepping` is how it steps: "clean" or "quick" (ours), "pdae" or "diffae" (as the official code
    does). `precision` is "float32", "half", or "auto": half on GPUs; where half precision
    overflows, the step is computed again in float32.
    """

    def __init__(
        self,
        bundle: Bundle,
        name: str,
        device: str | torch.device = "cpu",
        stepping: str | None = None,
        precision: str = "auto",
    ):
        if not bundle.family.has_codes:
            raise EditError(
                f"{name} holds only an unconditional model; train PDAE on it first "
                "(training/train_pdae.py)"
            )
        self.bundle = bundle
        self.name = name
        self.device = torch.device(device)
        self.stepping = stepping or bundle.stepping
        if self.stepping not in STEPPINGS:
            known = ", ".join(STEPPINGS)
            raise EditError(f"There is no stepping {self.stepping!r}. Known: {known}.")
        self.precision = precision
        self.decoder = Decoder(bundle, self.device, self.stepping, precision)

    @classmethod
    def from_pretrained(
        cls,
        path_or_repo: str | Path,
        revision: str | None = None,
        token: str | None = None,
        device: str | torch.device | None = None,
        stepping: str | None = None,
        precision: str = "auto",
    ) -> "Editor":
        """Load a bundle from a folder, or from the Hub by "owner/name".

        Args:
            revision: branch, tag or commit on the Hub.
            token: of the Hub, for private and gated repositories; by default the saved one.
            device: "cpu", "cuda", "mps"; by default the best that this machine has.
            stepping: "clean", "quick", "pdae" or "diffae"; by default the bundle's own.
            precision: "float32", "half", or "auto": half on GPUs.

        Raises:
            BundleError: the bundle is incomplete or damaged; the message lists every problem.
        """
        device = device or best_device()
        folder = local_folder(path_or_repo, revision, token)
        return cls(load_bundle(folder, device), str(path_or_repo), device, stepping, precision)

    def compile(self, backend: str = "inductor") -> "Editor":
        """Compile the networks (torch.compile); the first pictures of each size then take longer.

        On two CPU cores faces64 evaluates about 1.5 times as fast. Needs a C++ compiler on CPUs.

        Raises:
            EditError: this machine cannot compile.
        """
        try:
            self.decoder.compile(backend)
        except Exception as error:  # whatever the compiler's chain of tools raises
            raise EditError(
                f"The networks cannot be compiled on this machine: {str(error)[:200]}. Install a "
                "C++ compiler (g++), or leave compilation out."
            ) from error
        return self

    def with_stepping(self, stepping: str) -> "Editor":
        """An editor of the same weights that steps as `stepping` says."""
        return Editor(self.bundle, self.name, self.device, stepping, self.precision)

    def with_attributes(self, *fitted: FewShot) -> "Editor":
        """An editor of the same networks that has these sliders too."""
        other = copy(self)
        for attribute in fitted:
            space = attribute.added_to(other.bundle.latents)
            other.bundle = replace(other.bundle, latents=space)
        return other

    def push_to_hub(
        self, repo_id: str, private: bool | None = None, token: str | None = None
    ) -> str:
        """Upload the bundle that was loaded to the Hub, with its model card; the commit's address.

        Raises:
            BundleError: the Hub cannot be reached, or refuses.
        """
        return push(self.bundle, repo_id, private, token)

    @property
    def title(self) -> str:
        """The model's name for people: the Hub's, or that of the folder, without its path."""
        return Path(self.name).name if Path(self.name).is_dir() else self.name

    @property
    def image_size(self) -> int:
        """Side of the model's square in pixels."""
        return self.bundle.picture_size

    @property
    def framing(self) -> str:
        """How the model's training pictures were framed (see `pdae_app.faces.align.FRAMINGS`)."""
        return self.bundle.framing

    @property
    def of_faces(self) -> bool:
        """Whether the model's squares are faces, which have to be found."""
        return FRAMINGS[self.framing] is not None

    @property
    def attributes(self) -> list[str]:
        """The names of the bundle's sliders."""
        return self.bundle.latents.names if self.bundle.latents else []

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the model's codes are made of; none where it takes pictures."""
        return self.bundle.classes

    def strengths(self, code: Code) -> dict[str, float]:
        """Where the picture stands on each attribute: -1 typical negative, +1 typical positive."""
        self._check(code)
        if self.bundle.latents is None:
            return {}
        logits = self.bundle.latents.logits(code.z)
        standings = {
            a.name: a.standing(float(logit))
            for a, logit in zip(self.bundle.latents.attributes, logits, strict=True)
        }
        return {name: standing for name, standing in standings.items() if standing is not None}

    def notices(self, code: Code) -> list[str]:
        """What to expect of a picture that is unlike the training pictures; mostly nothing.

        Diff-AE, Appendix K. Bundles say what is typical once `training/measure_typical.py` ran.
        """
        self._check(code)
        typical, space = self.bundle.typical, self.bundle.latents
        if typical is None or space is None or code.inversion is None:
            return []
        found = []
        if code_distance(space, code.z) > typical.distance:
            found.append(STRANGE_CODE)
        if noise_structure(code.x_T) > typical.structure:
            found.append(STRANGE_NOISE)
        return found

    def align(self, photo: Image.Image, which: int = 0) -> Image.Image:
        """The aligned square that the model will see. `which` counts faces, largest first.

        Raises:
            PhotoError: the picture cannot be used. NoFaceError: it shows no face.
        """
        photo = open_photo(photo)
        return self.align_at(photo, find_alignment(photo, which, self.framing))

    def align_at(self, photo: Image.Image, alignment: Alignment) -> Image.Image:
        """The square at a known place."""
        return crop(open_photo(photo), alignment, self.image_size)

    def encode(
        self,
        photo: Image.Image,
        steps: int = STEPS,
        align: bool | Alignment = True,
        iterations: int | None = None,
    ) -> Code:
        """Z and the inferred noise map of a photograph (PDAE, Section 4.1).

        Args:
            steps: of the decoding that x_T is made for.
            align: True finds the face; False takes the picture as the square that it is; an
                `Alignment` says where the square lies.
            iterations: the most network evaluations to solve each step exactly with (see
                `pdae_app.diffusion.inversion`); 0 takes the plain inversion of PDAE's Eq. 8, one a
                step. By default exact, but plain where x0_hat is clamped, which cannot be undone.
        """
        *_, last = self.encode_steps(photo, steps, align, iterations)
        return last[1]

    def encode_steps(
        self,
        photo: Image.Image,
        steps: int = STEPS,
        align: bool | Alignment = True,
        iterations: int | None = None,
    ) -> Iterator[tuple[float, Code | None]]:
        """As `encode`, yielding (part done, None) after every step, at last (1, code)."""
        if self.classes:
            raise EditError(f"{self.name} knows classes only, and cannot read a picture.")
        iterations = self._iterations(iterations)
        photo = open_photo(photo)
        alignment = self._alignment(photo, align)
        square = crop(photo, alignment or center_square(photo), self.image_size)
        picture = to_tensor(square, self.bundle.first_stage.picture_channels)
        z, x_0 = self.decoder.read(picture)
        for state in self.decoder.inverting(z, x_0, steps, iterations):
            if not state.last:
                yield state.step / state.steps, None
        yield 1.0, self._code(z, x_0, state, 0, steps, alignment)

    def encode_squares(self, squares: Tensor, steps: int = STEPS) -> list[Code]:
        """The codes of aligned squares (N, C, S, S) in [-1, 1], found together."""
        iterations = self._iterations(None)
        z, x_0 = self.decoder.read(squares)
        *_, state = self.decoder.inverting(z, x_0, steps, iterations)
        return [self._code(z, x_0, state, i, steps, None) for i in range(len(z))]

    def _code(self, z: Tensor, x_0: Tensor, state: State, row: int, steps: int, alignment) -> Code:
        """The code of one picture of a finished inversion."""
        inversion = Inversion(steps, self.stepping, state.evaluations)
        if state.residuals is not None:
            residuals = plain(state.residuals[:, row])
            error = float(residuals.square().mean().sqrt())
            inversion = replace(inversion, residuals=residuals, error=error)
        x_T = plain(state.x[row])
        z, x_0 = plain(z[row]), plain(x_0[row])
        return Code(z, x_T, alignment, self.bundle.identity, inversion, x_0)

    def _iterations(self, asked: int | None) -> int:
        clamped = STEPPINGS[self.stepping].clip_x0
        if asked is None:
            return 0 if clamped else ITERATIONS
        if not isinstance(asked, int) or not 0 <= asked <= 50:
            raise EditError(f"The iterations of a step must be between 0 and 50, got {asked!r}.")
        if asked and clamped:
            raise EditError(
                f"The stepping {self.stepping!r} clamps, which cannot be undone exactly: use "
                "iterations=0, or the stepping 'clean' or 'quick'."
            )
        return asked

    def decode(self, code: Code, steps: int | None = None, scale: float = 1.0) -> Image.Image:
        """The picture of a code: with the inferred x_T, the reconstruction.

        Args:
            steps: by default those that x_T was found for.
            scale: factor of the shift; 1 reconstructs, 0 is the unconditional model, above 1
                drives towards what z says (PDAE, Section 4.6).
        """
        return _result(self.decode_steps(code, steps, scale))

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
        return _result(self.edit_steps(code, sliders, steps, scale, keep=keep))

    def edit_steps(
        self,
        code: Code,
        sliders: Mapping[str, float],
        steps: int | None = None,
        scale: float = 1.0,
        start: Start | Coupling | None = None,
        keep: np.ndarray | None = None,
    ) -> Iterator[Progress]:
        """As `edit`, yielding a preview after every step; closing the generator stops the work.

        Args:
            start: of this code, by `start`: the first preview then comes sooner.
        """
        moved = self.moved(code, sliders)
        keep = None if keep is None else self._checked_keep(keep)
        if self._is_coupled(code):
            coupling = start or self.start(code, steps)
            return self._shown(self.decoder.coupled(coupling, moved.z[None], scale, keep))
        if keep is None:
            return self.decode_steps(moved, steps, scale, start=start)
        return self._render(self._keeping(code, moved, self._steps(steps, code), scale, keep))

    def _is_coupled(self, code: Code) -> bool:
        """Whether edits of this code need no x_T."""
        return self.bundle.coupled_from is not None and code.state is not None

    def strip(
        self,
        code: Code,
        name: str,
        strengths: Sequence[float],
        steps: int | None = None,
        scale: float = 1.0,
    ) -> Iterator[Image.Image]:
        """The picture at several strengths of one attribute, each when it is finished."""
        codes = [self.moved(code, {name: strength}) for strength in strengths]
        steps = self._steps(steps, code)
        if self._is_coupled(code):
            coupling = self.start(code, steps)
            for piece in _pieces(codes, self._at_once):
                z = torch.stack([moved.z for moved in piece])
                *_, last = self.decoder.coupled(coupling, z, scale)
                yield from self.decoder.pictures(last.x)
            return
        residuals, drawn = self._residuals(steps, 0, (code, 1.0)), code.inversion is None
        for piece in _pieces(codes, self._at_once):
            z = torch.stack([moved.z for moved in piece]).to(self.device)
            x_T = code.x_T.expand(len(piece), -1, -1, -1)
            run = Run(z, x_T, steps, scale, residuals=residuals, drawn=drawn)
            *_, last = self.decoder.states(run)
            yield from self.decoder.pictures(last.x)

    def _checked_keep(self, keep: np.ndarray) -> Tensor:
        """The part to keep as a tensor (S, S)."""
        keep = torch.from_numpy(np.asarray(keep, np.float32))
        if keep.shape != (self.image_size,) * 2 or not ((keep >= 0) & (keep <= 1)).all():
            raise EditError(
                f"The part to keep must be {self.image_size} x {self.image_size} numbers from 0 to "
                f"1, got the shape {tuple(keep.shape)}."
            )
        return keep

    def _keeping(self, code: Code, moved: Code, steps: int, scale: float, keep: Tensor) -> Run:
        """The unchanged code and the edited one, side by side."""
        z = torch.stack([code.z, moved.z]).to(self.device)
        x_T = code.x_T.expand(2, -1, -1, -1)
        residuals = self._residuals(steps, 0, (code, 1.0))
        return Run(z, x_T, steps, scale, residuals=residuals, keep=keep)

    def start(self, code: Code, steps: int | None = None) -> Start | Coupling | None:
        """What every edit of this code shares; None where there is nothing."""
        self._check(code)
        if self._is_coupled(code):
            return self.decoder.coupling(code, self._steps(steps, code))
        return self.decoder.start(code.x_T, self._steps(steps, code))

    def decode_steps(
        self,
        code: Code,
        steps: int | None = None,
        scale: float = 1.0,
        unguided: float = 0.0,
        floor: int = 0,
        start: Start | None = None,
    ) -> Iterator[Progress]:
        """As `decode`, yielding a preview after every step.

        For `start` see `edit_steps`, for `unguided` see `generate`; `floor` is for noise that was
        drawn, not inferred: see `pdae_app.diffusion.schedule.jumping`.
        """
        self._check(code)
        steps = self._steps(steps, code)
        z, residuals = code.z.to(self.device)[None], self._residuals(steps, floor, (code, 1.0))
        drawn = code.inversion is None
        run = Run(z, code.x_T[None], steps, scale, unguided, floor, residuals, drawn, start)
        yield from self._render(run)

    def moved(self, code: Code, sliders: Mapping[str, float]) -> Code:
        """The code with its attributes changed, nothing rendered yet."""
        self._check(code)
        check_known(sliders, self.attributes)
        for name, strength in sliders.items():
            check_strength(name, strength)
        if not sliders:
            return code
        return replace(code, z=self.bundle.latents.move(code.z, dict(sliders)))

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
        codes' shifts are blended at every step (PDAE, Section 4.3, Fig. 7).
        """
        return list(self.interpolate_frames(code_a, code_b, frames, mode, steps, scale))

    def interpolate_frames(
        self, code_a, code_b, frames=7, mode="trajectory", steps=None, scale=1.0
    ) -> Iterator[Image.Image]:
        """As `interpolate`, yielding each frame when it is finished."""
        self._check(code_a)
        self._check(code_b)
        if mode not in MODES:
            raise EditError(f"There is no mode {mode!r}. Known: {', '.join(MODES)}.")
        if not 2 <= frames <= MOST_FRAMES:
            raise EditError(
                f"The number of frames must be between 2 and {MOST_FRAMES}, got {frames}."
            )
        steps = self._steps(steps, code_a)
        between = [i / (frames - 1) for i in range(1, frames - 1)]
        # The ends alone: to the bit, they are the reconstructions.
        for weights in ([0.0], *_pieces(between, self._at_once), [1.0]):
            yield from self._between(code_a, code_b, weights, mode, steps, scale)

    def draw(
        self,
        seed: int,
        steps: int = 100,
        label: str | None = None,
        wanted: Mapping[str, bool] | None = None,
    ) -> Drawn:
        """A new picture's code from the latent diffusion model; x_T is plain noise.

        Args:
            seed: the same seed gives the same code, alone or among others.
            steps: evaluations of the latent network.
            label: the class, where the model knows classes; it has no latent model then.
            wanted: attributes that it is to have (True) or not (False): see
                `pdae_app.engine.sampling.draw_code`.
        """
        if self.classes:
            return draw_class(self.decoder, seed, label)
        return draw_code(self.decoder, self.bundle.latents, seed, steps, wanted)

    def sample_code(self, seed: int, steps: int = 100, label: str | None = None) -> Code:
        """The code alone: see `draw`."""
        return self.draw(seed, steps, label).code

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
            self._check(code)
        space = self._space
        if len(positives) < 2 or len(negatives) == 1:
            raise EditError(f"{name} needs at least two pictures of a kind.")
        with_it = torch.stack([code.z for code in positives])
        if negatives:
            others = torch.stack([code.z for code in negatives])
        else:
            others = unlabelled_codes(self.decoder)
        return fit_few_shot(name, with_it, others, space, not negatives)

    def load_slider(self, path: str | Path) -> FewShot:
        """A slider from its file, for `with_attributes`.

        Raises:
            SliderFileError: no slider, a damaged one, or one of another model.
        """
        return load_slider(path, self._space, network_identity(self.bundle.model.encoder))

    def save_slider(self, fitted: FewShot, path: str | Path) -> None:
        """Write a slider to a file, for any model with this one's encoder."""
        save_slider(fitted, path, self._space, network_identity(self.bundle.model.encoder))

    @property
    def _space(self) -> LatentSpace:
        """The statistics of the codes."""
        if self.bundle.latents is None:
            raise EditError(f"{self.name} has no statistics of its codes, which sliders need.")
        return self.bundle.latents

    def generate(
        self,
        seeds: list[int],
        steps: int = 50,
        scale: float = 1.0,
        unguided: float = 0.3,
        label: str | None = None,
    ) -> list[Image.Image]:
        """New pictures, one a seed.

        Args:
            unguided: the last part of the steps that the frozen model does alone (PDAE,
                Section 4.5); of no effect on Diff-AE.
            label: the class of the pictures, where the model knows classes; a scale above 1 then
                drives towards what is typical of it (PDAE, Section 4.6).
        """
        codes = (self.sample_code(seed, label=label) for seed in seeds)
        return [self.render_drawn(code, steps, scale, unguided) for code in codes]

    def render_drawn(
        self, code: Code, steps: int = 50, scale: float = 1.0, unguided: float = 0.3
    ) -> Image.Image:
        """The picture of a drawn code, as `generate` makes it."""
        if not 0 <= unguided <= 1:
            raise EditError(f"The unguided part must be between 0 and 1, got {unguided}.")
        return _result(self.decode_steps(code, steps, scale, unguided, self.bundle.floor))

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
        photo = open_photo(photo)
        alignment = code.alignment or center_square(photo)
        if reconstruction is None:
            return paste_replacement(photo, alignment, edited)
        return paste_difference(photo, alignment, edited, reconstruction)

    @property
    def _at_once(self) -> int:
        """Pictures of a gallery that are computed together."""
        if self.device.type == "cuda":
            return 8
        return max(1, 4 * 64**2 // self.image_size**2)  # above 64 px a CPU is busy with one

    def _between(self, a: Code, b: Code, weights: list[float], mode: str, steps: int, scale: float):
        """The frames at these weights, computed together."""
        codes = self._blend(a.z, b.z, weights, mode)
        x_T = torch.stack([slerp(a.x_T, b.x_T, weight) for weight in weights])
        left = [self._residuals(steps, 0, (a, 1 - weight), (b, weight)) for weight in weights]
        residuals = None if left[0] is None else torch.stack(left, dim=1)
        *_, last = self.decoder.states(Run(codes, x_T, steps, scale, residuals=residuals))
        return self.decoder.pictures(last.x)

    def _blend(self, z_a: Tensor, z_b: Tensor, weights: list[float], mode: str):
        part = torch.tensor(weights)[:, None]
        if mode == "latent":
            return torch.lerp(z_a[None], z_b[None], part).to(self.device)
        pairs = ((z_a, 1 - part), (z_b, part))
        return Mix(
            tuple(
                (z.expand(len(weights), -1).to(self.device), part[:, :, None, None].to(self.device))
                for z, part in pairs
                if part.any()
            )
        )

    def _steps(self, asked: int | None, code: Code) -> int:
        if asked is not None:
            return asked
        return code.inversion.steps if code.inversion else STEPS

    def _residuals(self, steps: int, floor: int, *parts: tuple[Code, float]) -> Tensor | None:
        """What the inversion left, where decoding takes the very steps that it was made for."""
        left = [(code.inversion, weight) for code, weight in parts if weight > 0]
        made_for = all(
            i is not None
            and i.residuals is not None
            and (i.steps, i.stepping) == (steps, self.stepping)
            for i, _ in left
        )
        if not made_for or floor:
            return None
        return sum(weight * i.residuals for i, weight in left).to(self.device)

    def _render(self, run: Run) -> Iterator[Progress]:
        yield from self._shown(self.decoder.states(run))

    def _shown(self, states: Iterator[State]) -> Iterator[Progress]:
        """The last picture of each batch of states: its x0_hat on the way, and the result."""
        for state in states:
            shown = (state.x if state.last else state.x0_hat)[-1:]
            yield Progress(state.step, state.steps, self.decoder.pictures(shown)[0])

    def _alignment(self, photo: Image.Image, align: bool | Alignment) -> Alignment | None:
        if isinstance(align, Alignment):
            return align
        return find_alignment(photo, framing=self.framing) if align else None

    def _check(self, code: Code) -> None:
        if code.bundle != self.bundle.identity:
            raise EditError(
                f"This code was made by another model than {self.name}. Encode the picture again."
            )


def _pieces(items: list, size: int) -> list[list]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def best_device() -> str:
    """The fastest device of this machine."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _result(steps: Iterator[Progress]) -> Image.Image:
    *_, last = steps
    return last.image
