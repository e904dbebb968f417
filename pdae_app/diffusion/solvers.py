"""Sampling and inversion: short functions of a denoiser eps(x, t) and a process.

A denoiser is any callable eps = denoiser(x, t) with x (N, C, H, W), t (N,) in the process's time.
Levels are times of the process: see `pdae_app.diffusion.grids`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pdae_app.diffusion.posterior import posterior
from pdae_app.diffusion.process import Process, Time
from pdae_app.diffusion.variance import log_variance

Denoiser = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class State:
    """Where a run stands after `step` of `steps` evaluations, the last one at time t.

    x (N, C, H, W) is at the next level; x0_hat is the picture that the evaluation predicts.
    `evaluations` were made in all. Exact inversion predicts no picture; at its end, `residuals`
    (K, N, C, H, W) are what each step left (see `pdae_app.diffusion.inversion`).
    """

    step: int
    steps: int
    t: Time
    x: Tensor
    x0_hat: Tensor | None = None
    evaluations: int = 0
    residuals: Tensor | None = None

    @property
    def last(self) -> bool:
        """Whether the run is done."""
        return self.step == self.steps


@dataclass(frozen=True)
class Clip:
    """Clamps x0_hat to [-bound, bound] in every step.

    `rederive`: eps is then what is left of x_t beside the clamped x0_hat, as in PDAE's and
    Diff-AE's official code; otherwise it stays the network's, as in diffusers.
    """

    bound: float = 1.0
    rederive: bool = True

    @classmethod
    def of(cls, clip: "Clip | bool") -> "Clip":
        """True is the official code's."""
        return clip if isinstance(clip, Clip) else cls()


def _clipped(x0_hat: Tensor, clip_x0: Clip | bool) -> Tensor:
    if not clip_x0:
        return x0_hat
    bound = Clip.of(clip_x0).bound
    return x0_hat.clamp(-bound, bound)


def ddim_step(
    process: Process,
    x: Tensor,
    eps: Tensor,
    levels: tuple[Time, Time],
    clip_x0: Clip | bool = False,
) -> tuple[Tensor, Tensor]:
    """One deterministic step between any two `levels` (Song et al. 2021, DDIM, Eq. 12, sigma = 0).

    Returns:
        x at the next level, and x0_hat.
    """
    t, t_next = levels
    x0_hat = process.predict_x0(x, eps, t)
    if clip_x0:
        x0_hat = _clipped(x0_hat, clip_x0)
        eps = process.predict_eps(x, x0_hat, t) if Clip.of(clip_x0).rederive else eps
    # Eps may be more precise than x.
    return process.noised(x0_hat, eps, t_next).to(x.dtype), x0_hat


def ddim_states(
    denoiser: Denoiser,
    x: Tensor,
    process: Process,
    levels: list[Time],
    *,
    clip_x0: Clip | bool = False,
    residuals: Tensor | None = None,
    after: Callable[[int, Tensor], Tensor] | None = None,
    ends: list[Time] | None = None,
) -> Iterator[State]:
    """DDIM steps through `levels` in the order given, falling (sampling) or rising (inversion).

    Yields after every evaluation; closing the generator stops the run. At CLEAN the network is
    asked at the least noise that it knows. `residuals`, one a step, are added to the states: see
    `pdae_app.diffusion.inversion`. `after` (step, x) may change the state that the next step starts
    from. `ends`, one a step, are where steps lead that do not lead to the next level (see
    `pdae_app.diffusion.spacing`).
    """
    steps = len(levels) - 1
    for step, pair in enumerate(zip(levels, ends or levels[1:], strict=False), 1):
        eps = denoiser(x, process.asked(pair[0], x))
        x, x0_hat = ddim_step(process, x, eps, pair, clip_x0)
        if residuals is not None:
            x = (x + residuals[step - 1]).to(x.dtype)
        if after is not None:
            x = after(step, x)
        yield State(step, steps, pair[0], x, x0_hat=x0_hat, evaluations=step)


