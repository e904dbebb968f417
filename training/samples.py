"""What training scripts show and measure of a model as it learns."""

import torch
from torch import Tensor

from pdae_app.diffusion.schedule import Schedule, spaced_timesteps
from pdae_app.diffusion.solvers import Denoiser, ddim, ddim_invert, predict_x0

STEPS = 50


def random_decodings(
    denoiser: Denoiser, like: Tensor, schedule: Schedule, steps: int = STEPS
) -> Tensor:
    """Pictures of fixed random noise, as many and as large as `like` (N, C, S, S)."""
    x_T = fixed_noise(like)
    return ddim(denoiser, x_T, schedule, _levels(schedule, steps))


def decoding_errors(
    denoiser: Denoiser, x_0: Tensor, schedule: Schedule, steps: int = 20
) -> dict[str, float]:
    """Mean squared errors, of pixels in [0, 1], of x_0 (N, C, S, S) decoded with its codes.

    `random_x_T_mse` from fixed noise, so that the code must tell it all; `inferred_x_T_mse` from
    the noise that the inversion finds; `one_step_mse` of x0_hat from x_t at t = T / 2.
    """
    drawn = random_decodings(denoiser, x_0, schedule, steps)
    inverted = ddim_invert(denoiser, x_0, schedule, _levels(schedule, steps))
    back = ddim(denoiser, inverted, schedule, _levels(schedule, steps))
    return {
        "random_x_T_mse": _mse(drawn, x_0),
        "inferred_x_T_mse": _mse(back, x_0),
        "one_step_mse": one_step_error(denoiser, x_0, schedule),
    }


def one_step_error(denoiser: Denoiser, x_0: Tensor, schedule: Schedule) -> float:
    """Mean squared error, of pixels in [0, 1], of x0_hat from x_t of fixed noise at t = T / 2."""
    return _mse(_one_step(denoiser, x_0, schedule, schedule.timesteps // 2), x_0)


def gap_filled(
    frozen: Denoiser, shifted: Denoiser, x_0: Tensor, schedule: Schedule, places: int = 10
) -> float:
    """The part of the frozen model's posterior-mean gap that the shift fills, averaged over t.

    The gap at t is the squared distance of the posterior means with x0_hat and with x_0 (PDAE,
    Section 3.2), proportional to that of x0_hat and x_0; x_t is drawn with normal noise.
    """
    width = schedule.timesteps / places
    parts = []
    for t in (int((i + 0.5) * width) for i in range(places)):
        before, after = (
            _mse(_one_step(denoiser, x_0, schedule, t), x_0) for denoiser in (frozen, shifted)
        )
        parts.append(1 - after / before)
    return sum(parts) / places


def _one_step(denoiser: Denoiser, x_0: Tensor, schedule: Schedule, t: int) -> Tensor:
    times = torch.full((len(x_0),), t, device=x_0.device)
    x_t = schedule.add_noise(x_0, fixed_noise(x_0), times)
    return predict_x0(x_t, denoiser(x_t, times), float(schedule.alpha_bar(t)))


def fixed_noise(like: Tensor) -> Tensor:
    """The same normal noise on every machine, shaped as `like`."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).to(like.device)


def _levels(schedule: Schedule, steps: int) -> list[int]:
    return spaced_timesteps(schedule, min(steps, schedule.timesteps - 1))


def _mse(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean()) / 4


def in_pairs_of_rows(above: Tensor, below: Tensor, width: int = 8) -> Tensor:
    """Both batches in one grid of `width` columns, rows of the first and the second in turn."""
    rows = zip(above.split(width), below.split(width), strict=True)
    return torch.cat([pictures for pair in rows for pictures in pair])
