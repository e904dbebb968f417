"""The average of the trained parameters over the run, which is what is kept of it."""

from contextlib import contextmanager

import torch
from torch import Tensor


class Ema:
    """Exponential moving average of the trained parameters, in float32.

    It lies beside them, or on another device where their own has no room.
    """

    def __init__(
        self,
        parameters: dict[str, Tensor],
        decay: float,
        warmup: bool = True,
        device: str | None = None,
    ):
        self.decay, self.warmup, self.device = decay, warmup, device
        self.average = {name: self._on_device(p).clone() for name, p in parameters.items()}

    def _on_device(self, parameter: Tensor) -> Tensor:
        return parameter.detach().to(self.device or parameter.device, torch.float32)

    @torch.no_grad()
    def update(self, parameters: dict[str, Tensor], step: int) -> None:
        """Avg <- d avg + (1 - d) p; with warm-up, d = min(decay, (1 + step) / (10 + step))."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay
        weight = 1 - decay
        average = list(self.average.values())
        torch._foreach_lerp_(average, [self._on_device(p) for p in parameters.values()], weight)


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
