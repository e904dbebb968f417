"""Train PDAE on a frozen diffusion model (Zhang et al., NeurIPS 2022, Alg. 1).

accelerate launch training/train_pdae.py --config training/configs/faces64/pdae.yaml
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdae_app.bundle import Bundle, load_bundle
from pdae_app.diffusion.denoisers import ShiftedDenoiser
from pdae_app.diffusion.weighting import loss_weight
from pdae_app.models.pdae import PDAE, PDAEConfig
from pdae_app.models.semantic import EncoderConfig
from training.config import parse
from training.data import AugmentedSquares, DataConfig, load_pictures
from training.loop import LoopConfig, Objective, describe_run, finish, run_script, train
from training.losses import pdae_loss
from training.samples import in_pairs_of_rows, random_decodings


@dataclass(frozen=True)
class PdaeTrainConfig:
    """Everything that `train_pdae.py` takes.

    `dpm` is the bundle of the frozen model; `start` a PDAE bundle to continue from; `sketch`
    adds a rough picture of the code (see `Sketch`), and `stage: sketch` trains that and the encoder
    alone, as a plain autoencoder. `posterior` chooses the shift's factor in the loss
    (see `training.losses.pdae_loss`).
    """

    dpm: str
    encoder: EncoderConfig
    data: DataConfig
    loop: LoopConfig
    bundle: str
    start: str | None = None
    sketch: bool = False
    stage: str = "pdae"
    weighting: str = "pdae"
    weighting_options: dict[str, float] = field(default_factory=dict)
    posterior: bool = True

    def __post_init__(self):
        if self.stage not in ("sketch", "pdae") or (self.stage == "sketch" and not self.sketch):
            raise ValueError("stage is 'pdae', or 'sketch' together with sketch: true")


class PdaeObjective(Objective):
    """Alg. 1: the encoder and the gradient estimator learn to fill the frozen model's gap."""

    def __init__(self, config: PdaeTrainConfig, frozen: Bundle, shown: Tensor):
        super().__init__()
        self.config = config
        self.diffusion, self.schedule = frozen.diffusion, frozen.diffusion.schedule
        self.model = PDAE(PDAEConfig(frozen.unet.config, config.encoder, config.sketch))
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

    def forward(self, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_0, noise (N, 3, S, S), t (N,) -> the loss."""
        config = self.config
        if config.stage == "sketch":
            return F.mse_loss(self.model.shift.sketch(self.model.encoder(x_0)), x_0)
        weight = loss_weight(config.weighting, self.schedule, t, **config.weighting_options)
        return pdae_loss(self.model, self.diffusion, x_0, t, noise, weight, config.posterior)

    def samples(self, device: torch.device) -> Tensor:
        """Training pictures, and below each what z alone brings back, from fixed random x_T."""
        x_0 = self.shown.to(device)
        z = self.model.encoder(x_0)
        if self.config.stage == "sketch":
            return in_pairs_of_rows(x_0, self.model.shift.sketch(z))
        denoiser = ShiftedDenoiser(self.model, self.diffusion, ((z, 1.0),))
        return in_pairs_of_rows(x_0, random_decodings(denoiser, x_0, self.schedule))


def main() -> None:
    """The command line."""
    config = parse(PdaeTrainConfig, __doc__)
    torch.manual_seed(config.loop.seed)  # of the first weights
    frozen = load_bundle(config.dpm)
    size = frozen.unet.config.image_size
    if config.loop.dry_run:
        objective = PdaeObjective(config, frozen, torch.empty(0, 3, size, size))
        print(describe_run(config.loop, objective))
        return
    dataset = AugmentedSquares(load_pictures(config.data, size), config.data, size)
    shown = torch.stack([dataset[i, 0] for i in range(min(16, len(dataset)))])
    objective = PdaeObjective(config, frozen, shown)
    train(config.loop, objective, dataset)
    info = frozen.info | {"pdae": {"pictures": config.loop.pictures}}
    align = config.data.align
    trained = Bundle(frozen.unet, frozen.diffusion, objective.model, framing=align, info=info)
    finish(trained, config.bundle, config.loop)


if __name__ == "__main__":
    run_script(main)
