"""Edits without an inversion: the difference that a change of code makes, followed to no noise.

Two noised versions of one picture go down together: one is denoised under its own code; the other,
which carries the edit so far, under the changed one. Only their difference is integrated, so equal
codes change nothing, to the bit. As in FlowEdit (Kulikov et al. 2024, Alg. 1), written for noise
levels sigma / alpha in place of straight flows.

A difference leaves the picture's own detail where it was: teeth show through closed lips, hair
through a bald head. Where the change is large, `Repaint` takes that detail away, and the model
paints anew.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from pdae_app.diffusion.process import Process, Time
from pdae_app.diffusion.solvers import Denoiser, State


@dataclass(frozen=True)
class Repaint:
    """Where the picture's own detail gives way: wholly where the two codes' predictions differ by
    `most`, not at all below `least`, as root mean squares over the channels of a state.
    """

    least: float
    most: float

    def __post_init__(self):
        if not 0 < self.least < self.most:
            raise ValueError("least must be above 0, and most above least")

    def mask(self, change: Tensor) -> Tensor:
        """Of a change (N, C, H, W) of predictions: (N, 1, H, W) in [0, 1], 1 to paint anew."""
        size = change.square().mean(1, keepdim=True).sqrt()
        smooth = F.avg_pool2d(F.pad(size, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        return ((smooth - self.least) / (self.most - self.least)).clamp(0, 1)


@dataclass(frozen=True)
class Coupling:
    """What the edits of one picture share.

    x_0 and noise (1, C, H, W), the same noise at all `levels`, which fall; `predictions`
    (K, C, H, W) are the picture's own x0_hat, by `coupling`, one for each level but the last.
    """

    x_0: Tensor
    noise: Tensor
    process: Process
    levels: list[Time]
    predictions: Tensor

    def to(self, device: torch.device) -> "Coupling":
        """The same on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("x_0", "noise", "predictions")}
        return replace(self, **moved)


def coupling(
    denoiser: Denoiser, x_0: Tensor, noise: Tensor, process: Process, levels: list[Time]
) -> Coupling:
    """Of the picture x_0 (1, C, H, W), whose own code the denoiser has."""
    predictions = []
    for t in levels[:-1]:
        x_t = process.noised(x_0, noise, t)
        predictions.append(process.predict_x0(x_t, denoiser(x_t, process.asked(t, x_t)), t))
    return Coupling(x_0, noise, process, levels, torch.cat(predictions))


def coupled_states(
    denoiser: Denoiser,
    shared: Coupling,
    count: int = 1,
    part: float | Tensor = 1.0,
    repaint: Repaint | None = None,
) -> Iterator[State]:
    """`count` edits of one picture under the denoiser of as many changed codes.

    With x = x_t / alpha, whose noise has the level sigma / alpha, the difference d of edit and
    picture follows the probability flow of both, by DDIM's step with r = level' / level:
    d' = r d + (1 - r) (x0_hat(edit) - x0_hat(picture)).

    Args:
        part: of the difference that is wanted: above 1 it is exaggerated, a map that is 0 somewhere
            leaves the picture there.
        repaint: where the picture's detail goes; what x_0 has beyond its own x0_hat then counts
            into the difference that is wanted. None keeps it everywhere.

    Yields:
        States whose x is the picture with the difference so far, and x0_hat that with the one which
        this step predicts: (count, C, H, W).
    """
    process, levels = shared.process, shared.levels
    x_0, noise = (x.expand(count, -1, -1, -1) for x in (shared.x_0, shared.noise))
    difference, mask = torch.zeros_like(x_0), torch.zeros_like(x_0[:, :1])
    for step, (t, t_next) in enumerate(pairwise(levels), 1):
        x_t = process.noised(x_0 + difference, noise, t)
        edit = process.predict_x0(x_t, denoiser(x_t, process.asked(t, x_t)), t)
        own = shared.predictions[step - 1]
        predicted = part * (edit - own)
        if repaint is not None:
            mask = torch.maximum(mask, repaint.mask(predicted))
            predicted = predicted - mask * (x_0 - own)
        ratio = _noise_level(process, t_next) / _noise_level(process, t)
        difference = ratio * difference + (1 - ratio) * predicted
        x, x0_hat = x_0 + difference, x_0 + predicted
        yield State(step, len(levels) - 1, t, x, x0_hat=x0_hat, evaluations=step)


def _noise_level(process: Process, t: Time) -> float:
    return process.sigma(t) / process.alpha(t)
