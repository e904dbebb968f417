"""Variational diffusion models (Kingma et al. 2021, "VDM") and DiffEnc (Nielsen et al. 2024).

The score network is the U-Net without down-sampling: Fourier features of its input, attention in
the middle alone, and the input added to the output. All are variants of `UNetConfig`.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from pdae_app.models.diffenc import NORM_EPS, MeanEncoder, MeanEncoderConfig
from pdae_app.models.layers import ResBlock, zero_init
from pdae_app.models.unet import UNet, UNetConfig


@dataclass(frozen=True)
class Kind:
    """What sets a kind apart: what the score network predicts, "eps" or "v"; whether pictures are
    encoded before they are noised, and whether by a network (`learned`).
    """

    prediction: str = "v"
    encodes: bool = False
    learned: bool = False


KINDS = {
    "vdm": Kind("eps"),
    "vdm_v": Kind(),
    "diffenc_fixed": Kind(encodes=True),
    "diffenc": Kind(encodes=True, learned=True),
}
# Standard deviation of a normal distribution that is cut at two of its own.
TRUNCATED_STD = 0.87962566103423978


def score_config(
    image_size: int,
    blocks: int,
    base_channels: int = 128,
    in_channels: int = 3,
    dropout: float = 0.1,
    norm_groups: int = 32,
) -> UNetConfig:
    """The score network of `blocks` blocks on the way down, one more on the way up (VDM, App. B).

    With as many groups as channels, the noise level would have no effect: every channel is then
    normalised alone, and what is added to a whole channel vanishes.
    """
    return UNetConfig(
        image_size=image_size,
        base_channels=base_channels,
        multipliers=(1,),
        in_channels=in_channels,
        res_blocks=blocks,
        attention_resolutions=(),
        dropout=dropout,
        time_scale=False,
        emb_bias=False,
        frequency_shift=1,
        time_factor=1000.0,
        norm_groups=norm_groups,
        norm_eps=NORM_EPS,
        fourier=(6, 7),
        add_input=True,
    )


@dataclass(frozen=True)
class VDMConfig:
    """A variational diffusion model.

    `kind`: "vdm" predicts eps, "vdm_v" v; "diffenc_fixed" is DiffEnc's encoder without weights,
    "diffenc" the learned one, `encoder`. gamma = -log SNR rises from `gamma_0` at t = 0 to
    `gamma_1` at t = 1; with `learned_schedule` its ends are learned. The networks are told the
    noise level by tau, 0 at the configured gamma_0 and 1 at gamma_1, wherever learned ends go.
    """

    kind: str
    unet: UNetConfig
    encoder: MeanEncoderConfig | None = None
    learned_schedule: bool = False
    gamma_0: float = -13.3
    gamma_1: float = 5.0

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind!r}; known: {', '.join(KINDS)}")
        if not self.gamma_0 < self.gamma_1 < math.inf or self.gamma_0 == -math.inf:
            raise ValueError(
                f"gamma_0 {self.gamma_0} must lie below gamma_1 {self.gamma_1}: gamma, the "
                "negative log SNR, rises with time"
            )
        if (self.encoder is not None) != self.traits.learned:
            needs = "needs" if self.encoder is None else "has no"
            raise ValueError(f"the kind {self.kind!r} {needs} encoder")
        seen = self.encoder and (self.encoder.in_channels, self.encoder.image_size)
        if seen and seen != (self.unet.in_channels, self.unet.image_size):
            raise ValueError("the encoder and the U-Net must be of one picture size and channels")

    @property
    def traits(self) -> Kind:
        """What the kind stands for."""
        return KINDS[self.kind]

    @property
    def prediction(self) -> str:
        """What the score network predicts: "eps" or "v"."""
        return self.traits.prediction


class VDM(nn.Module):
    """The networks of a `VDMConfig`."""

    def __init__(self, config: VDMConfig):
        super().__init__()
        self.config = config
        self.unet = UNet(config.unet)
        self.encoder = MeanEncoder(config.encoder) if config.encoder else None

    def score(self, z_t: Tensor, log_snr: Tensor) -> Tensor:
        """The prediction for z_t (N, C, S, S) at log SNR (N,) or (): eps_hat or v_hat, like z_t."""
        return self.unet(z_t, self.tau(log_snr).expand(len(z_t)))

    def y(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """What the encoder makes of X (N, C, S, S) at log SNR (N,) or (): like X, in (-1, 1)."""
        return self.encoder(x, self.tau(log_snr).expand(len(x)))

    def tau(self, log_snr: Tensor) -> Tensor:
        """The networks' time input."""
        gamma_0, gamma_1 = self.config.gamma_0, self.config.gamma_1
        return (-log_snr - gamma_0) / (gamma_1 - gamma_0)


def initialise(network: nn.Module) -> nn.Module:
    """Set first weights as the paper's code does.

    Normal, cut at two standard deviations, of variance 1 / fan_in; zero where a branch or the
    output ends, and where the noise level enters; no biases.
    """
    for module in network.modules():
        if isinstance(module, ResBlock):
            zero_init(module.emb_proj)
        layer = isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d)
        if layer and module.weight.any():
            transposed = isinstance(module, nn.ConvTranspose2d)
            fan_in = module.weight.numel() / module.weight.shape[1 if transposed else 0]
            std = fan_in**-0.5 / TRUNCATED_STD
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
