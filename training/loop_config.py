"""How long and how fast a run trains: its configuration, optimiser and learning rate."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast. Counts are in pictures seen by all processes together.

    `decay`: "constant" or "cosine" (to a tenth, over the whole run), after `warmup` pictures.
    `clip` 0 clips no gradients. `ema_warmup` lets the average follow faster at first,
    `ema_device: cpu` keeps it out of a GPU's memory.
    `mixed_precision` is accelerate's ("no", "fp16", "bf16"); YAML reads a bare `no` as False.
    `gradient_checkpointing` keeps less for the backward pass and computes U-Nets' blocks twice.
    `batch_size` is a process's, in one optimiser step; `accumulate` cuts it in so many parts that
    go through the network one after another. `tracker` is one of accelerate's ("tensorboard",
    "wandb", …), beside `metrics.jsonl`, which is always written, a line every `log_every` steps.
    `dry_run`, `export` and `push_to_hub` are what the flags of these names set.
    """

    out: str
    pictures: int
    batch_size: int = 32
    learning_rate: float = 1e-4
    warmup: int = 0
    decay: str = "constant"
    weight_decay: float = 0.0
    beta2: float = 0.999
    clip: float = 1.0
    ema: float = 0.9999
    ema_warmup: bool = True
    ema_device: str | None = None
    seed: int = 0
    workers: int = 1
    mixed_precision: str | bool = "no"
    compile: bool = False
    gradient_checkpointing: bool = False
    save_every: int = 10_000
    sample_every: int = 20_000
    keep: int = 2
    accumulate: int = 1
    tracker: str | None = None
    log_every: int = 50
    dry_run: bool = False
    export: bool = False
    push_to_hub: str | None = None

    def __post_init__(self):
        if self.decay not in ("constant", "cosine"):
            raise ValueError(f"decay must be 'constant' or 'cosine', got {self.decay!r}")
        if self.accumulate < 1 or self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate {self.accumulate} must divide batch_size {self.batch_size}"
            )


def adamw(
    config: LoopConfig, parameters: dict[str, Tensor], decayed: Callable[[str], bool]
) -> torch.optim.AdamW:
    """The optimiser; parameters whose names are not `decayed` are a group without weight decay."""
    groups = [
        {"params": [p for name, p in parameters.items() if decayed(name) == decay], **options}
        for decay, options in ((True, {}), (False, {"weight_decay": 0.0}))
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )


def learning_rate(config: LoopConfig, seen: int) -> float:
    """The rate after `seen` pictures."""
    warm = min(1.0, (seen + 1) / config.warmup) if config.warmup else 1.0
    if config.decay == "constant":
        return warm * config.learning_rate
    cosine = (1 + math.cos(math.pi * min(1.0, seen / config.pictures))) / 2
    return warm * config.learning_rate * (0.1 + 0.9 * cosine)
