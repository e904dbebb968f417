"""What a run writes down as it goes."""

import json
import time
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor
from torchvision.utils import make_grid


class Metrics:
    """The loss as it goes: an average for the bar, lines for `metrics.jsonl` and the tracker."""

    def __init__(self, out: str, log_every: int, accelerator: Accelerator):
        self.out, self.log_every, self.accelerator = Path(out), log_every, accelerator
        self.average: float | None = None
        self._losses: list[float] = []
        self._since = time.perf_counter()

    def add(self, loss: float, norm: float, step: int, seen: int, rate: float) -> None:
        """Take a step's loss, gradient norm and learning rate; sometimes write a line.

        Args:
            seen: pictures seen by all processes after this step.
        """
        self.average = loss if self.average is None else 0.99 * self.average + 0.01 * loss
        self._losses.append(loss)
        if step % self.log_every or not self.accelerator.is_main_process:
            return
        now = time.perf_counter()
        line = {
            "step": step,
            "pictures": seen,
            "loss": sum(self._losses) / len(self._losses),
            "grad_norm": norm,
            "learning_rate": rate,
            "pictures_per_second": len(self._losses) * seen / step / (now - self._since),
        }
        self._losses, self._since = [], now
        self.out.mkdir(parents=True, exist_ok=True)
        with open(self.out / "metrics.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
        self.accelerator.log(line, step=step)

    def pictures(self, grid: Tensor, step: int) -> None:
        """Hand a grid of samples (N, 3, S, S) in [0, 1] to the tracker, where it takes pictures."""
        whole = make_grid(grid, nrow=8).permute(1, 2, 0).numpy()
        for tracker in self.accelerator.trackers:
            layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images({"samples": whole[None]}, step=step, **layout)
