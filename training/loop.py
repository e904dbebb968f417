"""The one training loop: accelerate, EMA, atomic checkpoints, samples; resume by running again.

Everything random in step k follows from (seed, k), and the learning rate from k; so a checkpoint is
weights, EMA, optimiser and k, and a resumed run is the uninterrupted one.
"""

import math
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.utils import save_image
from tqdm import tqdm

from training.data import SeededBatches


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast. Counts are in pictures seen by all processes together.

    `decay`: "constant" or "cosine" (to a tenth, over the whole run), after `warmup` pictures.
    """

    out: str
    pictures: int
    batch_size: int = 32
    learning_rate: float = 1e-4
    warmup: int = 0
    decay: str = "constant"
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.9999
    seed: int = 0
    workers: int = 1
    mixed_precision: str = "no"
    compile: bool = False
    save_every: int = 10_000
    sample_every: int = 20_000
    keep: int = 2


class Objective(nn.Module):
    """What a script gives to the loop.

    `trained()` are the modules, by name, whose parameters are trained, averaged and saved;
    `forward(x_0)` is the loss; `samples(device)` a grid of pictures (N, 3, S, S) in [-1, 1].
    """

    def trained(self) -> dict[str, nn.Module]:
        raise TypeError(f"{type(self).__name__} does not say what it trains")

    def samples(self, device: torch.device) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not draw samples")


class Ema:
    """Exponential moving average of the trained parameters, in float32, with warm-up."""

    def __init__(self, parameters: dict[str, Tensor], decay: float):
        self.decay = decay
        self.average = {name: p.detach().float().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: dict[str, Tensor], step: int) -> None:
        """Avg <- d avg + (1 - d) p with d = min(decay, (1 + step) / (10 + step))."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        average = list(self.average.values())
        torch._foreach_lerp_(average, [p.detach().float() for p in parameters.values()], weight)


@contextmanager
def averaged(parameters: dict[str, Tensor], ema: Ema):
    """Within this context, the parameters hold the averaged values."""
    saved = {name: p.detach().clone() for name, p in parameters.items()}
    copy_into(parameters, ema.average)
    try:
        yield
    finally:
        copy_into(parameters, saved)


