"""PDAE: a frozen U-Net, a semantic encoder, and a gradient estimator on the U-Net's features."""

from dataclasses import dataclass, replace

from torch import Tensor, nn

from pdae_app.models.layers import CodeInput
from pdae_app.models.semantic import (
    ClassEncoder,
    ClassEncoderConfig,
    EncoderConfig,
    SemanticEncoder,
)
from pdae_app.models.unet import SketchConfig, UNet, UNetConfig, UNetDecoder


@dataclass(frozen=True)
class PDAEConfig:
    """Architecture of all three networks; for `sketch` see `UNetDecoder`.

    The code is made of an image, at a size of the encoder's own, or of a class (Section 4.6).
    """

    unet: UNetConfig
    encoder: EncoderConfig | ClassEncoderConfig
    sketch: SketchConfig | None = None

    def __post_init__(self):
        if self.unet.classes:
            raise ValueError("PDAE adapts an unconditional U-Net; this one takes a class")

    @property
    def by_class(self) -> bool:
        """Whether codes are made of classes."""
        return isinstance(self.encoder, ClassEncoderConfig)


class PDAE(nn.Module):
    """The three networks of the paper's Fig. 2."""

    def __init__(self, config: PDAEConfig):
        super().__init__()
        self.config = config
        self.unet = UNet(config.unet)
        kind = ClassEncoder if config.by_class else SemanticEncoder
        self.encoder = kind(config.encoder)
        # The shift moves the mean; a variance that the frozen model learned stays its own, and so
        # does the input that it adds to its output.
        estimator = replace(config.unet, learned_variance=False, add_input=False)
        self.shift = UNetDecoder(estimator, CodeInput(config.encoder.z_dim), config.sketch)

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
