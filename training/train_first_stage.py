"""Train the first stage of a latent diffusion model: pictures to small states and back.

accelerate launch training/train_first_stage.py --config training/configs/faces128/first_stage.yaml
"""

from dataclasses import dataclass, field
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from pdae_app.bundle import save_first_stage
from pdae_app.models.first_stage import PatchAutoencoder, PatchAutoencoderConfig, Pixels
from training.config import parse
from training.data import DataConfig, example_pictures, training_set
from training.dry_run import describe_run
from training.loop import LoopConfig, run_script, train
from training.losses import laplacian
from training.objective import Objective
from training.samples import in_pairs_of_rows
from training.states import Sizes, held_out_states


@dataclass(frozen=True)
class FirstStageTrainConfig:
    """Everything that `train_first_stage.py` takes.

    `noise` is the standard deviation of what is added to the states in training, so that the
    decoder forgives a diffusion model's small errors; `edges` the weight of the Laplacian's error
    beside that of the pixels; `measured` the number of pictures by which states are normalised.
    """

    data: DataConfig
    loop: LoopConfig
    bundle: str
    picture_size: int = 128
    network: PatchAutoencoderConfig = field(default_factory=PatchAutoencoderConfig)
    noise: float = 0.05
    edges: float = 1.0
    measured: int = 512


class FirstStageObjective(Objective):
    """L1 on pixels and on their Laplacian, through noised states of unit variance."""

    def __init__(self, config: FirstStageTrainConfig, shown: Tensor):
        super().__init__()
        self.config = config
        self.network = PatchAutoencoder(config.network)
        self.register_buffer("shown", shown, persistent=False)

    def trained(self) -> dict[str, nn.Module]:
        return {"network": self.network}

    def draw(self, shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, ...]:
        """Noise for the states of pictures of this shape."""
        network = self.config.network
        sides = [side // network.patch_size for side in shape[2:]]
        return (torch.randn(shape[0], network.state_channels, *sides, device=device),)

    def forward(self, pictures: Tensor, noise: Tensor) -> Tensor:
        """Pictures (N, C, S, S) in [-1, 1], noise like their states -> the loss."""
        error = self.returned(pictures, self.config.noise * noise) - pictures
        return error.abs().mean() + self.config.edges * laplacian(error).abs().mean()

    def returned(self, pictures: Tensor, noise: Tensor | float = 0.0) -> Tensor:
        """Pictures there and back, states normalised by the batch's own statistics."""
        states = self.network.encoder(pictures)
        mean, std = statistics(states)
        return self.network.decode((states - mean) / std + noise)

    def samples(self, device: torch.device) -> Tensor:
        """Training pictures, and below each what comes back."""
        pictures = self.shown.to(device)
        return in_pairs_of_rows(pictures, self.returned(pictures))

    def validate(self, pictures: Tensor) -> dict[str, float]:
        """Peak signal-to-noise ratio in dB, of held-out pictures together."""
        error = F.mse_loss(self.returned(pictures).clamp(-1, 1), pictures)
        return {"psnr": float(10 * torch.log10(4 / error))}


def statistics(states: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C, 1, 1) of states (N, C, H, W), channel by channel."""
    dims = (0, 2, 3)
    mean, std = states.mean(dims), states.std(dims).clamp(min=1e-6)
    return mean[:, None, None], std[:, None, None]


@torch.inference_mode()
def normalise(network: PatchAutoencoder, dataset: Dataset, count: int) -> None:
    """Set the network's statistics to those of the states of `count` pictures."""
    pictures = (dataset[i, i] for i in range(min(count, len(dataset))))
    device, states = network.mean.device, []
    while batch := list(islice(pictures, 16)):
        states.append(network.encoder(torch.stack(batch).to(device)))
    mean, std = statistics(torch.cat(states))
    network.mean.copy_(mean)
    network.std.copy_(std)


def main() -> None:
    """The command line."""
    config = parse(FirstStageTrainConfig, __doc__)
    torch.manual_seed(config.loop.seed)  # of the first weights
    channels, size = config.network.in_channels, config.picture_size
    if config.loop.dry_run:
        objective = FirstStageObjective(config, torch.empty(0))
        print(describe_run(config.loop, objective, (channels, size, size)))
        return
    dataset = training_set(config.data, size, channels)
    objective = FirstStageObjective(config, example_pictures(dataset))
    held_out = held_out_states(config.data, Pixels(channels), Sizes(size))
    train(config.loop, objective, dataset, held_out)
    normalise(objective.network.eval(), dataset, config.measured)
    save_first_stage(objective.network, config.bundle)
    print(f"wrote {config.bundle}")


if __name__ == "__main__":
    run_script(main)
