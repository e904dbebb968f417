"""The building blocks of the U-Net: time embedding, AdaGN residual block, self-attention.

Shapes are (N, C, H, W) throughout. The layout follows ADM (Dhariwal & Nichol 2021, "Diffusion
Models Beat GANs on Image Synthesis", Section 3): up- and down-sampling happen inside residual
blocks, and the time embedding scales and shifts the second GroupNorm (AdaGN). The variants that
older models need (DDPM, Ho et al. 2020) are arguments.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Callable[[int], nn.GroupNorm]


def check_images(x: Tensor, channels: int, size: int) -> None:
    """Raise a ValueError unless x is (N, channels, size, size)."""
    if tuple(x.shape[1:]) != (channels, size, size):
        raise ValueError(
            f"the encoder takes {channels} x {size} x {size} images, got {tuple(x.shape[1:])}; "
            "resize them first"
        )


def check_same_size(unet: int, encoder: int) -> None:
    """Raise a ValueError unless both networks work at one image size."""
    if unet != encoder:
        raise ValueError(
            f"the U-Net works at {unet} px, the encoder at {encoder} px; they must agree"
        )


class GroupNorm(nn.GroupNorm):
    """GroupNorm in the precision of its weights: float32 between layers of half precision.

    Sums over many half-precision numbers lose digits, and on CPUs they are slow as well.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


def group_norm(channels: int, groups: int = 32, eps: float = 1e-5) -> nn.GroupNorm:
    """GroupNorm with `groups` groups, or the largest common divisor with `channels` below that."""
    return GroupNorm(math.gcd(groups, channels), channels, eps=eps)


def zero_init(module: nn.Module) -> nn.Module:
    """Set all parameters of `module` to zero, so that its residual branch starts as identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def fourier_features(x: Tensor, exponents: tuple[int, ...]) -> Tensor:
    """X and sin, cos(2 pi 2^k x) for each k (Kingma et al. 2021, "VDM", Appendix C).

    X (N, C, H, W) -> (N, C (1 + 2 K), H, W): x, the sines, the cosines; in each, all k of a channel
    stand together.
    """
    frequencies = torch.tensor([2 * math.pi * 2.0**k for k in exponents], device=x.device)
    angles = (x[:, :, None] * frequencies.to(x.dtype)[:, None, None]).flatten(1, 2)
    return torch.cat([x, angles.sin(), angles.cos()], dim=1)


def timestep_embedding(t: Tensor, dim: int, frequency_shift: int = 0) -> Tensor:
    """Sinusoidal embedding of timesteps `t` (N,): (N, dim), cosines first. `dim` is even.

    Wavelengths rise from 2 pi to 10000 * 2 pi, the end excluded; with `frequency_shift` 1 included,
    as in the first DDPM code.
    """
    half = dim // 2
    index = torch.arange(half, dtype=torch.float32, device=t.device)
    frequencies = torch.exp(-math.log(10000.0) * index / (half - frequency_shift))
    t = t if t.is_floating_point() else t.float()
    angles = t[:, None] * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


@dataclass(frozen=True)
class CodeInput:
    """How a code z (N, dim) enters residual blocks.

    `embed`: through one linear layer to the width of the time embedding, shared by all blocks.
    `shift`: it scales and shifts (PDAE Eq. 9), or only scales (Diff-AE Eq. 7).
    """

    dim: int
    embed: bool = True
    shift: bool = True


class ResBlock(nn.Module):
    """Residual block with adaptive group normalisation, optionally up- or down-sampling by two.

    With `z_emb_dim`, the code modulates the same normalised features a second time
    (PDAE Eq. 9): AdaGN(h, t, z) = z_s (t_s GroupNorm(h) + t_b) + z_b, both scales written as 1 + s;
    without `z_shift`, z_b is left out (Diff-AE Eq. 7). Without `time_scale`, the time embedding is
    added before the normalisation (DDPM), by a layer without bias if `emb_bias` is false (VDM).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        emb_dim: int,
        dropout: float = 0.0,
        resample: str | None = None,
        z_emb_dim: int | None = None,
        z_shift: bool = True,
        time_scale: bool = True,
        norm: Norm = group_norm,
        emb_bias: bool = True,
        conv: type[nn.Conv2d] = nn.Conv2d,
    ):
        super().__init__()
        self.resample, self.time_scale = resample, time_scale
        self.norm1 = norm(in_channels)
        self.conv1 = conv(in_channels, out_channels, 3, padding=1)
        self.emb_proj = nn.Linear(emb_dim, (1 + time_scale) * out_channels, bias=emb_bias)
        self.z_proj = nn.Linear(z_emb_dim, (1 + z_shift) * out_channels) if z_emb_dim else None
        self.norm2 = norm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zero_init(conv(out_channels, out_channels, 3, padding=1))
        self.skip = skip_connection(in_channels, out_channels, conv)

    def forward(self, x: Tensor, emb: Tensor, z_emb: Tensor | None = None) -> Tensor:
        """X (N, C_in, H, W), emb (N, E), z_emb (N, E_z) or None -> (N, C_out, H', W')."""
        h = self.conv1(resampled(F.silu(self.norm1(x)), self.resample))
        emb = self.emb_proj(F.silu(emb))
        if self.time_scale:
            h = _modulate(self.norm2(h), emb)
        else:
            h = self.norm2(h + emb[:, :, None, None])
        if self.z_proj is not None:
            h = _modulate(h, self.z_proj(F.silu(z_emb)))
        h = self.conv2(self.dropout(F.silu(h)))
        return self.skip(resampled(x, self.resample)) + h


