"""Train the latent diffusion model: new codes, hence new pictures (Diff-AE; PDAE, Table 2).

accelerate launch training/train_latent_dpm.py --config training/configs/faces128/latent_dpm.yaml
"""

from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import pil_to_tensor

from pdae_app.bundle import Bundle, load_bundle
from pdae_app.diffusion.schedule import Schedule
from pdae_app.drawing import Drawing
from pdae_app.engine import Editor
from pdae_app.latents.directions import LatentSpace
from pdae_app.latents.prior import Prior
from pdae_app.models.latent_mlp import LatentMLP, LatentMLPConfig
from training.config import ConfigError, parse
from training.dry_run import describe_run
from training.encode_latents import load_latents
from training.evaluation.overlap import pass_on_hashes
from training.loop import LoopConfig, finish, run_script, train
from training.objective import Objective


@dataclass(frozen=True)
class LatentDpmConfig:
    """Everything that `train_latent_dpm.py` takes.

    `latents` is a file of `encode_latents.py`, `split` the part of it to learn from; `model` the
    bundle that made the codes, `bundle` the one to write: the same with a prior, and with
    `drawing`, how new pictures are drawn by default.
    """

    model: str
    latents: str
    bundle: str
    mlp: LatentMLPConfig
    loop: LoopConfig
    schedule: Schedule = field(default_factory=lambda: Schedule("constant"))
    split: str | None = None
    drawing: Drawing = field(default_factory=Drawing)


class Codes(Dataset):
    """Normalised codes (N, D), by the keys (index, seed) of the loop's batches."""

    def __init__(self, z: Tensor):
        self.z = z

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, key: tuple[int, int]) -> Tensor:
        return self.z[key[0]]


class LatentObjective(Objective):
    """L1 on the noise in normalised codes (Diff-AE, Appendix)."""

    def __init__(self, config: LatentDpmConfig, bundle: Bundle):
        super().__init__()
        self.mlp, self.schedule = LatentMLP(config.mlp), config.schedule
        self.bundle = replace(bundle, prior=Prior(self.mlp, self.schedule), drawing=config.drawing)

    def trained(self) -> dict[str, nn.Module]:
        return {"mlp": self.mlp}

    def forward(self, z_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """z_0, noise (N, D), t (N,) -> the loss."""
        z_t = self.schedule.noised(z_0, noise, t)
        return (self.mlp(z_t, t) - noise).abs().mean()

    def samples(self, device: torch.device) -> Tensor:
        """16 new pictures of fixed seeds."""
        self.bundle.model.to(device)
        editor = Editor(self.bundle, "training", device)
        steps = min(25, self.bundle.diffusion.schedule.most_steps)
        pictures = editor.generate(list(range(16)), steps=steps)
        return torch.stack([pil_to_tensor(picture) for picture in pictures]) / 127.5 - 1


def main() -> None:
    """The command line."""
    config = parse(LatentDpmConfig, __doc__)
    torch.manual_seed(config.loop.seed)  # of the first weights
    bundle = load_bundle(config.model)
    if not bundle.family.has_codes:
        raise ConfigError(f"{config.model} has no encoder")
    latents = load_latents(config.latents, bundle.model.encoder).of_split(config.split)
    if bundle.latents is None:  # the sliders are fitted later, on the same statistics
        nothing = torch.zeros(0, latents.z.shape[1])
        bundle.latents = LatentSpace(*latents.statistics(), nothing, nothing)
    objective = LatentObjective(config, bundle)
    if config.loop.dry_run:
        print(describe_run(config.loop, objective, (config.mlp.z_dim,)))
        return
    train(config.loop, objective, Codes(bundle.latents.normalize(latents.z)))
    seen = partial(pass_on_hashes, bundle.folder, config.bundle)
    finish(objective.bundle, config.bundle, config.loop, seen)


if __name__ == "__main__":
    run_script(main)
