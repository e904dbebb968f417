"""Variational diffusion of finite depth, its encoding and its generative variance free.

Nielsen et al., "DiffEnc" (ICLR 2024), Section 3 and Appendices; Kingma et al. 2021, "VDM",
Appendix A. A step goes from z_t to z_s, s < t. Tensors (N, ...) are of float64 where small
differences are to be kept.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pdae_app.diffusion.process import expand


@dataclass(frozen=True)
class Step:
    """One step from log SNR `log_snr_t` to `log_snr_s`, which is greater; each () or (N,)."""

    log_snr_t: Tensor
    log_snr_s: Tensor

    @property
    def removed(self) -> Tensor:
        """E = 1 - SNR(t) / SNR(s): the part of the noise at t that is not in z_s."""
        return -torch.expm1(self.log_snr_t - self.log_snr_s)

    @property
    def variance(self) -> Tensor:
        """sigma_Q^2 = sigma_s^2 (1 - SNR(t) / SNR(s)), of q(z_s | z_t, X) (Eq. 12)."""
        return (-self.log_snr_s).sigmoid() * self.removed

    def posterior_mean(self, z_t: Tensor, x_t: Tensor, x_s: Tensor) -> Tensor:
        """The mean of q(z_s | z_t, X), of encoded pictures x_t and x_s (Eq. 13)."""
        alpha_s = expand(self.log_snr_s.sigmoid().sqrt(), z_t)
        return self._from(z_t, x_t) + alpha_s * (x_s - x_t)

    def generative_mean(self, z_t: Tensor, x_hat: Tensor, counters: bool) -> Tensor:
        """The mean of p(z_s | z_t) (Eq. 6), with the counter-term of an encoder (Eq. 17)."""
        mean = self._from(z_t, x_hat)
        if not counters:
            return mean
        alpha_s, sigma_t2 = self.log_snr_s.sigmoid().sqrt(), (-self.log_snr_t).sigmoid()
        return mean + expand(alpha_s * (self.log_snr_s - self.log_snr_t) * sigma_t2, z_t) * x_hat

    def _from(self, z_t: Tensor, x: Tensor) -> Tensor:
        """alpha_{t|s} sigma_s^2 / sigma_t^2 z_t + alpha_s (1 - SNR(t) / SNR(s)) x."""
        alpha_s, alpha_t = self.log_snr_s.sigmoid().sqrt(), self.log_snr_t.sigmoid().sqrt()
        kept = alpha_s / alpha_t * (self.log_snr_t - self.log_snr_s).exp()
        return expand(kept, z_t) * z_t + expand(alpha_s * self.removed, z_t) * x


def step_nats(error: Tensor, dimensions: int, ratio: float | Tensor = 1.0) -> Tensor:
    """KL(q(z_s | z_t, X) || p(z_s | z_t)) for each image (N,), in nats (Eq. 9).

    Args:
        error: (N,), |mu_P - mu_Q|^2 / sigma_Q^2.
        dimensions: of an image.
        ratio: w = sigma_Q^2 / sigma_P^2; 1 where the generative variance is the posterior's.
    """
    ratio = torch.as_tensor(ratio, dtype=error.dtype)
    return (dimensions * (ratio - 1 - ratio.log()) + ratio * error) / 2


def best_ratio(error: Tensor, dimensions: int) -> Tensor:
    """The w = sigma_Q^2 / sigma_P^2 of the least expected KL: 1 / (1 + E error / D): ().

    The optimal variance is the posterior's and the mean squared error of the mean, per dimension
    (Section 3); `error` (N,) as in `step_nats`, over data and noise.
    """
    return 1 / (1 + error.mean() / dimensions)


def step_error(mean: Tensor, posterior_mean: Tensor, variance: Tensor) -> Tensor:
    """|mu_P - mu_Q|^2 / sigma_Q^2 for each image (N,)."""
    squared = (mean - posterior_mean).square().flatten(1).sum(1)
    return squared / variance
