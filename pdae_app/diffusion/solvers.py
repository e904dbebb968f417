"""Sampling and inversion: short functions of a denoiser eps(x, t).

A denoiser is any callable eps = denoiser(x, t) with x (N, C, H, W), t long (N,). `timesteps` is
the ascending list of levels from `spaced_timesteps`. The callback gets {step, steps, t, x, x0_hat}
after every evaluation; an exception that it raises ends the run.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from pdae_app.diffusion.schedule import CLEAN, Schedule
from pdae_app.diffusion.variance import log_variance

Denoiser = Callable[[Tensor, Tensor], Tensor]
Callback = Callable[[dict], None]


def predict_x0(x: Tensor, eps: Tensor, alpha_bar: float) -> Tensor:
    """x0_hat = (x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t) (Song et al. 2021, DDIM, Eq. 9)."""
    return (x - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5


def ddim_step(
    x: Tensor, eps: Tensor, alpha_bar: float, alpha_bar_next: float, clip_x0: bool = False
) -> tuple[Tensor, Tensor]:
    """One deterministic step between any two noise levels (DDIM Eq. 12, sigma = 0).

    `clip_x0` clamps x0_hat to [-1, 1] and re-derives eps from it, as the official code does.

    Returns:
        x at the next level, and x0_hat.
    """
    x0_hat = predict_x0(x, eps, alpha_bar)
    if clip_x0:
        x0_hat = x0_hat.clamp(-1, 1)
        eps = (x - alpha_bar**0.5 * x0_hat) / (1 - alpha_bar) ** 0.5
    return alpha_bar_next**0.5 * x0_hat + (1 - alpha_bar_next) ** 0.5 * eps, x0_hat


def ddim_states(
    denoiser: Denoiser,
    x: Tensor,
    schedule: Schedule,
    levels: list[int],
    clip_x0: bool = False,
    residuals: Tensor | None = None,
    after: Callable[[int, Tensor], Tensor] | None = None,
) -> Iterator[dict]:
    """DDIM steps through `levels` in the order given, falling (sampling) or rising (inversion).

    Yields {step, steps, t, x, x0_hat} after every evaluation; closing the generator stops the run.
    At CLEAN the network is asked at t = 0, the least noise that it knows. `residuals`, one a step,
    are added to the states: see `pdae_app.diffusion.inversion`. `after` (step, x) may change the
    state that the next step starts from.
    """
    for step, (t, t_next) in enumerate(pairwise(levels), 1):
        eps = denoiser(x, torch.full((len(x),), max(t, 0), device=x.device))
        alpha_bar, alpha_bar_next = (float(schedule.alpha_bar(level)) for level in (t, t_next))
        x, x0_hat = ddim_step(x, eps, alpha_bar, alpha_bar_next, clip_x0)
        if residuals is not None:
            x = x + residuals[step - 1]
        if after is not None:
            x = after(step, x)
        yield {"step": step, "steps": len(levels) - 1, "t": t, "x": x, "x0_hat": x0_hat}


def dpm_solver_states(
    denoiser: Denoiser, x: Tensor, schedule: Schedule, levels: list[int], clip_x0: bool = False
) -> Iterator[dict]:
    """DPM-Solver++(2M) through falling `levels` (Lu et al. 2022, "DPM-Solver++", Alg. 2).

    Of second order in the log signal-to-noise ratio: each x0_hat is extended along the line through
    the last two. The first step has no predecessor, and the one to CLEAN, where that ratio is
    infinite, takes x0_hat itself. Yields as `ddim_states`.
    """
    before = None  # (x0_hat, h) of the last step
    for step, (t, t_next) in enumerate(pairwise(levels), 1):
        eps = denoiser(x, torch.full((len(x),), max(t, 0), device=x.device))
        alpha_bar, alpha_bar_next = (float(schedule.alpha_bar(level)) for level in (t, t_next))
        x0_hat = predict_x0(x, eps, alpha_bar)
        if clip_x0:
            x0_hat = x0_hat.clamp(-1, 1)
        h = _half_log_snr(alpha_bar_next) - _half_log_snr(alpha_bar)
        extended = x0_hat
        if before is not None and t_next != CLEAN:
            extended = x0_hat + (h / before[1] / 2) * (x0_hat - before[0])
        sigma_ratio = ((1 - alpha_bar_next) / (1 - alpha_bar)) ** 0.5
        x = sigma_ratio * x - alpha_bar_next**0.5 * math.expm1(-h) * extended
        before = x0_hat, h
        yield {"step": step, "steps": len(levels) - 1, "t": t, "x": x, "x0_hat": x0_hat}


def _half_log_snr(alpha_bar: float) -> float:
    """Lambda = log(alpha / sigma); infinite at CLEAN."""
    return math.inf if alpha_bar == 1 else math.log(alpha_bar / (1 - alpha_bar)) / 2


def _last_x(states: Iterator[dict], callback: Callback | None) -> Tensor:
    for state in states:
        if callback is not None:
            callback(state)
    return state["x"]


def ddim(
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: Schedule,
    timesteps: list[int],
    clip_x0: bool = False,
    callback: Callback | None = None,
) -> Tensor:
    """Deterministic DDIM sampling from x_T (Song et al. 2021, Eq. 12; PDAE Alg. 3)."""
    return _last_x(ddim_states(denoiser, x_T, schedule, timesteps[::-1], clip_x0), callback)


def ddim_invert(
    denoiser: Denoiser,
    x_0: Tensor,
    schedule: Schedule,
    timesteps: list[int],
    clip_x0: bool = False,
    callback: Callback | None = None,
) -> Tensor:
    """The ODE backwards, from an image to its noise map x_T (PDAE Eq. 8).

    Each step uses eps at the level that it leaves, so the inversion is exact only as the steps go
    to infinity.
    """
    return _last_x(ddim_states(denoiser, x_0, schedule, timesteps, clip_x0), callback)


def ddpm(
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: Schedule,
    generator: torch.Generator | None = None,
    clip_x0: bool = False,
    callback: Callback | None = None,
    learned_variance: bool = False,
) -> Tensor:
    """Ancestral sampling over all timesteps (Ho et al. 2020, Alg. 2; PDAE Alg. 2).

    The posterior variance (1 - abar_{t-1}) / (1 - abar_t) beta_t is used; none at the last step.
    A denoiser shifted with the posterior's factor moves the mean by sigma_t^2 G.
    `learned_variance` takes the denoiser's own (Nichol & Dhariwal 2021).
    """
    x = x_T
    for t in reversed(range(schedule.timesteps)):
        times = torch.full((len(x),), t, device=x.device)
        if learned_variance:
            eps, v = denoiser.with_variance(x, times)
        else:
            eps = denoiser(x, times)
        mean, variance, x0_hat = ddpm_posterior(x, eps, schedule, t, clip_x0)
        if learned_variance and t > 0:
            variance = log_variance(v, schedule, times).exp()
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        x = mean + variance**0.5 * noise
        if callback is not None:
            step = schedule.timesteps - t
            callback({"step": step, "steps": schedule.timesteps, "t": t, "x": x, "x0_hat": x0_hat})
    return x


def ddpm_posterior(
    x: Tensor, eps: Tensor, schedule: Schedule, t: int, clip_x0: bool = False
) -> tuple[Tensor, float, Tensor]:
    """Mean and variance of q(x_{t-1} | x_t, x0_hat), and x0_hat (Ho et al. 2020, Eq. 7)."""
    alpha_bar, alpha_bar_prev = (float(schedule.alpha_bar(level)) for level in (t, t - 1))
    beta = float(schedule.betas[t])
    x0_hat = predict_x0(x, eps, alpha_bar)
    if clip_x0:
        x0_hat = x0_hat.clamp(-1, 1)
    from_x0 = alpha_bar_prev**0.5 * beta / (1 - alpha_bar)
    from_x = (1 - beta) ** 0.5 * (1 - alpha_bar_prev) / (1 - alpha_bar)
    variance = beta * (1 - alpha_bar_prev) / (1 - alpha_bar)
    return from_x0 * x0_hat + from_x * x, variance, x0_hat
