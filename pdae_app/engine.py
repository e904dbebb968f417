"""`Editor`: encode, decode, edit and interpolate photographs with one loaded bundle.

An editor holds weights and never a user: nothing of a request stays in it, so one editor serves
many people at once.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pdae_app.bundle import Bundle, load_bundle
from pdae_app.diffusion.denoisers import (
    ConditionedDenoiser,
    ShiftedDenoiser,
    Start,
    WithFallback,
    slerp,
)
from pdae_app.diffusion.inversion import exact_states
from pdae_app.diffusion.schedule import STEPPINGS, Stepping, jumping
from pdae_app.diffusion.solvers import Denoiser, ddim_states, dpm_solver_states
from pdae_app.faces.align import Alignment, center_square, crop, find_alignment
from pdae_app.faces.paste import paste_difference, paste_replacement
from pdae_app.faces.photo import open_photo
from pdae_app.hub import local_folder, push
from pdae_app.models.precision import half_dtype, in_half

STRONGEST = 5.0
# Steps of encoding and decoding, and evaluations to solve each step of encoding with, at most.
STEPS = 20
ITERATIONS = 5
MODES = ("latent", "trajectory")


class EditError(ValueError):
    """A request that cannot be carried out; the message says what to change."""


@dataclass(frozen=True)
class Code:
    """A photograph as the model sees it; on the CPU, deep-copyable, of no use to another bundle.

    z (D,), x_T (C, S, S); `alignment` says where the square lies in the photograph, None when the
    square itself was given; `bundle` names the model that made it. `inversion` says how x_T was
    found; None for noise that was drawn.
    """

    z: Tensor
    x_T: Tensor
    alignment: Alignment | None
    bundle: str
    inversion: "Inversion | None" = None


@dataclass(frozen=True)
class Inversion:
    """How a photograph's x_T was found: it belongs to decoding in `steps` of this `stepping`.

    `residuals` (steps, C, S, S) are what solving each step left, added again in decoding; None for
    the plain inversion of PDAE's Eq. 8. `evaluations` of the networks were made; `error` is the
    root mean square of the residuals.
    """

    steps: int
    stepping: str
    evaluations: int
    residuals: Tensor | None = None
    error: float | None = None


@dataclass(frozen=True)
class Progress:
    """One step of a running request: x0_hat as a picture; at the last step, the result."""

    step: int
    steps: int
    image: Image.Image

    @property
    def done(self) -> bool:
        """Whether `image` is the final result."""
        return self.step == self.steps


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
        if bundle.model is None:
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
        try:
            dtype = half_dtype(precision, self.device)
        except ValueError as error:
            raise EditError(f"The precision cannot be used: {error}.") from error
        self._half = (in_half(bundle.model, dtype), dtype) if dtype else None

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
        model = self._half[0] if self._half else self.bundle.model
        parts = [model.unet.encoder, model.unet.decoder]
        for part in [*parts, *([model.shift] if self.bundle.kind == "pdae" else [])]:
            part.compile(backend=backend)
        z = torch.zeros(1, model.config.encoder.z_dim, device=self.device)
        run = _Run(((z, 1.0),), torch.zeros(1, *self._shape), steps=1)
        try:
            next(self._states(run))
        except Exception as error:  # whatever the compiler's chain of tools raises
            raise EditError(
                f"The networks cannot be compiled on this machine: {str(error)[:200]}. Install a "
                "C++ compiler (g++), or leave compilation out."
            ) from error
        return self

    def with_stepping(self, stepping: str) -> "Editor":
        """An editor of the same weights that steps as `stepping` says."""
        return Editor(self.bundle, self.name, self.device, stepping, self.precision)

    def push_to_hub(
        self, repo_id: str, private: bool | None = None, token: str | None = None
    ) -> str:
        """Upload the bundle that was loaded to the Hub, with its model card; the commit's address.

        Raises:
            BundleError: the Hub cannot be reached, or refuses.
        """
        return push(self.bundle, repo_id, private, token)

    @property
    def image_size(self) -> int:
        """Side of the model's square in pixels."""
        return self.bundle.unet.config.image_size

    @property
    def framing(self) -> str:
        """How the model's training pictures were framed (see `pdae_app.faces.align.FRAMINGS`)."""
        return self.bundle.framing

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

    def align(self, photo: Image.Image, which: int = 0) -> Image.Image:
        """The aligned square that the model will see. `which` counts faces, largest first.

        Raises:
            PhotoError: the picture cannot be used. NoFaceError: it shows no face.
        """
        photo = open_photo(photo)
        return crop(photo, find_alignment(photo, which, self.framing), self.image_size)

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
        levels, iterations = self._levels(steps, inverting=True), self._iterations(iterations)
        photo = open_photo(photo)
        alignment = self._alignment(photo, align)
        square = crop(photo, alignment or center_square(photo), self.image_size)
        x_0 = _to_tensor(square, self._shape[0]).to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode():
            z = self.bundle.model.encoder(x_0)
        schedule, denoiser = self.bundle.diffusion.schedule, self._denoiser(((z, 1.0),))
        if iterations:
            states = exact_states(denoiser, x_0, schedule, levels, iterations)
        else:
            states = ddim_states(denoiser, x_0, schedule, levels, self._stepping.clip_x0)
        for state in _inferring(states):
            if state["step"] < state["steps"]:
                yield state["step"] / state["steps"], None
        inversion = Inversion(steps, self.stepping, state.get("evaluations", state["steps"]))
        if iterations:
            solved = state["solved"]
            residuals = _plain(solved.residuals[:, 0])
            inversion = replace(inversion, residuals=residuals, error=solved.error)
        x_T = _plain(state["x"][0])
        yield 1.0, Code(_plain(z[0]), x_T, alignment, self.bundle.identity, inversion)

    def _iterations(self, asked: int | None) -> int:
        clamped = self._stepping.clip_x0
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
        self, code: Code, sliders: dict[str, float], steps: int | None = None, scale: float = 1.0
    ) -> Image.Image:
        """The picture with attributes changed, e.g. {"Smiling": 1.0, "Eyeglasses": -0.5}.

        0 changes nothing, +1 makes a typical positive of this picture, -1 a typical negative.

        Raises:
            EditError: an unknown attribute, a strength beyond +-5 or not finite, a foreign code.
        """
        return _result(self.edit_steps(code, sliders, steps, scale))

    def edit_steps(
        self,
        code: Code,
        sliders: dict[str, float],
        steps: int | None = None,
        scale: float = 1.0,
        start: Start | None = None,
    ) -> Iterator[Progress]:
        """As `edit`, yielding a preview after every step; closing the generator stops the work.

        Args:
            start: of this code, by `start`: the first preview then comes sooner.
        """
        return self.decode_steps(self.moved(code, sliders), steps, scale, start=start)

    def start(self, code: Code, steps: int | None = None) -> Start | None:
        """What the first step of every edit of this code shares; None where there is nothing."""
        self._check(code)
        if self.bundle.kind != "pdae" or self._half is not None:
            return None
        t = self._levels(self._steps(steps, code))[0]
        x = code.x_T[None].to(self.device, memory_format=torch.channels_last)
        denoiser = self._exact_denoiser((), 1.0, 0)
        with torch.inference_mode():
            return Start(t, *denoiser.frozen(x, torch.full((1,), t, device=self.device)))

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
        run = _Run(
            ((z, 1.0),), code.x_T[None], steps, scale, unguided, floor, residuals, drawn, start
        )
        yield from self._render(run)

    def moved(self, code: Code, sliders: dict[str, float]) -> Code:
        """The code with its attributes changed, nothing rendered yet."""
        self._check(code)
        for name, strength in sliders.items():
            if name not in self.attributes:
                known = ", ".join(self.attributes) or "none"
                raise EditError(f"There is no attribute {name!r}. Known: {known}.")
            if not math.isfinite(strength) or abs(strength) > STRONGEST:
                raise EditError(
                    f"{name} = {strength} is out of range: use -{STRONGEST:g} to {STRONGEST:g}."
                )
        if not sliders:
            return code
        return replace(code, z=self.bundle.latents.move(code.z, sliders))

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
        if not 2 <= frames <= 100:
            raise EditError(f"The number of frames must be between 2 and 100, got {frames}.")
        steps = self._steps(steps, code_a)
        between = [i / (frames - 1) for i in range(1, frames - 1)]
        # The ends alone: to the bit, they are the reconstructions.
        for weights in ([0.0], *_pieces(between, self._at_once), [1.0]):
            yield from self._between(code_a, code_b, weights, mode, steps, scale)

    def sample_code(self, seed: int, steps: int = 100, label: str | None = None) -> Code:
        """A new picture's code from the latent diffusion model; x_T is plain noise.

        Args:
            seed: the same seed gives the same code, alone or among others.
            steps: evaluations of the latent network.
            label: the class, where the model knows classes; it has no latent model then.
        """
        if self.classes:
            return self._class_code(seed, label)
        prior, latents = self.bundle.prior, self.bundle.latents
        if prior is None:
            raise EditError(
                f"{self.name} has no latent diffusion model, so it cannot make new pictures."
            )
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(1, prior.z_dim, generator=generator)
        try:
            z_n = prior.sample(noise.to(self.device), steps, self._stepping)
        except ValueError as error:
            raise EditError(f"The number of latent steps cannot be used: {error}.") from error
        x_T = torch.randn(self._shape, generator=generator)
        z = z_n[0].float().cpu() * latents.std + latents.mean
        return Code(_plain(z), x_T, None, self.bundle.identity)

    def _class_code(self, seed: int, label: str | None) -> Code:
        if label not in self.classes:
            shown = ", ".join(self.classes[:20]) + (" …" if len(self.classes) > 20 else "")
            raise EditError(f"There is no class {label!r}. Known: {shown}.")
        number = torch.tensor([self.classes.index(label)], device=self.device)
        with torch.inference_mode():
            z = self.bundle.model.encoder(number)[0]
        x_T = torch.randn(self._shape, generator=torch.Generator().manual_seed(seed))
        return Code(_plain(z), x_T, None, self.bundle.identity)

    @property
    def _shape(self) -> tuple[int, int, int]:
        unet = self.bundle.unet.config
        return unet.in_channels, unet.image_size, unet.image_size

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
        if not 0 <= unguided <= 1:
            raise EditError(f"The unguided part must be between 0 and 1, got {unguided}.")
        codes = (self.sample_code(seed, label=label) for seed in seeds)
        floor = self.bundle.floor
        return [_result(self.decode_steps(code, steps, scale, unguided, floor)) for code in codes]

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
        *_, last = self._states(_Run(codes, x_T, steps, scale, residuals=residuals))
        return [_to_image(x) for x in last["x"]]

    def _blend(self, z_a: Tensor, z_b: Tensor, weights: list[float], mode: str):
        part = torch.tensor(weights)[:, None]
        if mode == "latent":
            return ((torch.lerp(z_a[None], z_b[None], part).to(self.device), 1.0),)
        pairs = ((z_a, 1 - part), (z_b, part))
        return tuple(
            (z.expand(len(weights), -1).to(self.device), part[:, :, None, None].to(self.device))
            for z, part in pairs
            if part.any()
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

    def _render(self, run: "_Run") -> Iterator[Progress]:
        for state in self._states(run):
            last = state["step"] == state["steps"]
            image = _to_image(state["x" if last else "x0_hat"][0])
            yield Progress(state["step"], state["steps"], image)

    def _states(self, run: "_Run") -> Iterator[dict]:
        """The states of a decoding."""
        levels = self._levels(run.steps)
        if not math.isfinite(run.scale) or not 0 <= run.scale <= 10:
            raise EditError(f"The guidance scale must be between 0 and 10, got {run.scale}.")
        tail = self._stepping.tail(self.bundle.diffusion.schedule, run.steps, run.unguided)
        denoiser = self._denoiser(run.codes, 0.0 if run.unguided == 1 else run.scale, tail)
        if run.start is not None:
            denoiser = replace(denoiser, start=run.start)
        x = run.x_T.to(self.device, memory_format=torch.channels_last)
        schedule, clip = self.bundle.diffusion.schedule, self._stepping.clip_x0
        levels = jumping(levels, run.floor)
        if run.drawn and self._stepping.multistep:
            states = dpm_solver_states(denoiser, x, schedule, levels, clip)
        else:
            states = ddim_states(denoiser, x, schedule, levels, clip, run.residuals)
        yield from _inferring(states)

    def _denoiser(self, codes, scale: float = 1.0, unguided_below: int = 0) -> Denoiser:
        exact = self._exact_denoiser(codes, scale, unguided_below)
        if self._half is None:
            return exact
        model, dtype = self._half
        return WithFallback(replace(exact, model=model, dtype=dtype), exact)

    def _exact_denoiser(self, codes, scale: float, unguided_below: int):
        model, diffusion = self.bundle.model, self.bundle.diffusion
        if self.bundle.kind == "pdae":
            return ShiftedDenoiser(model, diffusion, codes, scale, unguided_below)
        neutral = None
        if scale != 1:
            if self.bundle.latents is None:
                raise EditError(
                    "This model needs the average code for a guidance scale other than 1, and its "
                    "bundle has none: convert it with --latents."
                )
            neutral = self.bundle.latents.mean[None].to(self.device)
        return ConditionedDenoiser(model, diffusion, codes, scale, neutral)

    @property
    def _stepping(self) -> Stepping:
        return STEPPINGS[self.stepping]

    def _levels(self, steps: int, inverting: bool = False) -> list[int]:
        if not isinstance(steps, int):
            raise EditError(f"The number of steps must be a whole number, got {steps!r}.")
        try:
            return self._stepping.levels(self.bundle.diffusion.schedule, steps, inverting)
        except ValueError as error:
            raise EditError(f"The number of steps cannot be used: {error}.") from error

    def _alignment(self, photo: Image.Image, align: bool | Alignment) -> Alignment | None:
        if isinstance(align, Alignment):
            return align
        return find_alignment(photo, framing=self.framing) if align else None

    def _check(self, code: Code) -> None:
        if code.bundle != self.bundle.identity:
            raise EditError(
                f"This code was made by another model than {self.name}. Encode the picture again."
            )


@dataclass(frozen=True)
class _Run:
    """What is decoded and how; the names are those of `Editor.decode_steps` and `generate`.

    codes are (z (N, D), weight) pairs, x_T (N, C, S, S); residuals (steps, C, S, S), or one a
    picture (steps, N, C, S, S).
    """

    codes: tuple[tuple[Tensor, float | Tensor], ...]
    x_T: Tensor
    steps: int
    scale: float = 1.0
    unguided: float = 0.0
    floor: int = 0
    residuals: Tensor | None = None
    drawn: bool = False
    start: Start | None = None


def _pieces(items: list, size: int) -> list[list]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _inferring(states: Iterator[dict]) -> Iterator[dict]:
    """The solver's states; inference mode is on inside a step only, never in the caller."""
    while True:
        with torch.inference_mode():
            state = next(states, None)
        if state is None:
            return
        yield state


def best_device() -> str:
    """The fastest device of this machine."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _result(steps: Iterator[Progress]) -> Image.Image:
    *_, last = steps
    return last.image


def _plain(tensor: Tensor) -> Tensor:
    """A copy on the CPU that outlives inference mode and can be pickled and deep-copied."""
    return torch.from_numpy(tensor.detach().float().cpu().contiguous().numpy().copy())


def _to_tensor(image: Image.Image, channels: int) -> Tensor:
    """PIL RGB (S, S) -> (1, 3, S, S) float32 in [-1, 1]; for one channel, grey (1, 1, S, S)."""
    image = image if channels == 3 else image.convert("L")
    pixels = torch.from_numpy(np.asarray(image, np.float32).reshape(*image.size[::-1], channels))
    return pixels.permute(2, 0, 1)[None] / 127.5 - 1


def _to_image(x: Tensor) -> Image.Image:
    """(3, S, S), or grey (1, S, S), in [-1, 1] -> PIL RGB."""
    x = x.expand(3, -1, -1)
    pixels = ((x.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
