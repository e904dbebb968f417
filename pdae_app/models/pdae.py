"""PDAE: a frozen U-Net, a semantic encoder, and a gradient estimator on the U-Net's features."""

from dataclasses import dataclass

from torch import Tensor, nn

from pdae_app.models.layers import CodeInput, check_same_size
from pdae_app.models.semantic import EncoderConfig, SemanticEncoder
from pdae_app.models.unet import UNet, UNetConfig, UNetDecoder


@dataclass(frozen=True)
class PDAEConfig:
    """Architecture of all three networks; for `sketch` see `UNetDecoder`."""

    unet: UNetConfig
    encoder: EncoderConfig
    sketch: bool = False

    def __post_init__(self):
        check_same_size(self.unet.image_size, self.encoder.image_size)


class PDAE(nn.Module):
    """The three networks of the paper's Fig. 2."""

    def __init__(self, config: PDAEConfig):
        super().__init__()
        self.config = config
        self.unet = UNet(config.unet)
        self.encoder = SemanticEncoder(config.encoder)
        self.shift = UNetDecoder(config.unet, CodeInput(config.encoder.z_dim), config.sketch)

    def freeze_unet(self) -> "PDAE":
        """Keep the pre-trained U-Net out of training: no gradients, no dropout."""
        self.unet.requires_grad_(False).eval()
        return self

    def train(self, mode: bool = True) -> "PDAE":
        """As `nn.Module.train`, but the U-Net stays in evaluation mode (it is frozen)."""
        super().train(mode)
        self.unet.eval()
        return self

    def forward(self, x: Tensor, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """X (N, C, S, S), t (N,), z (N, D) -> outputs of the U-Net and of the gradient estimator.

        Both halves read one pass of the frozen encoder half.
        """
        features = self.unet.encoder(x, t)
        return self.unet.decoder(features), self.shift(features, z)
