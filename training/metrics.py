"""What a run writes down as it goes."""

import json
import math
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torchvision.utils import make_grid


class Metrics:
    """The loss as it goes: an average for the bar, lines for `metrics.jsonl` and the tracker."""

    def __init__(self, out: str, log_every: int, accelerator: Accelerator):
        self.out, self.log_every, self.accelerator = Path(out), log_every, accelerator
        self.average = math.nan
        self._unread: list[tuple[Tensor, Tensor]] = []
        self._losses: list[float] = []
        self._since = time.perf_counter()

    def add(self, loss: Tensor, norm: Tensor) -> None:
        """Take a step's loss and gradient norm, without waiting for the device."""
        self._unread.append((loss, norm))

    def read(self, step: int, seen: int, rate: float) -> tuple[int, str] | None:
        """Read what was added, and at intervals write a line.

        Args:
            step: steps done; `seen` pictures seen by all processes, `rate` the learning rate.

        Returns:
            The first step whose loss or gradient was not finite, counted from 0, and what became
            of which; or None.
        """
        table = torch.stack([torch.stack([a.float(), b.float()]) for a, b in self._unread])
        losses, norms = table.T.tolist()
        self._unread.clear()
        for i, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
            if not math.isfinite(loss):
                return step - len(losses) + i, f"loss became {loss}"
            # A scaler of half-precision gradients skips such a step, which is nothing unusual.
            if not math.isfinite(norm) and self.accelerator.scaler is None:
                return step - len(losses) + i, f"gradient's norm became {norm}"
            first = math.isnan(self.average)
            self.average = loss if first else 0.99 * self.average + 0.01 * loss
        self._losses += losses
        if step % self.log_every == 0:
            self._write(norms[-1], step, seen, rate)
        return None

    def _write(self, norm: float, step: int, seen: int, rate: float) -> None:
        now, losses = time.perf_counter(), self._losses
        line = {
            "step": step,
            "pictures": seen,
            "loss": sum(losses) / len(losses),
            "grad_norm": norm,
            "learning_rate": rate,
            "pictures_per_second": len(losses) * seen / step / (now - self._since),
        }
        self._losses, self._since = [], now
        self._append("metrics.jsonl", line)
        self.accelerator.log(line, step=step)

    def validation(self, figures: dict[str, float], step: int, seen: int) -> None:
        """A line of `validation.jsonl`; the time is not counted as training."""
        self._append("validation.jsonl", {"step": step, "pictures": seen} | figures)
        self.accelerator.log({f"held out/{k}": v for k, v in figures.items()}, step=step)
        self._since, self._losses = time.perf_counter(), []

    def _append(self, name: str, line: dict) -> None:
        if self.accelerator.is_main_process:
            self.out.mkdir(parents=True, exist_ok=True)
            with open(self.out / name, "a") as file:
                file.write(json.dumps(line) + "\n")

    def pictures(self, grid: Tensor, step: int) -> None:
        """Hand a grid of samples (N, C, S, S) in [0, 1] to the tracker, where it takes pictures."""
        whole = make_grid(grid, nrow=8).permute(1, 2, 0).numpy()
        for tracker in self.accelerator.trackers:
            layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images({"samples": whole[None]}, step=step, **layout)
