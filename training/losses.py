"""The losses of the papers, as functions of networks, images, timesteps and noise."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.process import expand
from pdae_app.diffusion.variance import variational_bound
from pdae_app.diffusion.variational import VariationalDiffusion, noised_as_trained

# The bound's weight beside the simple loss (Nichol & Dhariwal 2021, Eq. 16).
BOUND_WEIGHT = 0.001


def weighted_mse(eps: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    """Mean over the batch and pixels of lambda_t || e - eps ||^2. weight (N,)."""
    return (expand(weight, eps) * (noise - eps).square()).mean()


def dpm_loss(
    unet: nn.Module,
    diffusion: Diffusion,
    x_0: Tensor,
    t: Tensor,
    noise: Tensor,
    weight: Tensor,
    classes: Tensor | None = None,
) -> Tensor:
    """The weighted simple loss (Ho et al. 2020, Eq. 14), with `classes` (N,) of p(x | y).

    Where the network has a variance to learn, L_simple + 0.001 L_vlb, the bound's gradient kept
    from the mean (Nichol & Dhariwal 2021, Eq. 16).
    """
    schedule = diffusion.schedule
    x_t = schedule.noised(x_0, noise, t)
    output = unet(x_t, t, y=classes)
    eps, v = diffusion.eps(output, x_t, t), output[:, x_0.shape[1] :]
    loss = weighted_mse(eps, noise, weight)
    if v.shape[1]:
        bound = variational_bound(schedule, x_0, x_t, t, eps=eps.detach(), v=v)
        loss = loss + BOUND_WEIGHT * schedule.timesteps * bound.mean()
    return loss


def pdae_loss(
    model: nn.Module,
    diffusion: Diffusion,
    x_0: Tensor,
    t: Tensor,
    noise: Tensor,
    weight: Tensor,
    posterior: bool = True,
    z: Tensor | None = None,
    variational: VariationalDiffusion | None = None,
) -> Tensor:
    """PDAE Alg. 1: lambda_t || e - eps + sqrt(alpha_t) (1 - abar_{t-1}) / sqrt(1 - abar_t) G ||^2.

    `posterior=False` takes sqrt(1 - abar_t), the factor that DDIM uses at sampling (Alg. 3), so
    that G is also trained below t of about 50, where the two part. The code is made of x_0, unless
    it is given: of a picture where x_0 is a latent state, or of a class (Section 4.6).

    `variational` is what the frozen model is the score network of, if it is one: then the picture
    that its encoding makes of x_0 is noised, as it was when that network was trained.
    """
    with torch.no_grad():
        x_t = noised_as_trained(diffusion.schedule, x_0, noise, t, variational)
    z = model.encoder(x_0) if z is None else z
    output, shift = model(x_t, t, z)
    eps = diffusion.eps(output, x_t, t).detach()
    return weighted_mse(diffusion.shifted_eps(eps, shift, t, posterior=posterior), noise, weight)


def laplacian(x: Tensor) -> Tensor:
    """What a pixel of (N, C, S, S) differs from the mean of its 3 x 3 neighbourhood."""
    return x - F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