def dpm_solver_states(
    denoiser: Denoiser,
    x: Tensor,
    process: Process,
    levels: list[Time],
    *,
    clip_x0: Clip | bool = False,
) -> Iterator[State]:
    """DPM-Solver++(2M) through falling `levels` (Lu et al. 2022, "DPM-Solver++", Alg. 2).

    Of second order in lambda = log(alpha / sigma), half the log signal-to-noise ratio: each x0_hat
    is extended along the line through the last two. The first step has no predecessor, and the one
    to CLEAN, where lambda is infinite, takes x0_hat itself.
    """
    before = None  # (x0_hat, h) of the last step
    for step, (t, t_next) in enumerate(pairwise(levels), 1):
        x0_hat = process.predict_x0(x, denoiser(x, process.asked(t, x)), t)
        x0_hat = _clipped(x0_hat, clip_x0)
        h = (process.log_snr(t_next) - process.log_snr(t)) / 2
        extended = x0_hat
        if before is not None and math.isfinite(h):
            extended = x0_hat + (h / before[1] / 2) * (x0_hat - before[0])
        sigma_ratio = process.sigma(t_next) / process.sigma(t)
        x = sigma_ratio * x - process.alpha(t_next) * math.expm1(-h) * extended
        before = x0_hat, h
        yield State(step, len(levels) - 1, t, x, x0_hat=x0_hat, evaluations=step)


def last_x(states: Iterator[State]) -> Tensor:
    """The end of a run."""
    *_, last = states
    return last.x


def ddim(
    denoiser: Denoiser,
    x_T: Tensor,
    process: Process,
    levels: list[Time],
    clip_x0: Clip | bool = False,
) -> Tensor:
    """Deterministic DDIM sampling down from x_T (Song et al. 2021, Eq. 12; PDAE Alg. 3).

    Args:
        levels: ascending, as `spaced_levels` gives them.
    """
    return last_x(ddim_states(denoiser, x_T, process, levels[::-1], clip_x0=clip_x0))


def ddim_invert(
    denoiser: Denoiser,
    x_0: Tensor,
    process: Process,
    levels: list[Time],
    clip_x0: Clip | bool = False,
) -> Tensor:
    """The ODE backwards, from an image to its noise map x_T (PDAE Eq. 8), up ascending `levels`.

    Each step uses eps at the level that it leaves, so the inversion is exact only as the steps go
    to infinity.
    """
    return last_x(ddim_states(denoiser, x_0, process, levels, clip_x0=clip_x0))


def ancestral_states(
    denoiser: Denoiser,
    x: Tensor,
    process: Process,
    levels: list[Time],
    *,
    generator: torch.Generator | None = None,
    clip_x0: Clip | bool = False,
    learned_variance: bool = False,
) -> Iterator[State]:
    """Ancestral sampling down `levels` (Ho et al. 2020, Alg. 2; PDAE Alg. 2).

    The posterior's variance is taken, zero at CLEAN. A denoiser shifted with the posterior's factor
    moves the mean by that variance times G. `learned_variance`, for neighbouring timesteps of a
    `Schedule`, takes the denoiser's own (Nichol & Dhariwal 2021).
    """
    for step, (t, s) in enumerate(pairwise(levels), 1):
        times = process.asked(t, x)
        if learned_variance:
            eps, v = denoiser.with_variance(x, times)
        else:
            eps = denoiser(x, times)
        x0_hat = process.predict_x0(x, eps, t)
        x0_hat = _clipped(x0_hat, clip_x0)
        q = posterior(process, t, s)
        variance = q.variance
        if learned_variance and variance > 0:
            variance = log_variance(v, process, times).exp()
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        x = q.mean(x0_hat, x) + variance**0.5 * noise
        yield State(step, len(levels) - 1, t, x, x0_hat=x0_hat, evaluations=step)
