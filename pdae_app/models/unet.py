"""The ADM U-Net, cut in two halves that can be called apart.

PDAE (Zhang et al., NeurIPS 2022, Section 3.3, Fig. 2) keeps a pre-trained U-Net frozen and hangs a
second decoder on the *same* encoder features. So the encoder half returns its features, and one
decoder class serves both: the U-Net's own half, and (with a code `z`) the gradient estimator.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pdae_app.models.layers import (
    CodeInput,
    ConvResample,
    Features,
    NormedBlock,
    ResBlock,
    SelfAttention,
    fourier_features,
    group_norm,
    timestep_embedding,
    zero_init,
)
from pdae_app.models.unet_config import SketchConfig, UNetConfig


class Block(nn.Module):
    """A residual block, then optionally attention, then optionally a resampling residual block.

    While it is `checkpointed`, nothing within it is kept for the backward pass, which computes it
    again.
    """

    checkpointed = False

    def __init__(
        self,
        res: ResBlock | ConvResample,
        attention: SelfAttention | None = None,
        up: ResBlock | ConvResample | None = None,
    ):
        super().__init__()
        self.res, self.attention, self.up = res, attention, up

    def forward(self, x: Tensor, emb: Tensor, z_emb: Tensor | None = None) -> Tensor:
        if self.checkpointed and torch.is_grad_enabled():
            return checkpoint(self._computed, x, emb, z_emb, use_reentrant=False)
        return self._computed(x, emb, z_emb)

    def _computed(self, x: Tensor, emb: Tensor, z_emb: Tensor | None) -> Tensor:
        x = self.res(x, emb, z_emb)
        if self.attention is not None:
            x = self.attention(x)
        return x if self.up is None else self.up(x, emb, z_emb)


def set_checkpointed(network: nn.Module, checkpointed: bool) -> None:
    """Whether the blocks of all U-Nets in a module save memory for time."""
    for module in network.modules():
        if isinstance(module, Block):
            module.checkpointed = checkpointed


class UNetEncoder(nn.Module):
    """The down-sampling half and the time embedding: (x_t, t) -> `Features`.

    With `code`, its blocks take a code z too (Diff-AE); PDAE's frozen half has none.
    """

    def __init__(self, config: UNetConfig, code: CodeInput | None = None):
        super().__init__()
        self.config = config
        emb = config.emb_dim
        self.time_embed = nn.Sequential(
            nn.Linear(config.time_dim, emb), nn.SiLU(), nn.Linear(emb, emb)
        )
        self.class_embed = nn.Embedding(config.classes, emb) if config.classes else None
        in_channels = config.in_channels * (1 + 2 * len(config.fourier)) * config.patch_size**2
        self.conv_in = nn.Conv2d(in_channels, config.level_channels[0], 3, padding=1)
        self.blocks = nn.ModuleList(self._blocks(config, code))

    @staticmethod
    def _blocks(config: UNetConfig, code: CodeInput | None) -> list[nn.Module]:
        blocks, channels = [], config.level_channels[0]
        for level, width in enumerate(config.level_channels):
            for _ in range(config.res_blocks):
                attention = config.attention(width) if config.has_attention(level) else None
                blocks.append(Block(config.res(channels, width, code), attention))
                channels = width
            if level < len(config.multipliers) - 1:
                blocks.append(Block(config.resample(width, "down", code)))
        return blocks

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        z: Tensor | None = None,
        y: Tensor | None = None,
        emb: Tensor | None = None,
    ) -> Features:
        """X (N, C, S, S) in the scale of x_t, t (N,) timesteps, y (N,) classes -> Features.

        `emb` (N, E), where it is known, is `embedded(t)`.
        """
        self._check(x)
        emb = self._with_class(self.embedded(t) if emb is None else emb.to(x.dtype), y)
        seen = fourier_features(x, self.config.fourier) if self.config.fourier else x
        h = self.conv_in(F.pixel_unshuffle(seen, self.config.patch_size))
        skips = [h]
        for block in self.blocks:
            h = block(h, emb, z)
            skips.append(h)
        return Features(tuple(skips), emb, x if self.config.add_input else None)

    def embedded(self, t: Tensor) -> Tensor:
        """The embeddings (N, E) of timesteps (N,)."""
        t = t * self.config.time_factor if self.config.time_factor != 1 else t
        times = timestep_embedding(t, self.config.time_dim, self.config.frequency_shift)
        return self.time_embed(times.to(self.conv_in.weight.dtype))

    def _with_class(self, emb: Tensor, y: Tensor | None) -> Tensor:
        if (y is None) != (self.class_embed is None):
            raise ValueError(
                "this network takes no class" if y is not None else "this network takes a class"
            )
        return emb if y is None else emb + self.class_embed(y)

    def _check(self, x: Tensor) -> None:
        expected = (self.config.in_channels, self.config.image_size, self.config.image_size)
        if tuple(x.shape[1:]) != expected:
            raise ValueError(
                f"the U-Net takes images of shape {expected}, got {tuple(x.shape[1:])}"
            )


class UNetDecoder(nn.Module):
    """Middle, up-sampling half and output on the encoder's features.

    Without `code` it is the U-Net's own half. With it, it is PDAE's gradient estimator
    (Section 3.3): the code enters every residual block through the twice-applied AdaGN (Eq. 9);
    or the decoder half of Diff-AE. With `sketch`, it also starts from a rough picture drawn from
    the code (see `Sketch`).
    """

    def __init__(
        self,
        config: UNetConfig,
        code: CodeInput | None = None,
        sketch: SketchConfig | None = None,
    ):
        super().__init__()
        self.config, self.code = config, code
        embedded = code is not None and code.embed
        self.z_embed = nn.Linear(code.dim, config.emb_dim) if embedded else None
        width, finest = config.level_channels[-1], config.level_channels[0]
        self.sketch = Sketch(config, code.dim, sketch) if sketch else None
        self.middle_in = Block(config.res(width, width, code), config.attention(width))
        self.middle_out = config.res(width, width, code)
        self.blocks = nn.ModuleList(self._blocks(config, code))
        self.norm_out = config.norm(finest)
        out_channels = config.out_channels * config.patch_size**2
        self.conv_out = zero_init(nn.Conv2d(finest, out_channels, 3, padding=1))

    @staticmethod
    def _blocks(config: UNetConfig, code: CodeInput | None) -> list[nn.Module]:
        skips = config.skip_channels()
        blocks, channels = [], config.level_channels[-1]
        for level in reversed(range(len(config.multipliers))):
            width = config.level_channels[level]
            for i in range(config.res_blocks + 1):
                res = config.res(channels + skips.pop(), width, code)
                attended = config.has_attention(level, up=True)
                attention = config.attention(width) if attended else None
                last = level > 0 and i == config.res_blocks
                up = config.resample(width, "up", code) if last else None
                blocks.append(Block(res, attention, up))
                channels = width
        return blocks

    def forward(self, features: Features, z: Tensor | None = None) -> Tensor:
        """Features of N images, z (N, D) if the decoder takes a code -> (N, C, S, S)."""
        emb, skips = features.emb, list(features.skips)
        z_emb = self._z_emb(z, len(emb))
        if self.sketch is not None:
            skips = self.sketch.drawn_into(skips, z)
        h = skips[-1]
        h = self.middle_out(self.middle_in(h, emb, z_emb), emb, z_emb)
        for block in self.blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb, z_emb)
        h = self.conv_out(F.silu(self.norm_out(h)))
        output = F.pixel_shuffle(h, self.config.patch_size)
        return output + features.x if self.config.add_input else output

    def _z_emb(self, z: Tensor | None, n: int) -> Tensor | None:
        expected = (n, self.code.dim) if self.code else None
        got = None if z is None else tuple(z.shape)
        if got != expected:
            raise ValueError(f"this network takes z of shape {expected}, got {got}")
        return z if self.z_embed is None else self.z_embed(z)


class Sketch(nn.Module):
    """A rough picture of a code, added to the finest features that the gradient estimator reads.

    AdaGN alone can only scale whole channels, and learns to draw places with them slowly. For
    short training runs, a small convolutional decoder draws what it can of the code; it can be
    trained beforehand as a plain autoencoder, many times faster than the rest. The official
    networks have none. It enters through a layer that starts from zero.
    """

    def __init__(self, config: UNetConfig, z_dim: int, sketch: SketchConfig):
        super().__init__()
        self.start, self.patch_size = 4, config.patch_size
        doublings = (config.image_size // self.start).bit_length() - 1
        widths = [max(32, sketch.width // 2 ** max(0, i - 1)) for i in range(doublings + 1)]
        self.linear = nn.Linear(z_dim, widths[0] * self.start**2)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(group_norm(c) for c in widths[1:])
        self.blocks = nn.ModuleList(
            nn.Sequential(*(NormedBlock(c) for _ in range(sketch.blocks))) for c in widths[1:]
        )
        self.conv_out = nn.Conv2d(widths[-1], config.in_channels, 3, padding=1)
        folded = config.in_channels * config.patch_size**2
        self.enter = zero_init(nn.Conv2d(folded, config.level_channels[0], 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        """Codes z (N, D) -> states (N, C, S, S), rough ones."""
        h = self.linear(z).view(len(z), -1, self.start, self.start)
        for conv, norm, block in zip(self.convs, self.norms, self.blocks, strict=True):
            h = block(F.silu(norm(conv(F.interpolate(h, scale_factor=2, mode="nearest")))))
        return self.conv_out(h)

    def drawn_into(self, skips: list[Tensor], z: Tensor) -> list[Tensor]:
        """The skip features with the sketch added to those of the input's size and width."""
        drawn = self.enter(F.pixel_unshuffle(self(z), self.patch_size))
        return [skip + drawn if skip.shape == drawn.shape else skip for skip in skips]


class UNet(nn.Module):
    """Both halves in sequence: unconditional, told a class, or with `code` a code z throughout."""

    def __init__(self, config: UNetConfig, code: CodeInput | None = None):
        super().__init__()
        self.config = config
        self.encoder = UNetEncoder(config, code)
        self.decoder = UNetDecoder(config, code)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        z: Tensor | None = None,
        y: Tensor | None = None,
        emb: Tensor | None = None,
    ) -> Tensor:
        """X (N, C, S, S), t (N,), codes z (N, D), classes y (N,) -> prediction (N, C_out, S, S).

        For `emb` see `UNetEncoder`.
        """
        return self.decoder(self.encoder(x, t, z, y, emb), z)
