"""Train a diffusion model: unconditional, the one that PDAE adapts, or told a class.

accelerate launch training/train_dpm.py --config training/configs/faces128/dpm.yaml
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from pdae_app.bundle import Bundle, load_bundle, load_first_stage
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.weighting import loss_weight
from pdae_app.families import family
from pdae_app.models.first_stage import FirstStage, Pixels
from pdae_app.models.unet import UNet, UNetConfig
from training.config import parse
from training.data import DataConfig
from training.dry_run import describe_run
from training.evaluation.overlap import keep_hashes
from training.loop import LoopConfig, finish, run_script, train
from training.losses import dpm_loss
from training.objective import Objective
from training.samples import decoded, one_step_error, random_decodings
from training.states import Sizes, held_out_states, state_set
from training.timesteps import Timesteps


@dataclass(frozen=True)
class DpmConfig:
    """Everything that `train_dpm.py` takes.

    With `data.class_column` the model is told the class of every picture; `unet.classes` is then
    counted from the data. `unet.learned_variance` trains the variance too. `first_stage` is the
    folder of `train_first_stage.py`, for a latent model: `unet` is then of the states' size and
    channels. `start` is a bundle with the same U-Net to go on from.
    """

    unet: UNetConfig
    data: DataConfig
    loop: LoopConfig
    bundle: str
    diffusion: Diffusion = field(default_factory=Diffusion)
    weighting: str = "constant"
    weighting_options: dict[str, float] = field(default_factory=dict)
    timesteps: Timesteps = field(default_factory=Timesteps)
    first_stage: str | None = None
    start: str | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one state."""
        return self.unet.in_channels, self.unet.image_size, self.unet.image_size


class DpmObjective(Objective):
    """The simple loss of a U-Net, and the bound where it learns its variance."""

    def __init__(self, config: DpmConfig, first_stage: FirstStage | None = None):
        super().__init__()
        self.config, self.schedule = config, config.diffusion.schedule
        self.timesteps = config.timesteps
        self.unet = UNet(config.unet)
        if config.start:
            self.unet.load_state_dict(load_bundle(config.start).unet.state_dict())
        self.first_stage = first_stage or Pixels(config.unet.in_channels)

    def trained(self) -> dict[str, nn.Module]:
        return {"unet": self.unet}

    def forward(self, x_0: Tensor, t: Tensor, noise: Tensor, classes: Tensor | None = None):
        """x_0, noise (N, C, S, S), t (N,), classes (N,) or None -> the loss."""
        config = self.config
        weight = loss_weight(config.weighting, self.schedule, t, **config.weighting_options)
        return dpm_loss(self.unet, config.diffusion, x_0, t, noise, weight=weight, classes=classes)

    def samples(self, device: torch.device) -> Tensor:
        """32 pictures from fixed noise, of the classes in turn where there are any."""
        known, classes = self.config.unet.classes, None
        if known:
            classes = torch.arange(32, device=device) % known
        denoiser = family(self.unet, self.config.diffusion).unconditional(classes)
        like = torch.empty(32, *self.config.shape, device=device)
        return decoded(self.first_stage, random_decodings(denoiser, like, self.schedule))

    def validate(self, x_0: Tensor) -> dict[str, float]:
        """The error of x0_hat in one step from t = T / 2."""
        if self.config.unet.classes:
            return {}
        denoiser = family(self.unet, self.config.diffusion).unconditional()
        return {"one_step_mse": one_step_error(denoiser, x_0, self.schedule)}


def seen_before(config: DpmConfig) -> int:
    """Pictures that the model had seen which this run went on from."""
    known = load_bundle(config.start).info if config.start else {}
    return known.get("dpm", {}).get("pictures", 0)


def main() -> None:
    """The command line."""
    config = parse(DpmConfig, __doc__)
    torch.manual_seed(config.loop.seed)  # of the first weights
    if config.loop.dry_run:
        by_class = bool(config.data.class_column)
        config = replace(config, unet=replace(config.unet, classes=1000)) if by_class else config
        shapes = (config.shape, ()) if by_class else (config.shape,)
        print(describe_run(config.loop, DpmObjective(config), *shapes))
        return
    channels, size, _ = config.shape
    kept = config.first_stage
    first_stage = load_first_stage(kept) if kept else Pixels(channels)
    sizes = Sizes(first_stage.factor * size)
    dataset = state_set(config.data, first_stage, sizes)
    config = replace(config, unet=replace(config.unet, classes=len(dataset.classes) or None))
    objective = DpmObjective(config, first_stage)
    seen = train(config.loop, objective, dataset, held_out_states(config.data, first_stage, sizes))
    trained = Bundle(
        objective.unet,
        config.diffusion,
        framing=config.data.align,
        classes=tuple(dataset.classes),
        info={"dpm": {"pictures": seen + seen_before(config)}},
        first_stage=first_stage,
    )
    finish(trained, config.bundle, config.loop, lambda: keep_hashes(config.data, config.bundle))


if __name__ == "__main__":
    run_script(main)
