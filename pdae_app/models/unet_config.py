"""Architectures of the U-Net and of its sketch, as bundles and configurations write them."""

from dataclasses import dataclass
from functools import partial

from pdae_app.models.layers import (
    CodeInput,
    ConvResample,
    Norm,
    ResBlock,
    SelfAttention,
    group_norm,
)
from pdae_app.typed_config import check_sizes

RESAMPLINGS = ("residual", "conv", "conv_asymmetric")


@dataclass(frozen=True)
class UNetConfig:
    """Architecture of a U-Net.

    `attention_resolutions` are side lengths of feature maps (16 = attention at 16x16), of both
    halves unless `up_attention_resolutions` says others for the decoder half.
    `patch_size` p folds p x p pixels into channels first: p*p times fewer positions, for CPUs.
    `emb_channels` is the width of the time embedding (None: four times the base), `time_channels`
    that of the sinusoids that it is made of (None: the base). They differ where the first level is
    narrower than the base of the code that the weights come from (ADM at 512 px).
    `head_channels`, where given, replaces `heads` by one head for so many channels.
    `classes`: the model knows so many classes, and is told one with every image (ADM).
    `learned_variance` doubles the output: see `pdae_app.diffusion.variance`.
    The rest are the variants of other models: see `ResBlock` for `time_scale` and `emb_bias`,
    `ConvResample` for `resampling`, `timestep_embedding` for `frequency_shift`, of `time_factor` t,
    and `fourier_features` for `fourier`. `add_input` adds x_t to the output (VDM).
    """

    image_size: int
    base_channels: int
    multipliers: tuple[int, ...]
    in_channels: int = 3
    res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (16,)
    heads: int = 1
    dropout: float = 0.1
    patch_size: int = 1
    emb_channels: int | None = None
    head_channels: int | None = None
    time_scale: bool = True
    resampling: str = "residual"
    frequency_shift: int = 0
    norm_groups: int = 32
    norm_eps: float = 1e-5
    classes: int | None = None
    learned_variance: bool = False
    emb_bias: bool = True
    time_factor: float = 1.0
    fourier: tuple[int, ...] = ()
    add_input: bool = False
    time_channels: int | None = None
    up_attention_resolutions: tuple[int, ...] | None = None

    def __post_init__(self):
        check_sizes(self, image_size=1024, base_channels=1024, multipliers=64, res_blocks=64)
        check_sizes(self, in_channels=64, patch_size=64, attention_resolutions=1024, heads=64)
        check_sizes(self, emb_channels=8192, head_channels=1024, norm_groups=256, classes=100_000)
        check_sizes(self, least=0, frequency_shift=1)
        check_sizes(self, time_channels=1024, up_attention_resolutions=1024)
        if not self.multipliers:
            raise ValueError("a U-Net needs at least one level in multipliers")
        if self.resampling not in RESAMPLINGS:
            raise ValueError(
                f"unknown resampling {self.resampling!r}; known: {', '.join(RESAMPLINGS)}"
            )
        coarsest = self.patch_size * 2 ** (len(self.multipliers) - 1)
        if self.image_size % coarsest:
            raise ValueError(
                f"image_size {self.image_size} must be a multiple of {coarsest} "
                f"(patch_size times 2 for each level after the first)"
            )

    @property
    def time_dim(self) -> int:
        """Width of the sinusoids of a time."""
        return self.time_channels or self.base_channels

    @property
    def emb_dim(self) -> int:
        """Width of the time embedding."""
        return self.emb_channels or 4 * self.base_channels

    @property
    def out_channels(self) -> int:
        """Channels of the network's output."""
        return self.in_channels * (2 if self.learned_variance else 1)

    @property
    def norm(self) -> Norm:
        """Makes a normalisation of so many channels."""
        return partial(group_norm, groups=self.norm_groups, eps=self.norm_eps)

    @property
    def level_channels(self) -> list[int]:
        """Channels at each resolution, finest first."""
        return [self.base_channels * m for m in self.multipliers]

    def skip_channels(self) -> list[int]:
        """Channels of every feature map that the encoder half hands over, in order."""
        channels = self.level_channels[:1]
        for level, width in enumerate(self.level_channels):
            channels += [width] * self.res_blocks
            if level < len(self.multipliers) - 1:
                channels.append(width)
        return channels

    def has_attention(self, level: int, up: bool = False) -> bool:
        """Whether the feature maps of `level` (0 = finest) are attended over, on the way down."""
        attended = self.up_attention_resolutions if up else None
        attended = self.attention_resolutions if attended is None else attended
        return self.image_size // self.patch_size // 2**level in attended

    def attention(self, channels: int) -> SelfAttention:
        """An attention block of this width."""
        return SelfAttention(channels, self.attention_heads(channels), self.norm)

    def attention_heads(self, channels: int) -> int:
        """The number of heads at this width."""
        heads = channels // self.head_channels if self.head_channels else self.heads
        if not heads or channels % heads:
            raise ValueError(f"{channels} channels cannot be split into {heads} attention heads")
        return heads

    def res(
        self, channels: int, width: int, code: CodeInput | None, resample: str | None = None
    ) -> ResBlock:
        """A residual block, modulated by a code where there is one."""
        return ResBlock(
            channels,
            width,
            self.emb_dim,
            self.dropout,
            resample,
            z_emb_dim=(self.emb_dim if code.embed else code.dim) if code else None,
            z_shift=code is None or code.shift,
            time_scale=self.time_scale,
            norm=self.norm,
            emb_bias=self.emb_bias,
        )

    def resample(
        self, width: int, direction: str, code: CodeInput | None
    ) -> ResBlock | ConvResample:
        """What halves or doubles the feature maps."""
        if self.resampling == "residual":
            return self.res(width, width, code, direction)
        return ConvResample(width, direction, self.resampling == "conv_asymmetric")


@dataclass(frozen=True)
class SketchConfig:
    """Architecture of a `Sketch`.

    `width` channels at 4x4 positions and 8x8, half as many at every doubling after; `blocks`
    residual blocks after each.
    """

    width: int = 128
    blocks: int = 0

    def __post_init__(self):
        check_sizes(self, width=8192)
        check_sizes(self, least=0, blocks=16)
