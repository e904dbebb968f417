"""DiffEnc's encoder of means y(X, lambda) (Nielsen et al., ICLR 2024, Section 4 and Appendix).

A small U-Net that sees the clean picture and the noise level. It is used in training alone.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdae_app.models.dual_conv import DualConv2d, DualConvTranspose2d
from pdae_app.models.layers import (
    Norm,
    ResBlock,
    SelfAttention,
    check_images,
    group_norm,
    timestep_embedding,
    zero_init,
)
from pdae_app.models.unet import Block
from pdae_app.typed_config import check_sizes, short

NORM_EPS = 1e-6
MOST_LAYERS = 64


@dataclass(frozen=True)
class MeanEncoderConfig:
    """Architecture of the encoder of means.

    It has `levels` resolutions of `blocks` residual blocks; each is twice as wide as the one
    before, and a max-pooling by two follows each. The groups are those of the normalisations in
    residual blocks, in the two middle blocks, and before the output.
    """

    image_size: int
    in_channels: int = 3
    base_channels: int = 64
    levels: int = 2
    blocks: int = 1
    dropout: float = 0.1
    groups: int = 32
    middle_groups: int = 16
    out_groups: int = 16

    def __post_init__(self):
        check_sizes(self, image_size=1024, in_channels=64, base_channels=1024, levels=8)
        check_sizes(self, blocks=MOST_LAYERS, groups=256, middle_groups=256, out_groups=256)
        if self.image_size % 2**self.levels:
            raise ValueError(
                f"image_size {self.image_size} cannot be halved {self.levels} times; "
                "take fewer levels"
            )

    @property
    def widths(self) -> list[int]:
        """Channels at each resolution, finest first."""
        return [self.base_channels * 2**level for level in range(self.levels)]


def one_block_a_level(image_size: int, layers: int, **options) -> MeanEncoderConfig:
    """The paper's first encoder, of as many levels as `layers` (DiffEnc-n-2)."""
    return MeanEncoderConfig(image_size, levels=layers, blocks=1, **options)


def multi_resolution(image_size: int, layers: int, **options) -> MeanEncoderConfig:
    """The paper's multi-resolution encoder: `layers` blocks on the way down (DiffEnc-n-4, -8).

    The picture is halved until its side is odd or at most 8.

    Raises:
        ValueError: the layers cannot be shared out evenly among the levels.
    """
    if not 1 <= layers <= MOST_LAYERS:
        raise ValueError(f"layers must be between 1 and {MOST_LAYERS}, got {short(layers)}")
    sides = [image_size / 2 ** (i + 1) for i in range(layers)]
    levels = next((i + 1 for i, side in enumerate(sides) if side % 2 == 1 or side <= 8), layers)
    if layers % levels:
        raise ValueError(
            f"{layers} encoder layers cannot be shared by {levels} levels; take a multiple"
        )
    options = {"middle_groups": 32} | options
    return MeanEncoderConfig(image_size, levels=levels, blocks=layers // levels, **options)


class MeanEncoder(nn.Module):
    """Pictures X and noise levels to y in (-1, 1); zero at the start."""

    def __init__(self, config: MeanEncoderConfig):
        super().__init__()
        self.config = config
        base, emb, widths = config.base_channels, 4 * config.base_channels, config.widths
        self.time_embed = nn.Sequential(nn.Linear(base, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.conv_in = DualConv2d(config.in_channels, base, 3, padding=1)
        norm, middle = _norm(config.groups), _norm(config.middle_groups)
        before = [base, *widths[:-1]]
        self.down = nn.ModuleList(
            _level(config, a, b, norm) for a, b in zip(before, widths, strict=True)
        )
        deepest = widths[-1]
        attention = SelfAttention(deepest, norm=norm)
        self.middle_in = Block(_res_block(config, deepest, deepest, middle), attention)
        self.middle_out = _res_block(config, deepest, deepest, middle)
        after = [deepest, *widths[:0:-1]]
        self.up = nn.ModuleList(
            Up(config, a, b, norm) for a, b in zip(after, widths[::-1], strict=True)
        )
        self.norm_out = _norm(config.out_groups)(base)
        self.conv_out = zero_init(DualConv2d(base, config.in_channels, 3, padding=1))

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """X (N, C, S, S) in [-1, 1], tau (N,), 0 for the least noise, 1 for the most -> y like X.

        Raises:
            ValueError: if the pictures are not of the configured size.
        """
        check_images(x, self.config.in_channels, self.config.image_size)
        times = timestep_embedding(1000 * tau, self.config.base_channels, 1)
        emb = self.time_embed(times.to(x.dtype))
        h, skips = self.conv_in(x), []
        for level in self.down:
            for block in level:
                h = block(h, emb)
            skips.append(h)
            h = F.max_pool2d(h, 2)
        h = self.middle_out(self.middle_in(h, emb), emb)
        for level in self.up:
            h = level(h, skips.pop(), emb)
        return self.conv_out(F.silu(self.norm_out(h))).tanh()


class Up(nn.Module):
    """Doubling by a transposed convolution, then the skip features, then residual blocks."""

    def __init__(self, config: MeanEncoderConfig, channels: int, width: int, norm: Norm):
        super().__init__()
        self.conv = DualConvTranspose2d(channels, width, 2, stride=2)
        self.blocks = _level(config, 2 * width, width, norm)

    def forward(self, h: Tensor, skip: Tensor, emb: Tensor) -> Tensor:
        h = torch.cat([self.conv(h), skip], dim=1)
        for block in self.blocks:
            h = block(h, emb)
        return h


def _norm(groups: int) -> Norm:
    return partial(group_norm, groups=groups, eps=NORM_EPS)


def _level(config: MeanEncoderConfig, channels: int, width: int, norm: Norm) -> nn.ModuleList:
    """Residual blocks of one resolution; the first changes the width."""
    before = [channels] + [width] * (config.blocks - 1)
    return nn.ModuleList(_res_block(config, a, width, norm) for a in before)


def _res_block(config: MeanEncoderConfig, channels: int, width: int, norm: Norm) -> ResBlock:
    emb = 4 * config.base_channels
    options = {"time_scale": False, "norm": norm, "emb_bias": False, "conv": DualConv2d}
    return ResBlock(channels, width, emb, config.dropout, **options)
