"""Train the decoder of a latent model's first stage further; the states stay as they are.

What was trained on the states (U-Net, gradient estimator, sliders) stays valid, and pictures get
sharper.

accelerate launch training/train_decoder.py --config training/configs/faces128/decoder.yaml
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdae_app.bundle import Bundle, load_bundle
from pdae_app.diffusion.solvers import ddim_step
from pdae_app.models.first_stage import PatchAutoencoder, Pixels
from training.adversary import Discriminator, adversarial_loss
from training.config import parse
from training.data import DataConfig, example_pictures, training_set
from training.dry_run import describe_run
from training.evaluation.overlap import keep_hashes
from training.loop import LoopConfig, finish, run_script, train
from training.losses import laplacian
from training.objective import Objective
from training.resuming import TrainingError
from training.samples import fixed_noise, in_pairs_of_rows
from training.states import Sizes, held_out_states


@dataclass(frozen=True)
class DecoderTrainConfig:
    """Everything that `train_decoder.py` takes.

    `model` is the bundle whose decoder is trained, `bundle` where the whole goes. Half of every
    batch decodes the pictures' own states, with noise of standard deviation `noise`; the other half
    what the frozen model paints, under the pictures' codes if it reads any, in `steps` steps from a
    time up to the part `softened` of the way to noise: such are the states of edits and new
    pictures. Their errors count half, for what is gone cannot be guessed. `edges` is the weight of
    the Laplacian's error beside that of the pixels, `adversarial` that of a discriminator.
    """

    model: str
    data: DataConfig
    loop: LoopConfig
    bundle: str
    noise: float = 0.05
    softened: float = 0.4
    steps: int = 1
    edges: float = 1.0
    adversarial: float = 0.03

    def __post_init__(self):
        if not 0 <= self.softened <= 1:
            raise ValueError(f"softened must be between 0 and 1, got {self.softened:g}")
        if self.steps < 1:
            raise ValueError(f"steps must be 1 or more, got {self.steps}")
        if self.loop.batch_size // self.loop.accumulate % 2:
            raise ValueError(
                "half of every batch is painted from softened states: loop.batch_size / "
                "loop.accumulate must be even"
            )


class DecoderObjective(Objective):
    """L1 on pixels and on their Laplacian, and an adversarial loss."""

    def __init__(self, config: DecoderTrainConfig, bundle: Bundle, shown: Tensor):
        super().__init__()
        self.config, self.network = config, bundle.first_stage
        self.network.requires_grad_(False).decoder.requires_grad_(True)
        self.bundle, self.frozen = bundle, bundle.family.model  # to the device with the rest
        self.frozen.requires_grad_(False)
        self.discriminator = None
        if config.adversarial:
            self.discriminator = Discriminator(self.network.picture_channels)
        self.register_buffer("shown", shown, persistent=False)

    def trained(self) -> dict[str, nn.Module]:
        both = {"decoder": self.network.decoder, "discriminator": self.discriminator}
        return {name: module for name, module in both.items() if module is not None}

    def train(self, mode: bool = True) -> "DecoderObjective":
        """The frozen networks stay in evaluation mode."""
        super().train(mode)
        self.frozen.eval()
        return self

    def draw(self, shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, ...]:
        """Noise for the states of pictures of this shape, and the times (N, steps) of painting."""
        sides = [side // self.network.factor for side in shape[2:]]
        noise = torch.randn(shape[0], self.network.state_channels, *sides, device=device)
        return noise, self._times(self.config.softened * torch.rand(shape[0])).to(device)

    def _times(self, parts: Tensor) -> Tensor:
        """The times (N, steps) that fall from parts (N,) of the way to noise, ever more slowly."""
        process, steps = self.bundle.process, self.config.steps
        left = 1 - torch.arange(steps) / steps
        times = (parts[:, None] * left.square()).flatten().tolist()
        return torch.tensor([min(process.at(t), process.most) for t in times]).view(-1, steps)

    def forward(self, pictures: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Pictures (N, C, S, S) in [-1, 1], noise like their states, t (N, steps) -> the loss."""
        half = len(pictures) // 2
        with torch.no_grad():
            states = self.network.encode(pictures)
            own = states[:half] + self.config.noise * noise[:half]
            soft = self.painted(pictures[half:], states[half:], noise[half:], t[half:])
        made = self.network.decode(torch.cat([own, soft]))
        error = made - pictures
        errors = error.abs() + self.config.edges * laplacian(error).abs()
        loss = (errors[:half].sum() + 0.5 * errors[half:].sum()) / errors.numel()
        if self.discriminator is None:
            return loss
        weight = self.config.adversarial
        return loss + adversarial_loss(self.discriminator, pictures, made, weight)

    def painted(self, pictures: Tensor, states: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the frozen model makes of noised states, by DDIM's steps at times t (N, steps)."""
        bundle, process, family = self.bundle, self.bundle.process, self.bundle.family
        reads = family.has_codes and family.reads_pictures
        denoiser = family.denoiser(bundle.codes(pictures)) if reads else family.unconditional()
        x, last = process.noised(states, noise, t[:, 0]), t[:, -1]
        for levels in pairwise(t.T):
            x, _ = ddim_step(process, x, denoiser(x, levels[0]), levels)
        return process.predict_x0(x, denoiser(x, last), last)

    def _reconstructions(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures through their own states, and through painted ones, always the same."""
        states = self.network.encode(pictures)
        t = self._times(torch.full((len(states),), self.config.softened / 2)).to(states.device)
        soft = self.painted(pictures, states, fixed_noise(states), t)
        return self.network.decode(states), self.network.decode(soft)

    def samples(self, device: torch.device) -> Tensor:
        """Training pictures, and below each what comes back; then the same of painted states."""
        pictures = self.shown.to(device)
        return torch.cat(
            [in_pairs_of_rows(pictures, made) for made in self._reconstructions(pictures)]
        )

    def validate(self, pictures: Tensor) -> dict[str, float]:
        """Peak signal-to-noise ratio in dB, and the Laplacian's size, 1 being the pictures' own."""
        figures = {}
        for name, made in zip(("own", "painted"), self._reconstructions(pictures), strict=True):
            error = F.mse_loss(made.clamp(-1, 1), pictures)
            edges = laplacian(made).abs().mean() / laplacian(pictures).abs().mean()
            figures[f"psnr_{name}"] = float(10 * torch.log10(4 / error))
            figures[f"edges_{name}"] = float(edges)
        return figures


def with_decoder(bundle: Bundle, first_stage: PatchAutoencoder, seen: int) -> Bundle:
    """The bundle with this first stage, and how many pictures its decoder has seen since."""
    earlier = bundle.info.get("decoder", {}).get("pictures", 0)
    info = bundle.info | {"decoder": {"pictures": earlier + seen}}
    return replace(bundle, first_stage=first_stage, info=info)


def main() -> None:
    """The command line."""
    config = parse(DecoderTrainConfig, __doc__)
    torch.manual_seed(config.loop.seed)  # of the first weights
    bundle = load_bundle(config.model)
    if not isinstance(bundle.first_stage, PatchAutoencoder):
        raise TrainingError(f"{config.model} has no decoder of ours to train")
    if bundle.unet.config.classes or bundle.family.unet is not bundle.unet:
        raise TrainingError(f"the U-Net of {config.model} knows no pictures without a condition")
    channels, size = bundle.first_stage.picture_channels, bundle.picture_size
    if config.loop.dry_run:
        objective = DecoderObjective(config, bundle, torch.empty(0))
        print(describe_run(config.loop, objective, (channels, size, size)))
        return
    dataset = training_set(config.data, size, channels)
    objective = DecoderObjective(config, bundle, example_pictures(dataset))
    held_out = held_out_states(config.data, Pixels(channels), Sizes(size))
    seen = train(config.loop, objective, dataset, held_out)
    finish(
        with_decoder(bundle, objective.network, seen),
        config.bundle,
        config.loop,
        lambda: keep_hashes(config.data, config.bundle, config.model),
    )


if __name__ == "__main__":
    run_script(main)
