"""The posterior q(x_s | x_t, x_0) of a process, in one place (Ho et al. 2020, Eq. 6 and 7).

For any two times s < t (Kingma et al. 2021, "Variational Diffusion Models", Appendix A), with
c = 1 - SNR(t) / SNR(s): mean alpha_s c x_0 + (alpha_t / alpha_s) (sigma_s^2 / sigma_t^2) x_t, and
variance sigma_s^2 c. For neighbouring timesteps these are Ho et al.'s beta-tilde and mu-tilde.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from pdae_app.diffusion.process import Process, Time, expand


@dataclass(frozen=True)
class Posterior:
    """Mean from_x0 x_0 + from_xt x_t, and variance; numbers, or float64 tensors (N,)."""

    from_x0: float | Tensor
    from_xt: float | Tensor
    variance: float | Tensor

    def mean(self, x_0: Tensor, x_t: Tensor) -> Tensor:
        """The mean (N, ...) for x_0 and x_t (N, ...)."""
        return expand(self.from_x0, x_0) * x_0 + expand(self.from_xt, x_t) * x_t


def posterior(process: Process, t: Time | Tensor, s: Time | Tensor) -> Posterior:
    """Of x_s, from x_t with more noise. t, s numbers or (N,)."""
    alpha_t, alpha_s = process.alpha(t), process.alpha(s)
    sigma2_t, sigma2_s = process.sigma(t) ** 2, process.sigma(s) ** 2
    fall = process.log_snr(t) - process.log_snr(s)
    c = -fall.expm1() if isinstance(fall, Tensor) else -math.expm1(fall)
    return Posterior(alpha_s * c, alpha_t / alpha_s * sigma2_s / sigma2_t, sigma2_s * c)


def posterior_shift(process: Process, t: Tensor) -> Tensor:
    """sqrt(alpha_t) (1 - abar_{t-1}) / sqrt(1 - abar_t), G's factor in eps (PDAE, Alg. 1): (N,).

    With it the posterior's mean moves by its variance times G. Where steps may be ever finer it is
    sigma, the factor of Alg. 3.
    """
    s = process.previous(t)
    return process.alpha(t) / process.alpha(s) * process.sigma(s) ** 2 / process.sigma(t)


def step_posterior(process: Process, t: Time) -> Posterior:
    """From x_t to the time before; where steps may be ever finer, a thousandth of all time back."""
    s = process.previous(t)
    if s == t:
        s = max(process.least, t - (process.most - process.least) / 1000)
    return posterior(process, t, s)
