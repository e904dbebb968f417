"""The losses of the papers, as functions of networks, images, timesteps and noise."""

from torch import Tensor, nn

from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.schedule import expand


def weighted_mse(eps: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    """Mean over the batch and pixels of lambda_t || e - eps ||^2. weight (N,)."""
    return (expand(weight, eps) * (noise - eps).square()).mean()


def dpm_loss(
    unet: nn.Module, diffusion: Diffusion, x_0: Tensor, t: Tensor, noise: Tensor, weight: Tensor
) -> Tensor:
    """The weighted simple loss of an unconditional model (Ho et al. 2020, Eq. 14)."""
    x_t = diffusion.schedule.add_noise(x_0, noise, t)
    return weighted_mse(diffusion.eps(unet(x_t, t), x_t, t), noise, weight)


def pdae_loss(
    model: nn.Module,
    diffusion: Diffusion,
    x_0: Tensor,
    t: Tensor,
    noise: Tensor,
    weight: Tensor,
    posterior: bool = True,
) -> Tensor:
    """PDAE Alg. 1: lambda_t || e - eps + sqrt(alpha_t) (1 - abar_{t-1}) / sqrt(1 - abar_t) G ||^2.

    `posterior=False` takes sqrt(1 - abar_t), the factor that DDIM uses at sampling (Alg. 3), so
    that G is also trained below t of about 50, where the two part.
    """
    x_t = diffusion.schedule.add_noise(x_0, noise, t)
    output, shift = model(x_t, t, model.encoder(x_0))
    eps = diffusion.eps(output, x_t, t).detach()
    return weighted_mse(diffusion.shifted_eps(eps, shift, t, posterior=posterior), noise, weight)
