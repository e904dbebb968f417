"""The mean x_t that variational diffusion noises: z_t = alpha_t x_t + sigma_t eps.

A VDM noises the picture X itself. DiffEnc (Nielsen et al., ICLR 2024, Section 4) noises a function
of it that changes with the noise level, fixed or learned. Each encoding gives x_t, and how x_t
moves with lambda = log SNR.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pdae_app.diffusion.process import expand

# y(X, log_snr): pictures (N, C, H, W), log SNR (N,) -> like the pictures.
Encoder = Callable[[Tensor, Tensor], Tensor]


class Encoding(Protocol):
    """Pictures X (N, C, H, W) and log SNR (N,) or () to x_t, in the precision of X.

    `counters`: the generative model expects x_t to move (DiffEnc, Eq. 17).
    """

    counters: bool

    def mean(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """x_t."""

    def mean_and_drift(self, x: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """x_t, and (dx_t / dlambda) / sigma^2, which is bounded at both ends."""


@dataclass(frozen=True)
class IdentityEncoding:
    """x_t = X (VDM)."""

    counters = False

    def mean(self, x: Tensor, log_snr: Tensor) -> Tensor:
        return x

    def mean_and_drift(self, x: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return x, torch.zeros_like(x)


@dataclass(frozen=True)
class FixedEncoding:
    """x_t = alpha^2 X: DiffEnc's encoder without weights; dx_t / dlambda = sigma^2 x_t."""

    counters = True

    def mean(self, x: Tensor, log_snr: Tensor) -> Tensor:
        return x - expand((-log_snr).sigmoid(), x) * x

    def mean_and_drift(self, x: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        x_t = self.mean(x, log_snr)
        return x_t, x_t


@dataclass(frozen=True)
class LearnedEncoding:
    """x_t = alpha^2 X + sigma^2 y(X, lambda): DiffEnc's learned encoder.

    dx_t / dlambda = sigma^2 (x_t - y + dy / dlambda), the derivative by a Jacobian-vector product:
    one pass gives y and dy / dlambda with one dropout mask.
    """

    y: Encoder
    counters = True

    def mean(self, x: Tensor, log_snr: Tensor) -> Tensor:
        return self._mean(x, self._y(x, log_snr), log_snr)

    def mean_and_drift(self, x: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        y, slope = self.y_and_slope(x, log_snr)
        x_t = self._mean(x, y, log_snr)
        return x_t, x_t - y + slope

    def y_and_slope(self, x: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """Y and dy / dlambda, each image at its own log SNR (N,)."""
        # The fused attention kernels have no forward derivative.
        with sdpa_kernel(SDPBackend.MATH):
            return torch.func.jvp(
                lambda level: self._y(x, level), (log_snr,), (torch.ones_like(log_snr),)
            )

    def _y(self, x: Tensor, log_snr: Tensor) -> Tensor:
        # The derivative of a network in half precision has hardly a right digit.
        with torch.autocast(x.device.type, enabled=False):
            return self.y(x, log_snr)

    def _mean(self, x: Tensor, y: Tensor, log_snr: Tensor) -> Tensor:
        # In this order, in which float32 rounds as the official code does.
        variance = expand((-log_snr).sigmoid(), x)
        return x + variance * y - variance * x
