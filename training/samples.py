"""What training scripts show and measure of a model as it learns."""

import torch
from torch import Tensor

from pdae_app.diffusion.grids import spaced_levels
from pdae_app.diffusion.process import Process, Time
from pdae_app.diffusion.solvers import Denoiser, ddim, ddim_invert
from pdae_app.diffusion.variational import VariationalDiffusion, noised_with_truth
from pdae_app.models.first_stage import FirstStage

STEPS = 50
AT_ONCE = 4


def random_decodings(
    denoiser: Denoiser, like: Tensor, process: Process, steps: int = STEPS
) -> Tensor:
    """Pictures of fixed random noise, as many and as large as `like` (N, C, S, S)."""
    x_T = fixed_noise(like)
    return ddim(denoiser, x_T, process, _levels(process, steps))


def decoded(first_stage: FirstStage, states: Tensor) -> Tensor:
    """Pictures of states (N, C, S, S), few at a time: at 256 px a decoder takes a gigabyte each."""
    return torch.cat([first_stage.decode(few) for few in states.split(AT_ONCE)])


def decoding_errors(
    denoiser: Denoiser,
    x_0: Tensor,
    process: Process,
    steps: int = 20,
    variational: VariationalDiffusion | None = None,
) -> dict[str, float]:
    """Mean squared errors, of pixels in [0, 1], of x_0 (N, C, S, S) decoded with its codes.

    `random_x_T_mse` from fixed noise, so that the code must tell it all; `inferred_x_T_mse` from
    the noise that the inversion finds; `one_step_mse`: see `one_step_error`.
    """
    drawn = random_decodings(denoiser, x_0, process, steps)
    inverted = ddim_invert(denoiser, x_0, process, _levels(process, steps))
    back = ddim(denoiser, inverted, process, _levels(process, steps))
    return {
        "random_x_T_mse": _mse(drawn, x_0),
        "inferred_x_T_mse": _mse(back, x_0),
        "one_step_mse": one_step_error(denoiser, x_0, process, variational),
    }


def one_step_error(
    denoiser: Denoiser,
    x_0: Tensor,
    process: Process,
    variational: VariationalDiffusion | None = None,
) -> float:
    """Mean squared error, of pixels in [0, 1], of x0_hat from x_t of fixed noise at t = T / 2.

    For a learned encoding of pictures (`variational`), from the x0_hat that there is to find.
    """
    x_t, truth = _noised(x_0, process, process.at(0.5), variational)
    return _mse(_x0_hat(denoiser, x_t, process, process.at(0.5)), truth)


def gap_filled(
    frozen: Denoiser,
    shifted: Denoiser,
    x_0: Tensor,
    process: Process,
    variational: VariationalDiffusion | None = None,
    places: int = 10,
) -> float:
    """The part of the frozen model's posterior-mean gap that the shift fills, averaged over t.

    The gap at t is the squared distance of the posterior means with x0_hat and with x_0 (PDAE,
    Section 3.2), proportional to that of x0_hat and x_0; x_t is drawn with normal noise, as the
    frozen model was trained.
    """
    parts = []
    for t in (process.at((i + 0.5) / places) for i in range(places)):
        x_t, truth = _noised(x_0, process, t, variational)
        before, after = (
            _mse(_x0_hat(denoiser, x_t, process, t), truth) for denoiser in (frozen, shifted)
        )
        parts.append(1 - after / before)
    return sum(parts) / places


def _noised(
    x_0: Tensor, process: Process, t: Time, variational: VariationalDiffusion | None
) -> tuple[Tensor, Tensor]:
    return noised_with_truth(process, x_0, fixed_noise(x_0), t, variational)


def _x0_hat(denoiser: Denoiser, x_t: Tensor, process: Process, t: Time) -> Tensor:
    return process.predict_x0(x_t, denoiser(x_t, process.asked(t, x_t)), t)


def fixed_noise(like: Tensor) -> Tensor:
    """The same normal noise on every machine, shaped as `like`."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).to(like.device)


def _levels(process: Process, steps: int) -> list[Time]:
    return spaced_levels(process, min(steps, process.most_steps))


def _mse(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean()) / 4


def in_pairs_of_rows(above: Tensor, below: Tensor, width: int = 8) -> Tensor:
    """Both batches in one grid of `width` columns, rows of the first and the second in turn."""
    rows = zip(above.split(width), below.split(width), strict=True)
    return torch.cat([pictures for pair in rows for pictures in pair])
