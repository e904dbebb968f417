"""The one training loop: accelerate, EMA, atomic checkpoints, sample grids, resume by running again.

Everything random in step k follows from (seed, k), and the learning rate from k; so a checkpoint is
weights, EMA, optimiser and k, and a resumed run is the uninterrupted one.
"""

import math
import os
import re
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
        """avg <- d avg + (1 - d) p with d = min(decay, (1 + step) / (10 + step))."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        average = list(self.average.values())
        torch._foreach_lerp_(average, [p.detach().float() for p in parameters.values()], weight)


class swapped:
    """Within this context, the parameters hold the averaged values."""

    def __init__(self, parameters: dict[str, Tensor], average: dict[str, Tensor]):
        self.parameters, self.average = parameters, average

    @torch.no_grad()
    def __enter__(self):
        self.saved = {name: p.detach().clone() for name, p in self.parameters.items()}
        for name, p in self.parameters.items():
            p.copy_(self.average[name])

    @torch.no_grad()
    def __exit__(self, *_):
        for name, p in self.parameters.items():
            p.copy_(self.saved[name])


def learning_rate(config: LoopConfig, seen: int) -> float:
    """The rate after `seen` pictures."""
    warm = min(1.0, (seen + 1) / config.warmup) if config.warmup else 1.0
    if config.decay == "constant":
        return warm * config.learning_rate
    if config.decay != "cosine":
        raise ValueError(f"decay must be 'constant' or 'cosine', got {config.decay!r}")
    cosine = (1 + math.cos(math.pi * min(1.0, seen / config.pictures))) / 2
    return warm * config.learning_rate * (0.1 + 0.9 * cosine)


def train(config: LoopConfig, objective: Objective, dataset: Dataset) -> None:
    """Train until `config.pictures` were seen; leaves the averaged weights in `objective`.

    To resume, run the same command again.
    """
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    objective.to(accelerator.device, memory_format=torch.channels_last)
    parameters = _parameters(objective)
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    ema = Ema(parameters, config.ema)
    start = _resume(config, parameters, optimizer, ema)
    run = torch.compile(objective) if config.compile else objective
    run, optimizer = accelerator.prepare(run, optimizer)
    batches = _batches(config, dataset, start, accelerator)
    _run(config, accelerator, run, objective, optimizer, ema, parameters, batches, start)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(ema.average[name])


def _parameters(objective: Objective) -> dict[str, nn.Parameter]:
    return {
        f"{part}.{name}": parameter
        for part, module in objective.trained().items()
        for name, parameter in module.named_parameters()
    }


def _batches(config, dataset, start, accelerator) -> DataLoader:
    world = accelerator.num_processes
    stop = math.ceil(config.pictures / (config.batch_size * world))
    sampler = SeededBatches(
        len(dataset), config.batch_size, config.seed, start, stop, accelerator.process_index, world
    )
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=config.workers,
        pin_memory=accelerator.device.type == "cuda",
        # A worker has one thread: the model needs the cores.
        worker_init_fn=lambda _: torch.set_num_threads(1),
    )


def _run(config, accelerator, run, objective, optimizer, ema, parameters, batches, start) -> None:
    rank, total = accelerator.process_index, config.batch_size * accelerator.num_processes
    bar = tqdm(
        total=config.pictures,
        initial=start * total,
        unit="pic",
        disable=not accelerator.is_main_process,
        mininterval=5,
    )
    objective.train()
    smoothed = None
    for step, x_0 in enumerate(batches, start):
        torch.manual_seed(hash((config.seed, step, rank)) & 0x7FFFFFFF)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step * total)
        x_0 = x_0.to(accelerator.device, memory_format=torch.channels_last, non_blocking=True)
        loss = run(x_0)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(parameters.values(), config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ema.update(parameters, step)
        value = loss.detach().item()
        if not math.isfinite(value):
            raise FloatingPointError(_diverged(config, step, value))
        smoothed = value if smoothed is None else 0.99 * smoothed + 0.01 * value
        bar.set_postfix(loss=f"{smoothed:.4f}", refresh=False)
        bar.update(total)
        if accelerator.is_main_process:
            _periodic(config, objective, optimizer, ema, parameters, step + 1, total)
    bar.close()


def _periodic(config, objective, optimizer, ema, parameters, steps, total) -> None:
    """Save and draw when their intervals are crossed, and at the end."""
    seen, before = steps * total, (steps - 1) * total
    last = seen >= config.pictures
    if last or seen // config.save_every > before // config.save_every:
        _save(config, parameters, optimizer, ema, steps)
    if last or seen // config.sample_every > before // config.sample_every:
        objective.eval()
        with torch.inference_mode(), swapped(parameters, ema.average):
            pictures = objective.samples(next(iter(parameters.values())).device)
        objective.train()
        path = Path(config.out) / "samples" / f"{seen:09d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(pictures.float().cpu().clamp(-1, 1) / 2 + 0.5, path, nrow=8)


def _diverged(config: LoopConfig, step: int, value: float) -> str:
    last = checkpoints(config.out)
    good = f"the last good checkpoint is {last[-1]}" if last else "no checkpoint was written yet"
    return f"the loss became {value} at step {step}; {good}. Lower loop.learning_rate and resume."


def checkpoints(out: str | Path) -> list[Path]:
    """The run's checkpoints, oldest first."""
    return sorted(p for p in Path(out).glob("checkpoint-*.pt") if re.fullmatch(r".*-\d+\.pt", p.name))


def _save(config, parameters, optimizer, ema, steps) -> None:
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    state = {
        "steps": steps,
        "model": {name: p.detach() for name, p in parameters.items()},
        "ema": ema.average,
        "optimizer": optimizer.state_dict(),
    }
    path = out / f"checkpoint-{steps:09d}.pt"
    partial = path.with_suffix(".tmp")
    with open(partial, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    for old in checkpoints(out)[: -config.keep]:
        old.unlink()


def _resume(config, parameters, optimizer, ema) -> int:
    """Load the newest checkpoint into everything; the number of steps done."""
    found = checkpoints(config.out)
    if not found:
        return 0
    state = torch.load(found[-1], map_location="cpu", weights_only=True)
    if state["model"].keys() != parameters.keys():
        raise ValueError(f"{found[-1]} belongs to another architecture; choose another loop.out")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state["model"][name])
            ema.average[name].copy_(state["ema"][name])
    optimizer.load_state_dict(state["optimizer"])
    print(f"resuming {found[-1]}")
    return state["steps"]
