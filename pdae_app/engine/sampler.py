"""A bundle at work on batches of tensors: pictures to codes and states, codes and noise to states.

States are what the diffusion model knows: see `pdae_app.models.first_stage`.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from pdae_app.bundle import Bundle, resized
from pdae_app.diffusion.coupled import Coupling, coupled_states, coupling, draft_steps
from pdae_app.diffusion.denoisers import Mix, Start, WithFallback
from pdae_app.diffusion.grids import jumping, levels_below, steppings
from pdae_app.diffusion.inversion import exact_states
from pdae_app.diffusion.process import Process, Time
from pdae_app.diffusion.solvers import Denoiser, State, ddim_states, dpm_solver_states
from pdae_app.engine.checks import check_part, check_scale
from pdae_app.engine.code import EditError
from pdae_app.engine.pictures import to_image
from pdae_app.latents.clearing import readiness
from pdae_app.models.precision import half_dtype

# The noise of coupled edits is always the same, so that the same sliders give the same picture.
EDIT_SEED = 0

# A kept region follows the unchanged picture from this part of the way on: before, the edit is
# free to settle, and after, the networks have steps left to heal the seam.
KEEP_FROM = 0.5


@dataclass(frozen=True)
class Sampling:
    """How states are sampled: in how many steps, and how strongly the codes guide.

    The last part `unguided` of the steps goes without codes; from the time `floor` on, one step
    leads to x0_hat (see `pdae_app.diffusion.grids.jumping`).

    Raises:
        EditError: a scale or a part that cannot be.
    """

    steps: int
    scale: float = 1.0
    unguided: float = 0.0
    floor: Time = 0

    def __post_init__(self):
        check_scale(self.scale)
        check_part("unguided", self.unguided)


@dataclass(frozen=True)
class Decoding:
    """Codes z (N, D), or a mix of several, and the noise x_T (N, C, S, S) that they start from.

    `residuals` (steps, C, S, S), or one a state (steps, N, C, S, S), are the inversion's. `drawn`
    noise was not inferred from a picture. `keep` (S, S) in [0, 1], of a picture's size, makes every
    state follow the first one where it is 1. `start` is what several decodings share.
    """

    codes: Tensor | Mix
    x_T: Tensor
    sampling: Sampling
    residuals: Tensor | None = None
    drawn: bool = False
    keep: Tensor | None = None
    start: Start | None = field(default=None, repr=False)


class Sampler:
    """First stage, process and family of a bundle on a device, in a precision, stepped one way."""

    def __init__(self, bundle: Bundle, device: torch.device, stepping: str, precision: str):
        known = steppings(bundle.spacing)
        if stepping not in known:
            raise EditError(f"There is no stepping {stepping!r}. Known: {', '.join(known)}.")
        self.bundle, self.device = bundle, device
        self._seconds: dict[str, float] = {}  # shared by copies, which have the same networks
        self.stepping_name, self.stepping = stepping, known[stepping]
        try:
            dtype = half_dtype(precision, device)
        except ValueError as error:
            raise EditError(f"The precision cannot be used: {error}.") from error
        with torch.inference_mode():
            self.exact = bundle.family.with_times(device)
        self.half = self.exact.in_half(dtype) if dtype else None

    @property
    def process(self) -> Process:
        """The model's noise levels."""
        return self.bundle.process

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, S, S) of a state, and of x_T."""
        return self.bundle.state_shape

    @property
    def at_once(self) -> int:
        """Pictures that are computed together, where there are many."""
        if self.device.type == "cuda":
            return 8
        return max(1, 4 * 64**2 // self.shape[-1] ** 2)  # above 64 px one keeps a CPU busy

    def compile(self, backend: str) -> None:
        """Compile the networks, and try them once."""
        networks = self.half or self.exact
        for network in networks.steppers:
            network.compile(backend=backend)
        z, x_T = torch.zeros(1, networks.z_dim, device=self.device), torch.zeros(1, *self.shape)
        next(self.decode(Decoding(z, x_T, Sampling(steps=1))))

    def read(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Codes z (N, D) and states of pictures (N, C, S, S) in [-1, 1]."""
        pictures = pictures.to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode():
            return self.bundle.codes(pictures), self.bundle.first_stage.encode(pictures)

    def pictures(self, states: Tensor) -> list[Image.Image]:
        """The pictures of states (N, C, S, S)."""
        with torch.inference_mode():
            return [to_image(x) for x in self.bundle.first_stage.decode(states)]

    def previews(self, states: Tensor) -> list[Image.Image]:
        """As `pictures`, roughly and quickly, where the first stage has a way to."""
        with torch.inference_mode():
            return [to_image(x) for x in self.bundle.first_stage.preview(states)]

    @property
    def step_seconds(self) -> float:
        """What one evaluation of the networks under a code takes, tried once for all copies."""
        if "step" not in self._seconds:
            self._seconds["step"] = self._tried()
        return self._seconds["step"]

    def _tried(self) -> float:
        z, x_T = torch.zeros(1, self.exact.z_dim), torch.zeros(1, *self.shape)
        begun = time.perf_counter()
        next(self.decode(Decoding(z.to(self.device), x_T, Sampling(steps=1))))
        return time.perf_counter() - begun

    def levels(self, steps: int, inverting: bool = False) -> list[Time]:
        """The noise levels of so many steps.

        Raises:
            EditError: steps that cannot be.
        """
        if not isinstance(steps, int):
            raise EditError(f"The number of steps must be a whole number, got {steps!r}.")
        try:
            return self.stepping.levels(self.process, steps, inverting)
        except ValueError as error:
            raise EditError(f"The number of steps cannot be used: {error}.") from error

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

    def invert(self, z: Tensor, x_0: Tensor, steps: int, iterations: int) -> Iterator[State]:
        """From states x_0 (N, C, S, S) with codes z to x_T; with 0 `iterations` by plain DDIM."""
        levels = self.levels(steps, inverting=True)
        ends = self.stepping.ends(self.process, steps, inverting=True)
        denoiser, process = self.denoiser(z), self.process
        if iterations:
            extra = {"iterations": iterations, "ends": ends}
            states = exact_states(denoiser, x_0, process, levels, **extra)
        else:
            clip = self.stepping.clip_x0
            states = ddim_states(denoiser, x_0, process, levels, clip_x0=clip, ends=ends)
        return inferring(states)

    def decode(self, wanted: Decoding) -> Iterator[State]:
        """From noise to states; noise that was drawn by the multistep solver, where there is one.

        Raises:
            EditError: steps or a scale that cannot be.
        """
        sampling, clip = wanted.sampling, self.stepping.clip_x0
        levels = jumping(self.levels(sampling.steps), sampling.floor)
        tail = self.stepping.tail(self.process, sampling.steps, sampling.unguided)
        scale = 0.0 if sampling.unguided == 1 else sampling.scale
        denoiser = self.denoiser(wanted.codes, scale, unguided_below=tail, start=wanted.start)
        x = wanted.x_T.to(self.device, memory_format=torch.channels_last)
        if wanted.drawn and self.stepping.multistep and wanted.keep is None:
            states = dpm_solver_states(denoiser, x, self.process, levels, clip_x0=clip)
        else:
            bind = self._binding(wanted.keep, len(levels) - 1)
            ends = self.stepping.ends(self.process, sampling.steps) if not sampling.floor else None
            extra = {"residuals": wanted.residuals, "after": bind, "ends": ends}
            states = ddim_states(denoiser, x, self.process, levels, clip_x0=clip, **extra)
        return inferring(states)

    def _binding(self, keep: Tensor | None, steps: int):
        """What binds the kept region to the first state; None where nothing is kept."""
        if keep is None:
            return None
        keep = self._at_state_size(keep)

        def bind(step: int, x: Tensor) -> Tensor:
            return x if step < KEEP_FROM * steps else torch.lerp(x, x[:1], keep)

        return bind

    def _at_state_size(self, keep: Tensor) -> Tensor:
        return resized(keep.to(self.device)[None, None], self.shape[-1])[0, 0]

    def start(self, x_T: Tensor, steps: int) -> Start | None:
        """What all codes share of the first step from x_T (C, S, S); None where that is nothing."""
        if self.half is not None:
            return None
        x = x_T[None].to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode():
            return self.exact.start(x, self.levels(steps)[0])

    def coupling(self, z: Tensor, state: Tensor, steps: int) -> Coupling:
        """What all coupled edits of a photograph share, of its code (D,) and its state (C, S, S).

        Raises:
            EditError: steps that cannot be.
        """
        repaint = self.bundle.repaint
        drafted = draft_steps(steps) if repaint else 0
        try:
            levels_below(self.process, steps, self.bundle.coupled_from)  # all that were asked for
            levels = levels_below(self.process, steps - drafted, self.bundle.coupled_from)
        except ValueError as error:
            raise EditError(f"The number of steps cannot be used: {error}.") from error
        x_0 = state[None].to(self.device, memory_format=torch.channels_last)
        noise = torch.randn(self.shape, generator=torch.Generator().manual_seed(EDIT_SEED))
        with torch.inference_mode():
            denoiser = self.denoiser(z[None].to(self.device))
            noise = noise[None].to(self.device) * (repaint.temperature if repaint else 1)
            return coupling(denoiser, x_0, noise, self.process, levels, drafted=drafted)

    def edit_coupled(
        self,
        shared: Coupling,
        z: Tensor,
        scale: float = 1.0,
        keep: Tensor | None = None,
        *,
        own: Tensor,
    ) -> Iterator[State]:
        """Edits under codes z (N, D) of one photograph, whose `own` is (D,); `keep` as in
        `Decoding`.
        """
        part = scale if keep is None else scale * (1 - self._at_state_size(keep))
        denoiser, repaint = self.denoiser(z.to(self.device)), self.bundle.repaint
        ready = self._readiness(own, z)
        edits = coupled_states(denoiser, shared, len(z), part, repaint, readiness=ready)
        return inferring(edits)

    def _readiness(self, own: Tensor, z: Tensor) -> float | Tensor:
        """How readily the photograph's detail goes under codes z (N, D): see `readiness`."""
        clearings, space = self.bundle.clearings, self.bundle.latents
        if not clearings:
            return 1.0
        return readiness(clearings, space, own.cpu(), z.cpu(), self.shape[-1]).to(self.device)


def inferring(states: Iterator[State]) -> Iterator[State]:
    """The solver's states; inference mode is on inside a step only, never in the caller."""
    while True:
        with torch.inference_mode():
            state = next(states, None)
        if state is None:
            return
        yield state
