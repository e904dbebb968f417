"""The learned variance of the reverse process (Nichol & Dhariwal 2021, "Improved DDPM").

The network's output has a second half v of the channels: log Sigma = f log beta + (1 - f) log
beta~ with f = (v + 1) / 2 (Eq. 15), where beta~ is the posterior's variance, the least possible.
It is trained by the variational bound beside the simple loss.
"""

import math

import torch
from torch import Tensor

from pdae_app.diffusion.posterior import posterior
from pdae_app.diffusion.process import expand
from pdae_app.diffusion.schedule import Schedule

# Half the distance of two grey levels in [-1, 1].
HALF_LEVEL = 1 / 255


def posterior_log_variance(schedule: Schedule, t: Tensor) -> Tensor:
    """Log of beta~ = (1 - abar_{t-1}) / (1 - abar_t) beta_t: (N,) float64 (Ho et al. 2020, Eq. 7).

    At t = 0 it would be zero; as in the paper's code, that of t = 1 stands in.
    """
    t = t.clamp(min=min(1, schedule.timesteps - 1))
    return posterior(schedule, t, t - 1).variance.log()


def log_variance(v: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
    """Log Sigma of the network's raw output v (N, C, H, W) at t (N,) (Eq. 15)."""
    largest = expand(schedule.beta(t).log(), v)
    least = expand(posterior_log_variance(schedule, t), v)
    fraction = (v + 1) / 2
    return fraction * largest + (1 - fraction) * least


def variational_bound(
    schedule: Schedule, x_0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor, v: Tensor
) -> Tensor:
    """L_t in bits per dimension, for each image (N,) (Eq. 4 to 7); the likelihood at t = 0."""
    q = posterior(schedule, t, t - 1)
    mean, log_sigma2 = q.mean(schedule.predict_x0(x_t, eps, t), x_t), log_variance(v, schedule, t)
    true_mean = q.mean(x_0, x_t)
    true_log = expand(posterior_log_variance(schedule, t), x_t)
    divergence = _kl(true_mean, true_log, mean, log_sigma2).flatten(1).mean(1)
    likelihood = -_log_likelihood(x_0, mean, log_sigma2).flatten(1).mean(1)
    return torch.where(t == 0, likelihood, divergence) / math.log(2)


def _kl(mean_p: Tensor, log_p: Tensor, mean_q: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of normal distributions with these means and log variances."""
    ratio = (log_p - log_q).exp()
    return (log_q - log_p + ratio + (mean_p - mean_q).square() * (-log_q).exp() - 1) / 2


def _log_likelihood(x_0: Tensor, mean: Tensor, log_sigma2: Tensor) -> Tensor:
    """Of 8-bit grey levels under a normal distribution; the outer levels take all beyond."""
    inverse = (-log_sigma2 / 2).exp()
    upper = torch.special.ndtr((x_0 - mean + HALF_LEVEL) * inverse)
    lower = torch.special.ndtr((x_0 - mean - HALF_LEVEL) * inverse)
    upper = torch.where(x_0 > 1 - HALF_LEVEL, 1.0, upper)
    lower = torch.where(x_0 < -1 + HALF_LEVEL, 0.0, lower)
    return (upper - lower).clamp(min=1e-12).log()
