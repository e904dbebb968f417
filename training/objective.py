"""What a script gives to the training loop."""

import torch
from torch import Tensor, nn

from training.timesteps import Timesteps


class Objective(nn.Module):
    """What a script gives to the loop.

    `trained()` are the modules, by name, whose parameters are trained, averaged and saved, as far
    as they ask for gradients;
    `draw(shape, device)` the random numbers of a batch of this shape; `forward(x_0, *drawn)` is the
    loss, with what else an item holds (a class, the picture of a state) as the last argument;
    `samples(device)` a grid of pictures (N, C, S, S) in [-1, 1]; `validate(*batch)` figures of
    held-out items by name. `timesteps` says which are learned most from.
    """

    timesteps = Timesteps()

    def trained(self) -> dict[str, nn.Module]:
        raise TypeError(f"{type(self).__name__} does not say what it trains")

    def draw(self, shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, ...]:
        """Timesteps (N,) and noise of this shape, for the objective's `schedule`."""
        t = self.timesteps.draw(self.schedule, shape[0], device)
        return t, torch.randn(shape, device=device)

    def samples(self, device: torch.device) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not draw samples")

    def decayed(self, name: str) -> bool:
        """Whether weight decay is for the parameter of this name; it is for all."""
        return True

    def validate(self, *batch: Tensor) -> dict[str, float]:
        """Nothing, unless a script knows better."""
        return {}