@torch.no_grad()
def copy_into(parameters: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    """Overwrite parameters by name."""
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


def learning_rate(config: LoopConfig, seen: int) -> float:
    """The rate after `seen` pictures."""
    warm = min(1.0, (seen + 1) / config.warmup) if config.warmup else 1.0
    if config.decay == "constant":
        return warm * config.learning_rate
    if config.decay != "cosine":
        raise ValueError(f"decay must be 'constant' or 'cosine', got {config.decay!r}")
    cosine = (1 + math.cos(math.pi * min(1.0, seen / config.pictures))) / 2
    return warm * config.learning_rate * (0.1 + 0.9 * cosine)


def checkpoints(out: str | Path) -> list[Path]:
    """The run's complete checkpoints, oldest first."""
    return sorted(
        p for p in Path(out).glob("checkpoint-*.pt") if re.fullmatch(r".*-\d+\.pt", p.name)
    )


def train(config: LoopConfig, objective: Objective, dataset: Dataset) -> None:
    """Train until `config.pictures` were seen; leaves the averaged weights in `objective`.

    To resume, run the same command again.
    """
    run = Run(config, objective)
    run.resume()
    run.train(dataset)
    copy_into(run.parameters, run.ema.average)


class Run:
    """One training run: weights, average and optimiser, and the number of steps done."""

    def __init__(self, config: LoopConfig, objective: Objective):
        self.config, self.objective = config, objective
        self.accelerator = Accelerator(mixed_precision=config.mixed_precision)
        objective.to(self.accelerator.device, memory_format=torch.channels_last)
        self.parameters = {
            f"{part}.{name}": parameter
            for part, module in objective.trained().items()
            for name, parameter in module.named_parameters()
        }
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.ema = Ema(self.parameters, config.ema)
        self.steps = 0
        self.total_batch = config.batch_size * self.accelerator.num_processes

    @property
    def seen(self) -> int:
        """Pictures seen so far, by all processes."""
        return self.steps * self.total_batch

    def resume(self) -> None:
        """Load the newest checkpoint, if there is one."""
        found = checkpoints(self.config.out)
        if not found:
            return
        state = torch.load(found[-1], map_location="cpu", weights_only=True)
        if state["model"].keys() != self.parameters.keys():
            raise ValueError(
                f"{found[-1]} belongs to another architecture; choose another loop.out"
            )
        copy_into(self.parameters, state["model"])
        copy_into(self.ema.average, state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]
        self.accelerator.print(f"resuming {found[-1]}")

    def train(self, dataset: Dataset) -> None:
        """All remaining steps, with a progress bar."""
        forward = torch.compile(self.objective) if self.config.compile else self.objective
        forward, self.optimizer = self.accelerator.prepare(forward, self.optimizer)
        self.objective.train()
        with self._bar() as bar:
            average = None
            for x_0 in self._batches(dataset):
                loss = self._step(forward, x_0)
                average = loss if average is None else 0.99 * average + 0.01 * loss
                bar.set_postfix(loss=f"{average:.4f}", refresh=False)
                bar.update(self.total_batch)
                if self.accelerator.is_main_process:
                    self._at_intervals()

    def _bar(self) -> tqdm:
        return tqdm(
            total=self.config.pictures,
            initial=self.seen,
            unit="pic",
            mininterval=5,
            disable=not self.accelerator.is_main_process,
        )

    def _batches(self, dataset: Dataset) -> DataLoader:
        sampler = SeededBatches(
            len(dataset),
            self.config.batch_size,
            self.config.seed,
            start=self.steps,
            stop=math.ceil(self.config.pictures / self.total_batch),
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
        )
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=self.config.workers,
            pin_memory=self.accelerator.device.type == "cuda",
            # A worker has one thread: the model needs the cores.
            worker_init_fn=lambda _: torch.set_num_threads(1),
        )

    def _step(self, forward: nn.Module, x_0: Tensor) -> float:
        """One optimiser step; the loss."""
        rank = self.accelerator.process_index
        torch.manual_seed(hash((self.config.seed, self.steps, rank)) & 0x7FFFFFFF)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.seen)
        device = self.accelerator.device
        loss = forward(x_0.to(device, memory_format=torch.channels_last, non_blocking=True))
        self.accelerator.backward(loss)
        value = loss.detach().item()
        if not math.isfinite(value):
            raise FloatingPointError(self._diverged(value))
        self.accelerator.clip_grad_norm_(self.parameters.values(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.parameters, self.steps)
        self.steps += 1
        return value

    def _diverged(self, value: float) -> str:
        last = checkpoints(self.config.out)
        good = f"the last good checkpoint is {last[-1]}" if last else "there is no checkpoint yet"
        return (
            f"the loss became {value} at step {self.steps}; {good}. "
            "Lower loop.learning_rate and run the command again."
        )

    def _at_intervals(self) -> None:
        """Save and draw when their intervals are crossed, and at the end."""
        if self._crossed(self.config.save_every):
            self.save()
        if self._crossed(self.config.sample_every):
            self.draw()

    def _crossed(self, every: int) -> bool:
        before = self.seen - self.total_batch
        return self.seen >= self.config.pictures or self.seen // every > before // every

    def save(self) -> None:
        """Write a checkpoint, whole or not at all, and prune old ones."""
        out = Path(self.config.out)
        out.mkdir(parents=True, exist_ok=True)
        state = {
            "steps": self.steps,
            "model": {name: p.detach() for name, p in self.parameters.items()},
            "ema": self.ema.average,
            "optimizer": self.optimizer.state_dict(),
        }
        path = out / f"checkpoint-{self.steps:09d}.pt"
        partial = path.with_suffix(".tmp")
        with open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        for old in checkpoints(out)[: -self.config.keep]:
            old.unlink()

    def draw(self) -> None:
        """Write a grid of samples from the averaged weights."""
        self.objective.eval()
        with torch.inference_mode(), averaged(self.parameters, self.ema):
            pictures = self.objective.samples(self.accelerator.device).float().cpu()
        self.objective.train()
        path = Path(self.config.out) / "samples" / f"{self.seen:09d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(pictures.clamp(-1, 1) / 2 + 0.5, path, nrow=8)
