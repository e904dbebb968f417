"""The semantic encoder z = E(x_0) of PDAE (Appendix): strided convolutions, attention, linear."""

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from pdae_app.models.layers import SelfAttention, check_images, group_norm
from pdae_app.typed_config import check_sizes


@dataclass(frozen=True)
class EncoderConfig:
    """Architecture of the semantic encoder.

    Every entry of `channels` is one stride-2 convolution, so the depth follows from the image
    size; leave it None for the paper's widths (`paper_channels`).
    """

    image_size: int
    z_dim: int = 512
    channels: tuple[int, ...] | None = None
    in_channels: int = 3
    attention_resolution: int = 16
    heads: int = 4

    def __post_init__(self):
        check_sizes(self, image_size=1024, z_dim=8192, channels=4096, in_channels=64, heads=64)
        if self.channels is None:
            object.__setattr__(self, "channels", paper_channels(self.image_size))
        if self.image_size % 2 ** len(self.channels):
            raise ValueError(
                f"image_size {self.image_size} cannot be halved {len(self.channels)} times, "
                f"as the {len(self.channels)} encoder channels {self.channels} ask"
            )

    @property
    def final_size(self) -> int:
        """Side length of the last feature map, which is flattened into the linear layer."""
        return self.image_size // 2 ** len(self.channels)


def paper_channels(image_size: int) -> tuple[int, ...]:
    """The paper's widths: halve the image down to 4x4, at most 128 (64 px) or 256 channels."""
    depth = image_size.bit_length() - 3
    if image_size < 16 or image_size != 4 * 2**depth:
        raise ValueError(f"image_size must be a power of two from 16, got {image_size}")
    widest = 128 if image_size <= 64 else 256
    return tuple(min(64 * 2**i, widest) for i in range(depth))


class SemanticEncoder(nn.Module):
    """Images in [-1, 1] to codes z."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        widths = (config.in_channels, *config.channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(group_norm(c) for c in config.channels)
        sizes = [config.image_size // 2 ** (i + 1) for i in range(len(config.channels))]
        attended = config.attention_resolution
        self.attention_at = sizes.index(attended) if attended in sizes else None
        if self.attention_at is not None:
            self.attention = SelfAttention(config.channels[self.attention_at], config.heads)
        self.linear = nn.Linear(config.channels[-1] * config.final_size**2, config.z_dim)

    def forward(self, x: Tensor) -> Tensor:
        """X (N, C, S, S) in [-1, 1] -> z (N, z_dim).

        Raises:
            ValueError: if the images are not of the configured size.
        """
        check_images(x, self.config.in_channels, self.config.image_size)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = conv(x)
            if i == self.attention_at:
                x = self.attention(x)
            x = F.silu(norm(x))
        return self.linear(x.flatten(1))


@dataclass(frozen=True)
class ClassEncoderConfig:
    """A code for every class, in place of an encoder of images (PDAE, Section 4.6)."""

    classes: int
    z_dim: int = 512

    def __post_init__(self):
        check_sizes(self, classes=100_000, z_dim=8192)


class ClassEncoder(nn.Module):
    """Class numbers to codes z."""

    def __init__(self, config: ClassEncoderConfig):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.classes, config.z_dim)

    def forward(self, y: Tensor) -> Tensor:
        """Classes y (N,) -> z (N, z_dim)."""
        return self.embed(y)
