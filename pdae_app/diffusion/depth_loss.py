"""The diffusion loss of a variational model over a finite number of steps.

Nielsen et al., "DiffEnc" (ICLR 2024), Section 3: with the generative variance equal to the
posterior's, and with the optimal one.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pdae_app.diffusion.finite_depth import Step, best_ratio, step_error, step_nats
from pdae_app.diffusion.variational import VariationalDiffusion


@dataclass(frozen=True)
class DepthLoss:
    """The diffusion loss over T steps, in nats per image, with two generative variances."""

    equal: float
    optimal: float


@torch.no_grad()
def depth_loss(
    model: VariationalDiffusion, X: Tensor, steps: int, generator: torch.Generator
) -> DepthLoss:
    """Sum over T steps of E KL(q(z_s | z_t, X) || p(z_s | z_t)) of a model of any kind.

    Args:
        X: (N, C, H, W), scaled pictures; each step draws one z_t a picture.

    Returns:
        With sigma_P^2 = sigma_Q^2, and with the optimal variance of each step, one number a step,
        measured on the same pictures.
    """
    equal, optimal, dimensions = 0.0, 0.0, math.prod(X.shape[1:])
    for i in range(1, steps + 1):
        error = _step_error(model, X, i / steps, (i - 1) / steps, generator)
        equal += float(step_nats(error, dimensions).mean())
        ratio = best_ratio(error, dimensions)
        optimal += float(step_nats(error, dimensions, ratio).mean())
    return DepthLoss(equal, optimal)


def _step_error(
    model: VariationalDiffusion, X: Tensor, t: float, s: float, generator: torch.Generator
) -> Tensor:
    log_snr_t, log_snr_s = model.log_snr(t, X), model.log_snr(s, X)
    x_t, x_s = (model.encoding.mean(X, level) for level in (log_snr_t, log_snr_s))
    eps = torch.randn(X.shape, generator=generator, dtype=X.dtype)
    z_t, step = model.noised(x_t, eps, log_snr_t), Step(log_snr_t, log_snr_s)
    mean = step.generative_mean(z_t, model.x_hat(z_t, log_snr_t), model.encoding.counters)
    return step_error(mean, step.posterior_mean(z_t, x_t, x_s), step.variance)
