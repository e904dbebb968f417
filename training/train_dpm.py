"""Train an unconditional diffusion model: the one that PDAE adapts.

accelerate launch training/train_dpm.py --config training/configs/faces64/dpm.yaml
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pdae_app.bundle import Bundle
from pdae_app.diffusion.denoisers import UNetDenoiser
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.weighting import loss_weight
from pdae_app.models.unet import UNet, UNetConfig
from training.config import parse
from training.data import AugmentedSquares, DataConfig, load_pictures
from training.loop import LoopConfig, Objective, describe_run, finish, run_script, train
from training.losses import dpm_loss
from training.samples import random_decodings


@dataclass(frozen=True)
class DpmConfig:
    """Everything that `train_dpm.py` takes."""

    unet: UNetConfig
    data: DataConfig
    loop: LoopConfig
    bundle: str
    diffusion: Diffusion = field(default_factory=Diffusion)
    weighting: str = "constant"
    weighting_options: dict[str, float] = field(default_factory=dict)


class DpmObjective(Objective):
    """The simple loss of an unconditional U-Net."""

    def __init__(self, config: DpmConfig):
        super().__init__()
        self.config, self.schedule = config, config.diffusion.schedule
        self.unet = UNet(config.unet)

    def trained(self) -> dict[str, nn.Module]:
        return {"unet": self.unet}

    def forward(self, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_0, noise (N, 3, S, S), t (N,) -> the loss."""
        config = self.config
        weight = loss_weight(config.weighting, self.schedule, t, **config.weighting_options)
        return dpm_loss(self.unet, config.diffusion, x_0, t, noise, weight)

    def samples(self, device: torch.device) -> Tensor:
        """32 pictures from fixed noise."""
        size = self.config.unet.image_size
        denoiser = UNetDenoiser(self.unet, self.config.diffusion)
        return random_decodings(
            denoiser, torch.empty(32, 3, size, size, device=device), self.schedule
        )


def main() -> None:
    """The command line."""
    config = parse(DpmConfig, __doc__)
    torch.manual_seed(config.loop.seed)  # of the first weights
    objective, size = DpmObjective(config), config.unet.image_size
    if config.loop.dry_run:
        print(describe_run(config.loop, objective))
        return
    dataset = AugmentedSquares(load_pictures(config.data, size), config.data, size)
    train(config.loop, objective, dataset)
    info = {"dpm": {"pictures": config.loop.pictures}}
    trained = Bundle(objective.unet, config.diffusion, framing=config.data.align, info=info)
    finish(trained, config.bundle, config.loop)


if __name__ == "__main__":
    run_script(main)
