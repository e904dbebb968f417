"""The learned variance of the reverse process (Nichol & Dhariwal 2021, "Improved DDPM").

The network's output has a second half v of the channels: log Sigma = f log beta + (1 - f) log
beta~ with f = (v + 1) / 2 (Eq. 15), where beta~ is the posterior's variance, the least possible.
It is trained by the variational bound beside the simple loss.
"""

import math

import torch
from torch import Tensor

from pdae_app.diffusion.schedule import Schedule, expand

# Half the distance of two grey levels in [-1, 1].
HALF_LEVEL = 1 / 255


def posterior_log_variance(schedule: Schedule, t: Tensor) -> Tensor:
    """Log of beta~ = (1 - abar_{t-1}) / (1 - abar_t) beta_t: (N,) float64 (Ho et al. 2020, Eq. 7).

    At t = 0 it would be zero; as in the paper's code, that of t = 1 stands in.
    """
    t = t.clamp(min=min(1, schedule.timesteps - 1))
    alpha_bar, previous = schedule.alpha_bar(t), schedule.alpha_bar(t - 1)
    return ((1 - previous) / (1 - alpha_bar) * schedule.beta(t)).log()


def log_variance(v: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
    """Log Sigma of the network's raw output v (N, C, H, W) at t (N,) (Eq. 15)."""
    largest = expand(schedule.beta(t).log(), v)
    least = expand(posterior_log_variance(schedule, t), v)
    fraction = (v + 1) / 2
    return fraction * largest + (1 - fraction) * least


def posterior_mean(schedule: Schedule, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """The mean of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, Eq. 7)."""
    alpha_bar, previous, beta = schedule.alpha_bar(t), schedule.alpha_bar(t - 1), schedule.beta(t)
    of_x0 = previous.sqrt() * beta / (1 - alpha_bar)
    of_xt = (1 - beta).sqrt() * (1 - previous) / (1 - alpha_bar)
    return expand(of_x0, x_0) * x_0 + expand(of_xt, x_t) * x_t


def variational_bound(
    schedule: Schedule, x_0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor, v: Tensor
) -> Tensor:
    """L_t in bits per dimension, for each image (N,) (Eq. 4 to 7); the likelihood at t = 0."""
    alpha_bar = schedule.alpha_bar(t)
    x0_hat = (x_t - expand((1 - alpha_bar).sqrt(), x_t) * eps) / expand(alpha_bar.sqrt(), x_t)
    mean, log_sigma2 = posterior_mean(schedule, x0_hat, x_t, t), log_variance(v, schedule, t)
    true_mean = posterior_mean(schedule, x_0, x_t, t)
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
