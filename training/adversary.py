"""A discriminator and its losses: pictures that look real, beside pictures that are right."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


class Discriminator(nn.Module):
    """Pictures (N, C, S, S) to a map of logits, one a patch (Isola et al., CVPR 2017, 3.2.2).

    Three halvings, so that a logit sees 54 pixels a side; groups are normalised, not batches.
    """

    def __init__(self, in_channels: int = 3, channels: int = 32):
        super().__init__()
        wide = (channels, 2 * channels, 4 * channels)
        layers: list[nn.Module] = []
        for before, after in zip((in_channels, *wide), wide, strict=False):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1)]
            layers += [nn.GroupNorm(8, after)] if before != in_channels else []
            layers += [nn.LeakyReLU(0.2)]
        last = wide[-1]
        layers += [nn.Conv2d(last, last, 3, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(last, 1, 3, padding=1))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.layers(pictures)


def adversarial_loss(discriminator: nn.Module, real: Tensor, made: Tensor, weight: float) -> Tensor:
    """The hinge losses of both sides (Lim & Ye 2017, "Geometric GAN", Eq. 8) as one number.

    What made the pictures gets gradients of the second term only, times `weight`, and the
    discriminator of the first only; so one optimiser serves both.
    """
    told = F.relu(1 - discriminator(real)).mean() + F.relu(1 + discriminator(made.detach())).mean()
    fixed = {name: p.detach() for name, p in discriminator.named_parameters()}
    return told - weight * functional_call(discriminator, fixed, (made,)).mean()
