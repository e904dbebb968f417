"""Train an unconditional diffusion model: the one that PDAE adapts.

accelerate launch training/train_dpm.py --config training/configs/faces64/dpm.yaml
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pdae_app.bundle import Bundle, save_bundle
from pdae_app.diffusion.denoisers import UNetDenoiser
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.schedule import spaced_timesteps
from pdae_app.diffusion.solvers import ddim
from pdae_app.diffusion.weighting import loss_weight
from pdae_app.models.unet import UNet, UNetConfig
from training.config import parse
from training.data import AugmentedSquares, DataConfig, load_pictures
from training.loop import LoopConfig, Objective, train
from training.losses import dpm_loss


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
        self.config = config
        self.unet = UNet(config.unet)

    def trained(self) -> dict[str, nn.Module]:
        return {"unet": self.unet}

    def forward(self, x_0: Tensor) -> Tensor:
        """x_0 (N, 3, S, S) in [-1, 1] -> the loss, at random timesteps."""
        schedule = self.config.diffusion.schedule
        t = torch.randint(0, schedule.timesteps, (len(x_0),), device=x_0.device)
        weight = loss_weight(self.config.weighting, schedule, t, **self.config.weighting_options)
        noise = torch.randn_like(x_0)
        return dpm_loss(self.unet, self.config.diffusion, x_0, t, noise, weight)

    def samples(self, device: torch.device) -> Tensor:
        """32 pictures from fixed noise, 50 DDIM steps."""
        size = self.config.unet.image_size
        x_T = torch.randn(32, 3, size, size, generator=torch.Generator().manual_seed(0))
        schedule = self.config.diffusion.schedule
        denoiser = UNetDenoiser(self.unet, self.config.diffusion)
        steps = min(50, schedule.timesteps - 1)
        return ddim(denoiser, x_T.to(device), schedule, spaced_timesteps(schedule, steps))


def main() -> None:
    """The command line."""
    config = parse(DpmConfig, __doc__)
    pictures = load_pictures(config.data, config.unet.image_size)
    objective = DpmObjective(config)
    train(config.loop, objective, AugmentedSquares(pictures, config.data, config.unet.image_size))
    info = {"dpm": {"pictures": config.loop.pictures}}
    align = config.data.align
    save_bundle(Bundle(objective.unet, config.diffusion, framing=align, info=info), config.bundle)


if __name__ == "__main__":
    main()
