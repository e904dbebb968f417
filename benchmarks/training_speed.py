"""Pictures per second of training PDAE, against the plain way and against data that costs nothing.

python -m benchmarks.training_speed --config training/configs/faces128/pdae.yaml \\
    dpm=checkpoints/faces128 start=checkpoints/faces128 loop.mixed_precision=bf16

Three ways in one process, in turn, a few rounds; medians of the rounds:
- plain: the same networks and loss in eager PyTorch, float32, contiguous (NCHW), AdamW and EMA as
  textbooks write them, on tensors in memory;
- ours, on the same tensors;
- ours, on the configured pictures, through the data loader.
"""

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from itertools import cycle, islice

import torch
from torch.utils.data import Dataset

from benchmarks.tables import publish
from pdae_app.bundle import Bundle, load_bundle
from training.config import load
from training.loop import LoopConfig, Run
from training.states import Sizes, state_set
from training.train_pdae import PdaeObjective, PdaeTrainConfig

ROUNDS, STEPS = 11, 8


class InMemory(Dataset):
    """First items of a data set as tensors: states, and what the encoder reads where it differs."""

    def __init__(self, dataset: Dataset, count: int):
        items = [dataset[i, 0] for i in range(min(count, len(dataset)))]
        items = [item if isinstance(item, tuple) else (item,) for item in items]
        self.columns = [torch.stack(column) for column in zip(*items, strict=True)]

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, ...]:
        return tuple(column[key[0]] for column in self.columns)

    def batches(self, size: int) -> list[tuple[torch.Tensor, ...]]:
        """Whole batches."""
        parts = zip(*(column.split(size) for column in self.columns), strict=True)
        return [part for part in parts if len(part[0]) == size]


def fresh_objective(config: PdaeTrainConfig, frozen: Bundle) -> PdaeObjective:
    """Fresh networks with the configured weights."""
    torch.manual_seed(0)
    return PdaeObjective(config, frozen, torch.empty(0)).train()


class Plain:
    """The loop that one writes first."""

    def __init__(self, config: PdaeTrainConfig, frozen: Bundle, dataset: InMemory):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.objective = fresh_objective(config, frozen).to(
            self.device, memory_format=torch.contiguous_format
        )
        modules = self.objective.trained().values()
        self.parameters = [p for module in modules for p in module.parameters()]
        self.average = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, foreach=False)
        self.batches = cycle(dataset.batches(config.loop.batch_size))

    def __call__(self, steps: int) -> None:
        """So many optimiser steps."""
        for batch in islice(self.batches, steps):
            x_0, *read = (part.to(self.device) for part in batch)
            t = torch.randint(0, self.objective.schedule.timesteps, (len(x_0),), device=self.device)
            loss = self.objective(x_0, t, torch.randn_like(x_0), *read)
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            with torch.no_grad():
                for average, p in zip(self.average, self.parameters, strict=True):
                    average.mul_(0.999).add_(p, alpha=0.001)
            loss.item()


class Ours:
    """`training.loop` as the scripts use it, without its checkpoints."""

    def __init__(self, config: PdaeTrainConfig, frozen: Bundle, dataset: Dataset, out: str):
        loop: LoopConfig = replace(config.loop, out=out, pictures=10**9)
        self.run = Run(loop, fresh_objective(config, frozen))
        forward = torch.compile(self.run.objective) if loop.compile else self.run.objective
        self.forward, self.run.optimizer = self.run.accelerator.prepare(forward, self.run.optimizer)
        self.batches = iter(self.run.batches(dataset))

    def __call__(self, steps: int) -> None:
        """So many optimiser steps."""
        for batch in islice(self.batches, steps):
            parts = (batch,) if isinstance(batch, torch.Tensor) else batch
            loss, _ = self.run.step(self.forward, *parts)
        loss.item()


def main() -> None:
    """The command line: `--config FILE` and overrides, as `train_pdae.py` takes them."""
    arguments = sys.argv[1:]
    if len(arguments) < 2 or arguments[0] != "--config":
        sys.exit(__doc__)
    config = load(PdaeTrainConfig, arguments[1], arguments[2:])
    frozen = load_bundle(config.dpm)
    sizes = Sizes(frozen.picture_size, config.encoder.image_size)
    pictures = state_set(config.data, frozen.first_stage, sizes)
    tensors = InMemory(pictures, 4 * config.loop.batch_size)
    with tempfile.TemporaryDirectory() as out:
        ways = {
            "plain loop, float32, NCHW, tensors in memory": Plain(config, frozen, tensors),
            "ours, tensors in memory": Ours(config, frozen, tensors, out),
            "ours, pictures through the loader": Ours(config, frozen, pictures, out),
        }
        rates = measured(ways, config.loop.batch_size)
    plain, memory, loaded = rates.values()
    rows = [{"way": name, "pictures a second": rate} for name, rate in rates.items()]
    notes = f"Ours : plain = {memory / plain:.2f}; loader : memory = {loaded / memory:.3f}."
    publish("training_speed" + "_compiled" * config.loop.compile, rows, notes)


def measured(ways: dict, batch_size: int) -> dict[str, float]:
    """Median pictures per second of each way, their turns interleaved."""
    times = {name: [] for name in ways}
    for number in range(ROUNDS + 1):  # the first warms up
        for name, way in ways.items():
            start = time.perf_counter()
            way(STEPS)
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: STEPS * batch_size / statistics.median(t) for name, t in times.items()}


if __name__ == "__main__":
    main()
