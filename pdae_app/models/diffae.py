"""Diffusion Autoencoders (Preechakul et al., CVPR 2022): U-Net and encoder trained together.

The U-Net eps(x_t, t, z) is conditioned on the code in every residual block (Eq. 7); the encoder is
half a U-Net without time, pooled to a vector.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from pdae_app.models.layers import (
    CodeInput,
    SelfAttention,
    check_images,
    check_same_size,
    group_norm,
    resampled,
    skip_connection,
)
from pdae_app.models.unet import UNet, UNetConfig
from pdae_app.typed_config import check_sizes


@dataclass(frozen=True)
class PooledEncoderConfig:
    """Architecture of Diff-AE's encoder; `attention_resolutions` are side lengths."""

    image_size: int
    base_channels: int
    multipliers: tuple[int, ...]
    z_dim: int = 512
    in_channels: int = 3
    res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (16,)
    heads: int = 1

    def __post_init__(self):
        check_sizes(self, image_size=1024, base_channels=1024, multipliers=64, res_blocks=16)
        check_sizes(self, z_dim=8192, in_channels=64, attention_resolutions=1024, heads=64)
        if not self.multipliers:
            raise ValueError("an encoder needs at least one level in multipliers")
        coarsest = 2 ** (len(self.multipliers) - 1)
        if self.image_size % coarsest:
            raise ValueError(f"image_size {self.image_size} must be a multiple of {coarsest}")


class PlainBlock(nn.Module):
    """X + conv(SiLU(GroupNorm(x))), optionally halving, then optionally attention."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        resample: str | None = None,
        attention: SelfAttention | None = None,
    ):
        super().__init__()
        self.resample = resample
        self.norm = group_norm(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.skip = skip_connection(in_channels, out_channels)
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        h = self.conv(resampled(F.silu(self.norm(x)), self.resample))
        h = self.skip(resampled(x, self.resample)) + h
        return h if self.attention is None else self.attention(h)


class PooledEncoder(nn.Module):
    """Images in [-1, 1] to codes z (Diff-AE, Appendix, Table 5)."""

    def __init__(self, config: PooledEncoderConfig):
        super().__init__()
        self.config = config
        self.conv_in = nn.Conv2d(config.in_channels, config.base_channels, 3, padding=1)
        self.blocks = nn.ModuleList(self._blocks(config))
        width = config.base_channels * config.multipliers[-1]
        self.middle_in = PlainBlock(width, width, attention=SelfAttention(width, config.heads))
        self.middle_out = PlainBlock(width, width)
        self.norm_out = group_norm(width)
        self.conv_out = nn.Conv2d(width, config.z_dim, 1)

    @staticmethod
    def _blocks(config: PooledEncoderConfig) -> list[PlainBlock]:
        blocks, channels = [], config.base_channels
        for level, multiplier in enumerate(config.multipliers):
            width = config.base_channels * multiplier
            attended = config.image_size // 2**level in config.attention_resolutions
            for _ in range(config.res_blocks):
                attention = SelfAttention(width, config.heads) if attended else None
                blocks.append(PlainBlock(channels, width, attention=attention))
                channels = width
            if level < len(config.multipliers) - 1:
                blocks.append(PlainBlock(width, width, resample="down"))
        return blocks

    def forward(self, x: Tensor) -> Tensor:
        """X (N, C, S, S) in [-1, 1] -> z (N, z_dim).

        Raises:
            ValueError: if the images are not of the configured size.
        """
        check_images(x, self.config.in_channels, self.config.image_size)
        h = self.conv_in(x)
        for block in self.blocks:
            h = block(h)
        h = F.silu(self.norm_out(self.middle_out(self.middle_in(h))))
        return self.conv_out(h.mean(dim=(2, 3), keepdim=True)).flatten(1)


@dataclass(frozen=True)
class DiffAEConfig:
    """Architecture of both networks."""

    unet: UNetConfig
    encoder: PooledEncoderConfig

    def __post_init__(self):
        check_same_size(self.unet.image_size, self.encoder.image_size)


class DiffAE(nn.Module):
    """Encoder and conditional U-Net."""

    def __init__(self, config: DiffAEConfig):
        super().__init__()
        self.config = config
        # The code scales only, and reaches each block as it is.
        code = CodeInput(config.encoder.z_dim, embed=False, shift=False)
        self.unet = UNet(config.unet, code)
        self.encoder = PooledEncoder(config.encoder)

    def forward(self, x: Tensor, t: Tensor, z: Tensor) -> Tensor:
        """X (N, C, S, S), t (N,), z (N, D) -> the U-Net's prediction (N, C, S, S)."""
        return self.unet(x, t, z)
