"""Train a Diffusion Autoencoder (Preechakul et al., CVPR 2022): encoder and U-Net together.

accelerate launch training/train_diffae.py --config training/configs/smoke/diffae.yaml
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pdae_app.bundle import Bundle
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.solvers import Denoiser
from pdae_app.diffusion.weighting import loss_weight
from pdae_app.families import family
from pdae_app.models.diffae import DiffAE, DiffAEConfig, PooledEncoderConfig
from pdae_app.models.first_stage import Pixels
from pdae_app.models.unet import UNetConfig
from training.config import parse
from training.data import DataConfig, example_pictures, training_set
from training.dry_run import describe_run
from training.evaluation.overlap import keep_hashes
from training.loop import LoopConfig, finish, run_script, train
from training.losses import weighted_mse
from training.objective import Objective
from training.samples import decoding_errors, in_pairs_of_rows, random_decodings
from training.states import Sizes, held_out_states


@dataclass(frozen=True)
class DiffAETrainConfig:
    """Everything that `train_diffae.py` takes."""

    unet: UNetConfig
    encoder: PooledEncoderConfig
    data: DataConfig
    loop: LoopConfig
    bundle: str
    diffusion: Diffusion = field(default_factory=Diffusion)
    weighting: str = "constant"
    weighting_options: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        if self.data.class_column:
            raise ValueError("Diff-AE takes no classes; leave data.class_column out")


class DiffAEObjective(Objective):
    """The simple loss of eps(x_t, t, E(x_0)) (Diff-AE Eq. 6)."""

    def __init__(self, config: DiffAETrainConfig, shown: Tensor):
        super().__init__()
        self.config, self.schedule = config, config.diffusion.schedule
        self.model = DiffAE(DiffAEConfig(config.unet, config.encoder))
        self.register_buffer("shown", shown, persistent=False)

    def trained(self) -> dict[str, nn.Module]:
        return {"encoder": self.model.encoder, "unet": self.model.unet}

    def forward(self, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_0, noise (N, C, S, S), t (N,) -> the loss."""
        config = self.config
        x_t = self.schedule.noised(x_0, noise, t)
        output = self.model(x_t, t, self.model.encoder(x_0))
        weight = loss_weight(config.weighting, self.schedule, t, **config.weighting_options)
        return weighted_mse(config.diffusion.eps(output, x_t, t), noise, weight)

    def samples(self, device: torch.device) -> Tensor:
        """Training pictures, and below each what z alone brings back, from fixed random x_T."""
        x_0 = self.shown.to(device)
        return in_pairs_of_rows(x_0, random_decodings(self._denoiser(x_0), x_0, self.schedule))

    def _denoiser(self, x_0: Tensor) -> Denoiser:
        return family(self.model, self.config.diffusion).denoiser(self.model.encoder(x_0))

    def validate(self, x_0: Tensor) -> dict[str, float]:
        """Errors of what z brings back."""
        return decoding_errors(self._denoiser(x_0), x_0, self.schedule)


def main() -> None:
    """The command line."""
    config = parse(DiffAETrainConfig, __doc__)
    torch.manual_seed(config.loop.seed)  # of the first weights
    channels, size = config.unet.in_channels, config.unet.image_size
    if config.loop.dry_run:
        objective = DiffAEObjective(config, torch.empty(0))
        print(describe_run(config.loop, objective, (channels, size, size)))
        return
    dataset = training_set(config.data, size, channels)
    objective = DiffAEObjective(config, example_pictures(dataset))
    held_out = held_out_states(config.data, Pixels(channels), Sizes(size))
    seen = train(config.loop, objective, dataset, held_out)
    model, info = objective.model, {"diffae": {"pictures": seen}}
    trained = Bundle(model.unet, config.diffusion, model, framing=config.data.align, info=info)
    finish(trained, config.bundle, config.loop, lambda: keep_hashes(config.data, config.bundle))


if __name__ == "__main__":
    run_script(main)
