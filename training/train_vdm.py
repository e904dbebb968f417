"""Train a variational diffusion model: VDM, or DiffEnc with its encoder fixed or learned.

accelerate launch training/train_vdm.py --config training/configs/digits/diffenc.yaml
"""

from dataclasses import asdict, dataclass, field, replace

import torch
from torch import Tensor, nn

from pdae_app.bundle import Bundle
from pdae_app.diffusion.likelihood import bits_per_dimension, low_discrepancy_times
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.sampling import drawn_pictures
from pdae_app.diffusion.variational import VariationalDiffusion
from pdae_app.models.diffenc import MeanEncoderConfig
from pdae_app.models.presets import vdm_preset
from pdae_app.models.vdm import VDMConfig, initialise, score_config
from training.bits import bits_of_pictures, mean_bits
from training.config import parse
from training.dry_run import describe_run
from training.loop import LoopConfig, finish, run_script, train
from training.objective import Objective
from training.pixels import PixelConfig, held_out_pixels, pixel_set


@dataclass(frozen=True)
class ScoreConfig:
    """Size of the score network: see `score_config`."""

    image_size: int = 32
    blocks: int = 8
    base_channels: int = 128
    in_channels: int = 3
    dropout: float = 0.1
    norm_groups: int = 32


@dataclass(frozen=True)
class VdmTrainConfig:
    """Everything that `train_vdm.py` takes.

    `preset` names one of the paper's models (`VDM_PRESETS`); without it, `kind` ("vdm", "vdm_v",
    "diffenc_fixed", "diffenc"), `score` and, for "diffenc", `encoder` say what is trained.
    `learned_schedule` trains the ends of the noise schedule too. `measured` pictures of
    `data.held_out` are measured while training (null: all), `sample_steps` make a sample.
    """

    data: PixelConfig
    loop: LoopConfig
    bundle: str
    preset: str | None = None
    kind: str = "vdm_v"
    score: ScoreConfig = field(default_factory=ScoreConfig)
    encoder: MeanEncoderConfig | None = None
    learned_schedule: bool = False
    measured: int | None = 256
    sample_steps: int = 100

    @property
    def model(self) -> VDMConfig:
        """The model to train."""
        if self.preset:
            return replace(vdm_preset(self.preset), learned_schedule=self.learned_schedule)
        unet = score_config(**asdict(self.score))
        return VDMConfig(self.kind, unet, self.encoder, self.learned_schedule)


class VdmObjective(Objective):
    """Bits per dimension, all three terms."""

    def __init__(self, config: VdmTrainConfig):
        super().__init__()
        self.config = config
        self.model = initialise(VariationalDiffusion(config.model))

    def trained(self) -> dict[str, nn.Module]:
        return {"model": self.model}

    def draw(self, shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, ...]:
        """Low-discrepancy times (N,), and noise for the reconstruction and the diffusion loss."""
        t = low_discrepancy_times(shape[0], torch.rand((), device=device))
        return t, torch.randn(shape, device=device), torch.randn(shape, device=device)

    def decayed(self, name: str) -> bool:
        """Weight decay is for weights, norms' scales among them: no biases, no schedule."""
        return not name.endswith("bias") and ".schedule." not in name

    def forward(self, pixels: Tensor, t: Tensor, eps_0: Tensor, eps: Tensor) -> Tensor:
        """Pixels (N, C, S, S) uint8, t (N,), noise like pixels -> bits per dimension."""
        nats = sum(self.model.losses(pixels, t, eps_0, eps).values()).mean()
        return bits_per_dimension(nats, pixels.shape[1:])

    def samples(self, device: torch.device) -> Tensor:
        """16 pictures of fixed noise by ancestral sampling."""
        unet = self.config.model.unet
        shape = (16, unet.in_channels, unet.image_size, unet.image_size)
        generator = torch.Generator().manual_seed(0)
        pictures = drawn_pictures(self.model, shape, self.config.sample_steps, generator, device)
        return pictures.float() / 127.5 - 1

    def validate(self, pixels: Tensor) -> dict[str, float]:
        """Bits per dimension of held-out pictures and its parts, with noise of a fixed seed."""
        return mean_bits(bits_of_pictures(self.model, pixels))


def main() -> None:
    """The command line."""
    config = parse(VdmTrainConfig, __doc__)
    torch.manual_seed(config.loop.seed)  # of the first weights
    unet = config.model.unet
    size, channels = unet.image_size, unet.in_channels
    objective = VdmObjective(config)
    if config.loop.dry_run:
        print(describe_run(config.loop, objective, (channels, size, size)))
        return
    held_out = None
    if config.data.held_out:
        held_out = (held_out_pixels(config.data, size, channels, config.measured),)
    seen = train(config.loop, objective, pixel_set(config.data, size, channels), held_out)
    model = objective.model
    trained = Bundle(
        model.networks.unet,
        Diffusion(model.sampling_process, model.config.prediction, shift="v"),
        framing="center",
        info={"vdm": {"pictures": seen}},
        variational=model,
    )
    finish(trained, config.bundle, config.loop)


if __name__ == "__main__":
    run_script(main)
