"""A discriminator and its losses: pictures that look real, beside pictures that are right."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(nn.Module):
    """Pictures (N, C, S, S) to a map of logits, one a patch (Isola et al., CVPR 2017, 3.2.2).

    Three halvings, so that a logit sees 54 pixels a side. Spectral norms (Miyato et al., ICLR 2018,
    Eq. 8) bound how steep it is, so that its weight in a loss means the same throughout.
    """

    def __init__(self, in_channels: int = 3, channels: int = 32):
        super().__init__()
        widths = (in_channels, channels, 2 * channels, 4 * channels)
        halvings = [nn.Conv2d(*pair, 4, stride=2, padding=1) for pair in pairwise(widths)]
        flat = [nn.Conv2d(widths[-1], width, 3, padding=1) for width in (widths[-1], 1)]
        layers = [spectral_norm(layer) for layer in (*halvings, *flat)]
        between = [part for layer in layers[:-1] for part in (layer, nn.LeakyReLU(0.2))]
        self.layers = nn.Sequential(*between, layers[-1])

    def forward(self, pictures: Tensor) -> Tensor:
        return self.layers(pictures)


def adversarial_loss(discriminator: nn.Module, real: Tensor, made: Tensor, weight: float) -> Tensor:
    """The hinge losses of both sides (Miyato et al., ICLR 2018, Eq. 16 and 17) as one number.

    The discriminator learns from its own loss alone; what made the pictures from - weight D(made),
    through fixed weights. So one optimiser serves both, whose clipping takes them together.
    """
    own = F.relu(1 - discriminator(real)).mean() + F.relu(1 + discriminator(made.detach())).mean()
    fixed = {name: p.detach() for name, p in discriminator.named_parameters()}
    return own - weight * functional_call(discriminator, fixed, (made,)).mean()
