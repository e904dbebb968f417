"""The negative log likelihood of 8-bit pictures, bounded in three parts, in nats per image.

Kingma et al. 2021, "Variational Diffusion Models" (VDM), Section 4; Nielsen et al. 2024, "DiffEnc",
Sections 3 and 4. Formulas are functions of log SNR lambda = log(alpha^2 / sigma^2), and work in
the precision of their arguments.
"""

import math

import torch
from torch import Tensor

from pdae_app.diffusion.process import expand

LEVELS = 256
# Beyond so many standard deviations a grey level's probability is below 1e-12.
NEGLIGIBLE = 7.5


def scaled(pixels: Tensor) -> Tensor:
    """Grey levels 0 .. 255 to X in (-1, 1): 2 (x + 1/2) / 256 - 1, like `pixels` but float32."""
    return 2 * (pixels.float() + 0.5) / LEVELS - 1


def check_pixels(pixels: Tensor) -> None:
    """Raise a ValueError unless all values are whole numbers from 0 to 255."""
    if pixels.dtype == torch.uint8 or pixels.is_meta:
        return
    values = pixels.detach()
    if not values.isfinite().all():
        raise ValueError("the pictures hold NaN or infinity")
    if (values < 0).any() or (values >= LEVELS).any() or (values != values.round()).any():
        raise ValueError(
            "the likelihood is one of 8-bit pictures: values must be whole numbers from 0 to 255, "
            f"got {float(values.min()):.4g} to {float(values.max()):.4g}"
        )


def decoded(z_0: Tensor, log_snr_0: float | Tensor) -> Tensor:
    """The most likely picture of z_0 (N, C, H, W): the nearest grey levels, uint8 (VDM, Eq. 8)."""
    x_0 = z_0 / torch.as_tensor(log_snr_0).sigmoid().sqrt().to(z_0)
    return nearest_level(x_0).to(torch.uint8)


def nearest_level(x: Tensor) -> Tensor:
    """The grey level nearest to values in (-1, 1), and a half between two goes down."""
    return torch.ceil((x + 1) / 2 * LEVELS - 1).clamp(0, LEVELS - 1)


def reconstruction_nats(pixels: Tensor, x_0: Tensor, eps_0: Tensor, log_snr_0: Tensor) -> Tensor:
    """-log p(x | z_0) for each image (N,) (VDM, Eq. 8).

    Each pixel is one of 256 grey levels v, in proportion to exp(-(x_0_hat - v)^2 SNR / 2), where
    x_0_hat = z_0 / alpha_0 = x_0 + eps_0 / sqrt(SNR).

    Args:
        pixels: (N, C, H, W), whole numbers 0 .. 255.
        x_0: the mean of z_0 / alpha_0, as the encoding has it, and `eps_0` the noise, like it.
        log_snr_0: () at t = 0.
    """
    precision = (log_snr_0 / 2).exp()
    x_0_hat = x_0 + eps_0 / precision

    def log_weight(level: Tensor) -> Tensor:
        return -((x_0_hat - scaled(level).to(x_0_hat)) * precision).square() / 2

    nearest = nearest_level(x_0_hat.detach())
    # Each level's weight is added to the running log of the sum; out of range they weigh nothing.
    total = log_weight(nearest)
    for offset in range(1, _reach(precision) + 1):
        for level in (nearest - offset, nearest + offset):
            outside = (level < 0) | (level >= LEVELS)
            total = total.logaddexp(log_weight(level).masked_fill(outside, -math.inf))
    return (total - log_weight(pixels.to(x_0_hat))).flatten(1).sum(1)


def _reach(precision: Tensor) -> int:
    """How many levels beside the nearest one are likely enough to count."""
    if precision.is_meta:
        return 1
    sigma_in_levels = LEVELS / 2 / float(precision.detach())
    return min(LEVELS - 1, math.ceil(NEGLIGIBLE * sigma_in_levels + 0.5))


def latent_nats(x_1: Tensor, log_snr_1: Tensor) -> Tensor:
    """KL(q(z_1 | X) || N(0, I)) for each image (N,) (VDM, Eq. 10).

    Args:
        x_1: (N, C, H, W), the mean as the encoding has it at t = 1.
        log_snr_1: () at t = 1.
    """
    variance = (-log_snr_1).sigmoid()
    divergence = (1 - variance) * x_1.square() + variance - variance.log() - 1
    return divergence.flatten(1).sum(1) / 2


def diffusion_nats(
    residual: Tensor, log_snr: Tensor, rate: Tensor, prediction: str = "v"
) -> Tensor:
    """The diffusion loss at one time an image (N,), an estimate of the integral over t.

    gamma' / 2 |eps - eps_hat|^2 (VDM, Eq. 15), or gamma' alpha^2 / 2 |v - v_hat|^2, to which
    DiffEnc adds what x_t moves (Eq. 18): see `v_residual`.

    Args:
        residual: (N, C, H, W), between target and prediction.
        log_snr: (N,); `rate` (N,) how fast it falls with t, gamma'.
    """
    weight = rate if prediction == "eps" else rate * log_snr.sigmoid()
    return weight / 2 * residual.square().flatten(1).sum(1)


def v_residual(v: Tensor, v_hat: Tensor, z_t: Tensor, drift: Tensor, log_snr: Tensor) -> Tensor:
    """V - v_hat + sigma (x_hat - drift), like v (DiffEnc, Eq. 18 and 19).

    drift = (dx_t / dlambda) / sigma^2. The generative model expects x_hat in its place (Eq. 17),
    where x_hat = alpha z_t - sigma v_hat.
    """
    alpha, sigma = expand(log_snr.sigmoid().sqrt(), v), expand((-log_snr).sigmoid().sqrt(), v)
    x_hat = alpha * z_t - sigma * v_hat
    return v - v_hat + sigma * (x_hat - drift)


def bits_per_dimension(nats: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Nats of images of this `shape` (C, H, W) in bits per pixel and channel."""
    return nats / (math.prod(shape) * math.log(2))


def low_discrepancy_times(count: int, u: Tensor) -> Tensor:
    """(u + i / N) mod 1 for i = 0 .. N - 1, of one uniform `u` (): (N,) (VDM, Appendix I.1)."""
    return (u + torch.arange(count, device=u.device) / count) % 1
