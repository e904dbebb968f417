"""A bundle's networks as denoisers, and the runs of a solver over them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from pdae_app.bundle import Bundle, resized
from pdae_app.diffusion.coupled import Coupling, coupled_states, coupling
from pdae_app.diffusion.denoisers import Mix, Start, WithFallback
from pdae_app.diffusion.grids import STEPPINGS, Stepping, jumping, levels_below
from pdae_app.diffusion.inversion import exact_states
from pdae_app.diffusion.process import Process, Time
from pdae_app.diffusion.solvers import Denoiser, State, ddim_states, dpm_solver_states
from pdae_app.engine.code import Code, EditError
from pdae_app.engine.pictures import to_image
from pdae_app.models.precision import half_dtype

# The noise of coupled edits is always the same, so that the same sliders give the same picture.
EDIT_SEED = 0

# A kept region follows the unchanged picture from this part of the way on: before, the edit is
# free to settle, and after, the networks have steps left to heal the seam.
KEEP_FROM = 0.5


@dataclass(frozen=True)
class Run:
    """What is decoded and how; the names are those of `Editor.decode_steps` and `generate`.

    codes z (N, D), or a mix of several; x_T (N, C, S, S); residuals (steps, C, S, S), or one a
    state (steps, N, C, S, S). `keep` (S, S) in [0, 1], of a picture's size, makes every state
    follow the first one where it is 1.
    """

    codes: Tensor | Mix
    x_T: Tensor
    steps: int
    scale: float = 1.0
    unguided: float = 0.0
    floor: int = 0
    residuals: Tensor | None = None
    drawn: bool = False
    start: Start | None = None
    keep: Tensor | None = None


class Decoder:
    """The networks of a bundle on a device, in a precision, stepped one way.

    What it denoises are states: see `pdae_app.models.first_stage`.
    """

    def __init__(self, bundle: Bundle, device: torch.device, stepping: str, precision: str):
        self.bundle, self.device, self.stepping = bundle, device, stepping
        try:
            dtype = half_dtype(precision, device)
        except ValueError as error:
            raise EditError(f"The precision cannot be used: {error}.") from error
        with torch.inference_mode():
            self.exact = bundle.family.with_times(device)
        self.half = self.exact.in_half(dtype) if dtype else None

    @property
    def way(self) -> Stepping:
        """The grid, clamps and solver."""
        return STEPPINGS[self.stepping]

    @property
    def process(self) -> Process:
        """The model's noise levels."""
        return self.bundle.process

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, S, S) of a state, and of x_T."""
        return self.bundle.state_shape

    def read(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Codes z (N, D) and states of pictures (N, C, S, S) in [-1, 1]."""
        pictures = pictures.to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode():
            return self.bundle.codes(pictures), self.bundle.first_stage.encode(pictures)

    def pictures(self, states: Tensor) -> list[Image.Image]:
        """The pictures of states (N, C, S, S)."""
        with torch.inference_mode():
            return [to_image(x) for x in self.bundle.first_stage.decode(states)]

    def compile(self, backend: str) -> None:
        """Compile the networks, and try them once."""
        networks = self.half or self.exact
        for network in networks.steppers:
            network.compile(backend=backend)
        z = torch.zeros(1, networks.z_dim, device=self.device)
        next(self.states(Run(z, torch.zeros(1, *self.shape), steps=1)))

    def levels(self, steps: int, inverting: bool = False) -> list[Time]:
        """The noise levels of so many steps."""
        if not isinstance(steps, int):
            raise EditError(f"The number of steps must be a whole number, got {steps!r}.")
        try:
            return self.way.levels(self.process, steps, inverting)
        except ValueError as error:
            raise EditError(f"The number of steps cannot be used: {error}.") from error

    def inverting(self, z: Tensor, x_0: Tensor, steps: int, iterations: int) -> Iterator[State]:
        """The states of an inversion from x_0 (N, C, S, S) to x_T; `iterations` 0 is plain."""
        levels = self.levels(steps, inverting=True)
        denoiser = self.denoiser(z)
        if iterations:
            states = exact_states(denoiser, x_0, self.process, levels, iterations=iterations)
        else:
            clip = self.way.clip_x0
            states = ddim_states(denoiser, x_0, self.process, levels, clip_x0=clip)
        return inferring(states)

    def states(self, run: Run) -> Iterator[State]:
        """The states of a decoding."""
        levels = self.levels(run.steps)
        check_scale(run.scale)
        tail = self.way.tail(self.process, run.steps, run.unguided)
        scale = 0.0 if run.unguided == 1 else run.scale
        denoiser = self.denoiser(run.codes, scale, unguided_below=tail, start=run.start)
        x = run.x_T.to(self.device, memory_format=torch.channels_last)
        process, clip = self.process, self.way.clip_x0
        levels = jumping(levels, run.floor)
        if run.drawn and self.way.multistep and run.keep is None:
            states = dpm_solver_states(denoiser, x, process, levels, clip_x0=clip)
        else:
            after = self._keeping(run, len(levels) - 1)
            kept = {"residuals": run.residuals, "after": after}
            states = ddim_states(denoiser, x, process, levels, clip_x0=clip, **kept)
        yield from inferring(states)

    def coupling(self, code: Code, steps: int) -> Coupling:
        """What all edits of a photograph's code share.

        Raises:
            EditError: steps that cannot be.
        """
        try:
            levels = levels_below(self.process, steps, self.bundle.coupled_from)
        except ValueError as error:
            raise EditError(f"The number of steps cannot be used: {error}.") from error
        x_0 = code.state[None].to(self.device, memory_format=torch.channels_last)
        noise = torch.randn(self.shape, generator=torch.Generator().manual_seed(EDIT_SEED))
        noise = noise[None].to(self.device)
        with torch.inference_mode():
            denoiser = self.denoiser(code.z[None].to(self.device))
            return coupling(denoiser, x_0, noise, self.process, levels)

    def coupled(
        self, shared: Coupling, z: Tensor, scale: float = 1.0, keep: Tensor | None = None
    ) -> Iterator[State]:
        """The states of edits under codes z (N, D); `keep` (S, S) as in `Run`."""
        check_scale(scale)
        part = scale
        if keep is not None:
            part = scale * (1 - resized(keep.to(self.device)[None, None], self.shape[-1]))
        denoiser = self.denoiser(z.to(self.device))
        yield from inferring(coupled_states(denoiser, shared, len(z), part))

    def _keeping(self, run: Run, steps: int):
        """What binds the kept region to the first picture; None where nothing is kept."""
        if run.keep is None:
            return None
        keep = resized(run.keep.to(self.device)[None, None], self.shape[-1])[0, 0]

        def bind(step: int, x: Tensor) -> Tensor:
            return x if step < KEEP_FROM * steps else torch.lerp(x, x[:1], keep)

        return bind

    def denoiser(self, codes: Tensor | Mix, scale: float = 1.0, **options) -> Denoiser:
        """Eps under these codes, in this precision; for the options see `Family.denoiser`.

        Raises:
            EditError: a scale that the model cannot be guided by.
        """
        if scale != 1 and not self.exact.guides:
            raise EditError(
                "This model needs the average code for a guidance scale other than 1, and its "
                "bundle has none: convert it with --latents."
            )
        exact = self.exact.denoiser(codes, scale, **options)
        if self.half is None:
            return exact
        return WithFallback(self.half.denoiser(codes, scale, **options), exact)

    def start(self, x_T: Tensor, steps: int) -> Start | None:
        """What all codes share of the first step from x_T (C, S, S); None where that is nothing."""
        if self.half is not None:
            return None
        x = x_T[None].to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode():
            return self.exact.start(x, self.levels(steps)[0])


def check_scale(scale: float) -> None:
    """Whether a guidance scale can be used.

    Raises:
        EditError: it cannot.
    """
    if not math.isfinite(scale) or not 0 <= scale <= 10:
        raise EditError(f"The guidance scale must be between 0 and 10, got {scale}.")


def inferring(states: Iterator[State]) -> Iterator[State]:
    """The solver's states; inference mode is on inside a step only, never in the caller."""
    while True:
        with torch.inference_mode():
            state = next(states, None)
        if state is None:
            return
        yield state
