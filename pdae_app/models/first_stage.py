"""First stages: what stands between pictures and the states that a diffusion model knows.

For a model on pixels a state is the picture itself (`Pixels`). For a latent one (Rombach et al.,
CVPR 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", Section 3.1) it is a
smaller map of numbers, of about zero mean and unit variance: ours (`PatchAutoencoder`), or one
that others trained (`PublishedStage`). Besides `encode` and `decode` all have `preview`, a cheap
`decode`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdae_app.models.layers import zero_init
from pdae_app.models.published_stage import PublishedStage
from pdae_app.typed_config import check_sizes


class Pixels(nn.Module):
    """The identity: states are pictures (N, C, S, S) in [-1, 1].

    `factor` pixels a side go into one position of a state; `clamped` says whether what a solver
    makes of a state may be clamped to [-1, 1].
    """

    factor = 1
    clamped = True

    def __init__(self, channels: int = 3):
        super().__init__()
        self.picture_channels = self.state_channels = channels

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (N, C, S, S) -> states, the same."""
        return pictures

    def decode(self, states: Tensor) -> Tensor:
        """States (N, C, S, S) -> pictures, the same."""
        return states

    def preview(self, states: Tensor) -> Tensor:
        """States (N, C, S, S) -> pictures, the same."""
        return states


@dataclass(frozen=True)
class PatchAutoencoderConfig:
    """Architecture of a `PatchAutoencoder`; blocks are residual ones of `channels`.

    `patch_size` is a power of two; after the decoder's `decoder_blocks` every doubling has one
    block of half the width of the one before.
    """

    patch_size: int = 4
    state_channels: int = 4
    channels: int = 64
    encoder_blocks: int = 2
    decoder_blocks: int = 4
    in_channels: int = 3

    def __post_init__(self):
        check_sizes(self, patch_size=64, state_channels=64, channels=4096, in_channels=64)
        check_sizes(self, least=0, encoder_blocks=64, decoder_blocks=64)
        if self.patch_size < 2 or self.patch_size & (self.patch_size - 1):
            raise ValueError(f"patch_size must be a power of two from 2, got {self.patch_size}")


class PatchAutoencoder(nn.Module):
    """Patches of pixels to a few numbers each and back, by convolutions without normalisation.

    Whatever the size of the picture, a state's number depends on its neighbourhood alone, so the
    network can be trained on crops.
    """

    clamped = False

    def __init__(self, config: PatchAutoencoderConfig):
        super().__init__()
        self.config = config
        self.picture_channels, self.state_channels = config.in_channels, config.state_channels
        self.factor, width = config.patch_size, config.channels
        folded = config.in_channels * config.patch_size**2
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(config.patch_size),
            nn.Conv2d(folded, width, 3, padding=1),
            *(PlainResBlock(width) for _ in range(config.encoder_blocks)),
            nn.Conv2d(width, config.state_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(config.state_channels, width, 3, padding=1),
            *(PlainResBlock(width) for _ in range(config.decoder_blocks)),
            *_enlarging(width, config.patch_size, config.in_channels),
        )
        self.register_buffer("mean", torch.zeros(config.state_channels, 1, 1))
        self.register_buffer("std", torch.ones(config.state_channels, 1, 1))

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (N, C, S, S) in [-1, 1] -> states (N, C', S / p, S / p).

        Raises:
            ValueError: the pictures' side is no multiple of the patch size.
        """
        if pictures.shape[-1] % self.factor or pictures.shape[-2] % self.factor:
            raise ValueError(
                f"the first stage takes pictures whose sides are multiples of {self.factor}, "
                f"got {tuple(pictures.shape[-2:])}"
            )
        return (self.encoder(pictures) - self.mean) / self.std

    def decode(self, states: Tensor) -> Tensor:
        """States (N, C', H, W) -> pictures (N, C, p H, p W) in about [-1, 1]."""
        return self.decoder(states)

    def preview(self, states: Tensor) -> Tensor:
        """As `decode`, which is quick enough."""
        return self.decode(states)


FirstStage = Pixels | PatchAutoencoder | PublishedStage


class PlainResBlock(nn.Module):
    """X + conv(SiLU(conv(x))), the identity at first."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = zero_init(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(x)))


def _enlarging(width: int, factor: int, out_channels: int) -> list[nn.Module]:
    """Doublings with half the width each, the last one to pixels."""
    layers = []
    while factor > 2:
        layers += [nn.Conv2d(width, 2 * width, 3, padding=1), nn.PixelShuffle(2)]
        width, factor = width // 2, factor // 2
        layers += [PlainResBlock(width)]
    return [
        *layers,
        nn.SiLU(),
        nn.Conv2d(width, 4 * out_channels, 3, padding=1),
        nn.PixelShuffle(2),
    ]