def skip_connection(
    in_channels: int, out_channels: int, conv: type[nn.Conv2d] = nn.Conv2d
) -> nn.Module:
    """The identity, or a 1x1 convolution where the width changes."""
    same = in_channels == out_channels
    return nn.Identity() if same else conv(in_channels, out_channels, 1)


def resampled(x: Tensor, direction: str | None) -> Tensor:
    """The feature map halved ("down", by averages), doubled ("up", by repetition) or as it is."""
    if direction == "down":
        return F.avg_pool2d(x, 2)
    if direction == "up":
        return F.interpolate(x, scale_factor=2, mode="nearest")
    return x


def _modulate(h: Tensor, modulation: Tensor) -> Tensor:
    """(1 + s) h + b; `modulation` (N, 2 C) is s, b side by side, (N, C) is s alone."""
    modulation = modulation[:, :, None, None]
    if modulation.shape[1] == h.shape[1]:
        return h * (1 + modulation)
    scale, shift = modulation.chunk(2, dim=1)
    return torch.addcmul(shift, h, 1 + scale)


class ConvResample(nn.Module):
    """Resampling by a convolution of its own: stride 2, or after doubling (DDPM).

    `asymmetric` pads the right and lower edge only, as the TensorFlow DDPM code does.
    """

    def __init__(self, channels: int, direction: str, asymmetric: bool = False):
        super().__init__()
        self.direction, self.asymmetric = direction, asymmetric
        down = direction == "down"
        padding = 0 if down and asymmetric else 1
        self.conv = nn.Conv2d(channels, channels, 3, stride=2 if down else 1, padding=padding)

    def forward(self, x: Tensor, *_embeddings: Tensor | None) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W'); takes and ignores what a residual block takes."""
        if self.direction == "up":
            x = resampled(x, "up")
        elif self.asymmetric:
            x = F.pad(x, (0, 1, 0, 1))
        return self.conv(x)


class NormedBlock(nn.Module):
    """X + conv(SiLU(norm(conv(SiLU(x))))), the identity at first."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = group_norm(channels)
        self.conv2 = zero_init(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.norm(self.conv1(F.silu(x)))))


@dataclass(frozen=True)
class Features:
    """What the encoder half hands over: skip features, finest first, and the time embedding.

    `x` is the input, where the output is added to it.
    """

    skips: tuple[Tensor, ...]
    emb: Tensor
    x: Tensor | None = None

    def repeated(self, count: int) -> "Features":
        """Of one image, for a batch of so many that share them."""
        skips = (
            skip.expand(count, -1, -1, -1).contiguous(memory_format=torch.channels_last)
            for skip in self.skips
        )
        x = None if self.x is None else self.x.expand(count, -1, -1, -1)
        return Features(tuple(skips), self.emb.expand(count, -1), x)


class SelfAttention(nn.Module):
    """Residual multi-head self-attention over the pixels of a feature map.

    The rows of `qkv` are ordered head by head, each head's q, k, v together (guided-diffusion's
    "legacy" order), because that is how the published weights are stored.
    """

    def __init__(self, channels: int, heads: int = 1, norm: Norm = group_norm):
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels cannot be split into {heads} attention heads")
        self.heads = heads
        self.norm = norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = zero_init(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        n, c, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (N, HW, C)
        qkv = self.qkv(tokens).view(n, height * width, self.heads, 3, c // self.heads)
        # Half precision is slower on CPUs, and autocast would bring it back.
        on_cpu = x.device.type == "cpu"
        with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
            qkv = qkv.float() if on_cpu else qkv
            q, k, v = qkv.permute(3, 0, 2, 1, 4)  # each (N, heads, HW, C / heads)
            h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, -1, c)
        h = self.proj(h.to(x.dtype)).transpose(1, 2).reshape(n, c, height, width)
        return x + h
