"""The building blocks of the U-Net: time embedding, AdaGN residual block, self-attention.

Shapes are (N, C, H, W) throughout. The layout follows ADM (Dhariwal & Nichol 2021, "Diffusion
Models Beat GANs on Image Synthesis", Section 3): up- and down-sampling happen inside residual
blocks, and the time embedding scales and shifts the second GroupNorm (AdaGN).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with 32 groups, or the largest divisor of `channels` below that."""
    return nn.GroupNorm(math.gcd(32, channels), channels)


def zero_init(module: nn.Module) -> nn.Module:
    """Set all parameters of `module` to zero, so that its residual branch starts as identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def timestep_embedding(t: Tensor, dim: int, max_period: float = 10000.0) -> Tensor:
    """Sinusoidal embedding of timesteps `t` (N,): (N, dim), cosines first. `dim` is even."""
    half = dim // 2
    index = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * torch.exp(-math.log(max_period) * index / half)[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class ResBlock(nn.Module):
    """Residual block with adaptive group normalisation, optionally up- or down-sampling by two.

    With `z_emb_dim`, the code modulates the same normalised features a second time
    (PDAE Eq. 9): AdaGN(h, t, z) = z_s (t_s GroupNorm(h) + t_b) + z_b, both scales written as 1 + s.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        emb_dim: int,
        dropout: float = 0.0,
        resample: str | None = None,
        z_emb_dim: int | None = None,
    ):
        super().__init__()
        self.resample = resample
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.emb_proj = nn.Linear(emb_dim, 2 * out_channels)
        self.z_proj = nn.Linear(z_emb_dim, 2 * out_channels) if z_emb_dim else None
        self.norm2 = group_norm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor, z_emb: Tensor | None = None) -> Tensor:
        """X (N, C_in, H, W), emb (N, E), z_emb (N, E_z) or None -> (N, C_out, H', W')."""
        h = self.conv1(self._resampled(F.silu(self.norm1(x))))
        h = _modulate(self.norm2(h), self.emb_proj(F.silu(emb)))
        if self.z_proj is not None:
            h = _modulate(h, self.z_proj(F.silu(z_emb)))
        h = self.conv2(self.dropout(F.silu(h)))
        return self.skip(self._resampled(x)) + h

    def _resampled(self, x: Tensor) -> Tensor:
        if self.resample == "down":
            return F.avg_pool2d(x, 2)
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return x


def _modulate(h: Tensor, scale_shift: Tensor) -> Tensor:
    scale, shift = scale_shift[:, :, None, None].chunk(2, dim=1)
    return torch.addcmul(shift, h, 1 + scale)


class SelfAttention(nn.Module):
    """Residual multi-head self-attention over the pixels of a feature map.

    The rows of `qkv` are ordered head by head, each head's q, k, v together (guided-diffusion's
    "legacy" order), because that is how the published weights are stored.
    """

    def __init__(self, channels: int, heads: int = 1):
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels cannot be split into {heads} attention heads")
        self.heads = heads
        self.norm = group_norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = zero_init(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        n, c, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (N, HW, C)
        qkv = self.qkv(tokens).view(n, height * width, self.heads, 3, c // self.heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)  # each (N, heads, HW, C / heads)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, -1, c)
        h = self.proj(h).transpose(1, 2).reshape(n, c, height, width)
        return x + h
