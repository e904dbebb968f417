"""Train PDAE on a frozen diffusion model (Zhang et al., NeurIPS 2022, Alg. 1).

The code is made of the picture, or with data.class_column of its class (Section 4.6).

accelerate launch training/train_pdae.py --config training/configs/faces64/pdae.yaml
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdae_app.bundle import Bundle, load_bundle
from pdae_app.diffusion.denoisers import ShiftedDenoiser, UNetDenoiser
from pdae_app.diffusion.weighting import loss_weight
from pdae_app.models.pdae import PDAE, PDAEConfig
from pdae_app.models.semantic import ClassEncoderConfig, EncoderConfig
from training.config import parse
from training.data import DataConfig, example_pictures, held_out_squares, training_set
from training.loop import LoopConfig, Objective, describe_run, finish, run_script, train
from training.losses import pdae_loss
from training.samples import decoding_errors, gap_filled, in_pairs_of_rows, random_decodings


@dataclass(frozen=True)
class PdaeTrainConfig:
    """Everything that `train_pdae.py` takes.

    `dpm` is the bundle of the frozen model; `start` a PDAE bundle to continue from; `sketch`
    adds a rough picture of the code (see `Sketch`), and `stage: sketch` trains that and the encoder
    alone, as a plain autoencoder. `posterior` chooses the shift's factor in the loss
    (see `training.losses.pdae_loss`). With `data.class_column` there is no encoder of pictures:
    every class has a code of `class_z_dim` numbers.
    """

    dpm: str
    data: DataConfig
    loop: LoopConfig
    bundle: str
    encoder: EncoderConfig | None = None
    class_z_dim: int = 512
    start: str | None = None
    sketch: bool = False
    stage: str = "pdae"
    weighting: str = "pdae"
    weighting_options: dict[str, float] = field(default_factory=dict)
    posterior: bool = True

    def __post_init__(self):
        if self.stage not in ("sketch", "pdae") or (self.stage == "sketch" and not self.sketch):
            raise ValueError("stage is 'pdae', or 'sketch' together with sketch: true")
        if (self.encoder is None) != self.by_class:
            raise ValueError("give an encoder, or data.class_column, and not both")
        if self.by_class and self.stage == "sketch":
            raise ValueError("the sketch stage needs an encoder of pictures")

    @property
    def by_class(self) -> bool:
        """Whether the condition is a class."""
        return self.data.class_column is not None


class PdaeObjective(Objective):
    """Alg. 1: the encoder and the gradient estimator learn to fill the frozen model's gap."""

    def __init__(self, config: PdaeTrainConfig, frozen: Bundle, shown: Tensor, classes: int = 0):
        super().__init__()
        self.config = config
        self.diffusion, self.schedule = frozen.diffusion, frozen.diffusion.schedule
        encoder = config.encoder or ClassEncoderConfig(classes, config.class_z_dim)
        self.model = PDAE(PDAEConfig(frozen.unet.config, encoder, config.sketch))
        self.model.unet.load_state_dict(frozen.unet.state_dict())
        if config.start:
            self.model.load_state_dict(load_bundle(config.start).model.state_dict())
        self.model.freeze_unet()
        self.register_buffer("shown", shown, persistent=False)

    def trained(self) -> dict[str, nn.Module]:
        shift = self.model.shift
        return {
            "encoder": self.model.encoder,
            "shift": shift.sketch if self.config.stage == "sketch" else shift,
        }

    def forward(self, x_0: Tensor, t: Tensor, noise: Tensor, classes: Tensor | None = None):
        """x_0, noise (N, C, S, S), t (N,), classes (N,) or None -> the loss."""
        config = self.config
        if config.stage == "sketch":
            return F.mse_loss(self.model.shift.sketch(self.model.encoder(x_0)), x_0)
        weight = loss_weight(config.weighting, self.schedule, t, **config.weighting_options)
        posterior = config.posterior
        return pdae_loss(self.model, self.diffusion, x_0, t, noise, weight, posterior, classes)

    def samples(self, device: torch.device) -> Tensor:
        """Training pictures, and below each what z alone brings back, from fixed random x_T."""
        if self.config.by_class:
            return self._of_classes(device)
        x_0 = self.shown.to(device)
        z = self.model.encoder(x_0)
        if self.config.stage == "sketch":
            return in_pairs_of_rows(x_0, self.model.shift.sketch(z))
        return in_pairs_of_rows(x_0, random_decodings(self._denoiser(z), x_0, self.schedule))

    def _of_classes(self, device: torch.device) -> Tensor:
        """32 new pictures, of the classes in turn."""
        unet = self.model.config.unet
        classes = torch.arange(32, device=device) % self.model.config.encoder.classes
        like = torch.empty(32, unet.in_channels, unet.image_size, unet.image_size, device=device)
        denoiser = self._denoiser(self.model.encoder(classes))
        return random_decodings(denoiser, like, self.schedule)

    def _denoiser(self, z: Tensor) -> ShiftedDenoiser:
        return ShiftedDenoiser(self.model, self.diffusion, ((z, 1.0),))

    def validate(self, x_0: Tensor) -> dict[str, float]:
        """Errors of what z brings back, and how much of the frozen model's gap is filled."""
        if self.config.by_class or self.config.stage == "sketch":
            return {}
        denoiser = self._denoiser(self.model.encoder(x_0))
        frozen = UNetDenoiser(self.model.unet, self.diffusion)
        filled = gap_filled(frozen, denoiser, x_0, self.schedule)
        return decoding_errors(denoiser, x_0, self.schedule) | {"gap_filled": filled}


def main() -> None:
    """The command line."""
    config = parse(PdaeTrainConfig, __doc__)
    torch.manual_seed(config.loop.seed)  # of the first weights
    frozen = load_bundle(config.dpm)
    unet = frozen.unet.config
    channels, size = unet.in_channels, unet.image_size
    if config.loop.dry_run:
        objective = PdaeObjective(config, frozen, torch.empty(0), classes=1000)
        print(describe_run(config.loop, objective, (channels, size, size), config.by_class))
        return
    dataset = training_set(config.data, size, channels)
    objective = PdaeObjective(config, frozen, example_pictures(dataset), len(dataset.classes))
    train(config.loop, objective, dataset, held_out_squares(config.data, size, channels))
    trained = Bundle(
        frozen.unet,
        frozen.diffusion,
        objective.model,
        framing=config.data.align,
        classes=tuple(dataset.classes),
        info=frozen.info | {"pdae": {"pictures": config.loop.pictures}},
    )
    finish(trained, config.bundle, config.loop)


if __name__ == "__main__":
    run_script(main)
