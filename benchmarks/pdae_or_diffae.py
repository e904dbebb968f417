"""Pictures per second of training PDAE on a frozen model, and Diff-AE from scratch.

python -m benchmarks.pdae_or_diffae --sets faces32 celeba64

The same loop, precision and batch; PDAE's encoder is its paper's, Diff-AE's is its own paper's.
Pictures are noise in memory, weights are random.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch.utils.data import Dataset

from benchmarks.tables import publish
from pdae_app.bundle import Bundle
from pdae_app.models.unet import UNet
from training.config import load
from training.loop import Run
from training.objective import Objective
from training.train_diffae import DiffAEObjective, DiffAETrainConfig
from training.train_dpm import DpmConfig
from training.train_pdae import PdaeObjective, PdaeTrainConfig

CONFIGS = Path(__file__).parent.parent / "training" / "configs"


class Noise(Dataset):
    """Pictures that cost nothing."""

    def __init__(self, size: int):
        self.pictures = torch.rand(64, 3, size, size) * 2 - 1

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:
        return self.pictures[key[0]]


class Trained:
    """A run of the training loop, so many steps at a time."""

    def __init__(self, loop, objective: Objective, size: int, out: str):
        self.run = Run(replace(loop, out=out, pictures=10**9, workers=0), objective.train())
        self.forward, self.run.optimizer = self.run.accelerator.prepare(
            self.run.objective, self.run.optimizer
        )
        self.batches = iter(self.run.batches(Noise(size)))

    def __call__(self, steps: int) -> float:
        """Seconds that the steps take."""
        start = time.perf_counter()
        for x_0 in islice(self.batches, steps):
            loss, _ = self.run.step(self.forward, x_0)
        loss.item()
        return time.perf_counter() - start


def row(name: str, batch_size: int, steps: int, rounds: int, out: str) -> dict:
    """Both methods on one set's configurations, in turn."""
    dpm = load(DpmConfig, CONFIGS / name / "dpm.yaml")
    pdae = load(PdaeTrainConfig, CONFIGS / name / "pdae.yaml")
    diffae = load(DiffAETrainConfig, CONFIGS / name / "diffae.yaml")
    loop = replace(pdae.loop, batch_size=batch_size, mixed_precision="bf16")
    frozen, size = Bundle(UNet(dpm.unet), dpm.diffusion), dpm.unet.image_size
    ways = (
        Trained(loop, PdaeObjective(pdae, frozen, torch.empty(0)), size, out),
        Trained(loop, DiffAEObjective(diffae, torch.empty(0)), size, out),
    )
    times = [[way(steps) for way in ways] for _ in range(rounds + 1)][1:]
    ours, joint = (
        steps * batch_size / statistics.median(column) for column in zip(*times, strict=True)
    )
    return {"set": name, "PDAE (pictures/s)": ours, "Diff-AE": joint, "ratio": ours / joint}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=["faces32", "celeba64"])
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        rows = [
            row(name, arguments.batch, *((8, 5) if name == "faces32" else (1, 3)), out)
            for name in arguments.sets
        ]
    publish("pdae_or_diffae", rows, f"bfloat16, batches of {arguments.batch}.")


if __name__ == "__main__":
    main()
