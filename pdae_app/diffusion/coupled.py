"""Edits without an inversion: the difference that a change of code makes, followed to no noise.

Two noised versions of one picture go down together: one is denoised under its own code; the other,
which carries the edit so far, under the changed one. Only their difference is integrated, so equal
codes change nothing, to the bit. As in FlowEdit (Kulikov et al. 2024, Alg. 1), written for noise
levels sigma / alpha in place of straight flows.

A difference leaves the picture's own detail where it was: teeth show through closed lips, hair
through a bald head. So a draft in a few steps comes first; where it changes much, `Repaint` takes
the picture's detail away, and the model paints anew, from the first step on. As in DiffEdit
(Couairon et al., ICLR 2023, Section 3.2), the mask is where two codes disagree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from pdae_app.diffusion.process import Process, Time
from pdae_app.diffusion.solvers import Denoiser, State
from pdae_app.drawing import MOST_TEMPERATURE


@dataclass(frozen=True)
class Repaint:
    """Where the picture's own detail gives way: wholly where a draft of the edit differs from it by
    `most`, not at all below `least`, as root mean squares over the channels of a state.

    `temperature` is the standard deviation of the noise: below 1 what is painted is smoother.
    """

    least: float
    most: float
    temperature: float = 1.0

    def __post_init__(self):
        if not 0 < self.least < self.most:
            raise ValueError("least must be above 0, and most above least")
        if not 0 < self.temperature <= MOST_TEMPERATURE:
            raise ValueError(f"temperature must be above 0, and {MOST_TEMPERATURE:g} at most")

    def mask(self, change: Tensor, readiness: float | Tensor = 1.0) -> Tensor:
        """Of a draft's change (N, C, H, W): (N, 1, H, W) in [0, 1], 1 to paint anew.

        It reaches two positions beyond the change, where the old outline stands. Changes count
        `readiness` times, a number or (N, 1, H, W).
        """
        size = readiness * _smoothed(change.square().mean(1, keepdim=True).sqrt())
        mask = ((size - self.least) / (self.most - self.least)).clamp(0, 1)
        return _smoothed(F.max_pool2d(mask, 3, stride=1, padding=1))


def _smoothed(x: Tensor) -> Tensor:
    """The mean of each position and its eight neighbours."""
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def draft_steps(steps: int) -> int:
    """How many of so many steps go into the draft: one of five."""
    return (steps + 3) // 5


@dataclass(frozen=True)
class Coupling:
    """What the edits of one picture share.

    x_0 and noise (1, C, H, W), the same noise at all `levels`, which fall; `predictions`
    (K, C, H, W) are the picture's own x0_hat, by `coupling`, one for each level but the last. A
    draft takes `drafted` steps.
    """

    x_0: Tensor
    noise: Tensor
    process: Process
    levels: list[Time]
    predictions: Tensor
    drafted: int = 0

    def to(self, device: torch.device) -> "Coupling":
        """The same on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("x_0", "noise", "predictions")}
        return replace(self, **moved)

    def draft(self) -> "Coupling":
        """The same at few of its levels, from the second on: at the first, codes differ little."""
        count = len(self.levels) - 1
        last = max(count - 2, 0)  # at the one after that there is no noise to speak of
        chosen = [min(i * last // self.drafted + 1, last) for i in range(self.drafted)]
        levels = [*(self.levels[i] for i in chosen), self.levels[-1]]
        return replace(self, levels=levels, predictions=self.predictions[chosen])


def coupling(
    denoiser: Denoiser,
    x_0: Tensor,
    noise: Tensor,
    process: Process,
    levels: list[Time],
    drafted: int = 0,
) -> Coupling:
    """Of the picture x_0 (1, C, H, W), whose own code the denoiser has."""
    predictions = []
    for t in levels[:-1]:
        x_t = process.noised(x_0, noise, t)
        predictions.append(process.predict_x0(x_t, denoiser(x_t, process.asked(t, x_t)), t))
    return Coupling(x_0, noise, process, levels, torch.cat(predictions), drafted=drafted)


def coupled_states(
    denoiser: Denoiser,
    shared: Coupling,
    count: int = 1,
    part: float | Tensor = 1.0,
    repaint: Repaint | None = None,
    *,
    readiness: float | Tensor = 1.0,
) -> Iterator[State]:
    """`count` edits of one picture under the denoiser of as many changed codes.

    Args:
        part: of the difference that is wanted: above 1 it is exaggerated, a map that is 0 somewhere
            leaves the picture there.
        repaint: where the picture's detail goes, by a draft whose steps come before the others.
            None keeps the detail everywhere, and makes no draft; so does `shared` without one.
        readiness: how many times a draft's changes count, see `Repaint.mask`.

    Yields:
        States whose x is the picture with the difference so far, and x0_hat that with the one which
        this step predicts: (count, C, H, W).
    """
    drafted = shared.drafted if repaint is not None else 0
    mask: float | Tensor = 0.0
    steps = drafted + len(shared.levels) - 1
    if drafted:
        for state in _followed(denoiser, shared.draft(), count, part):
            yield replace(state, steps=steps)
        # Once more, for the mask reaches beyond the draft, and into what is to stay.
        mask = repaint.mask(state.x - shared.x_0, readiness) * torch.as_tensor(part).clamp(max=1)
    for state in _followed(denoiser, shared, count, part, mask):
        done = drafted + state.step
        yield replace(state, step=done, steps=steps, evaluations=done)


def _followed(
    denoiser: Denoiser,
    shared: Coupling,
    count: int,
    part: float | Tensor,
    mask: float | Tensor = 0.0,
) -> Iterator[State]:
    """The states of edits whose own detail goes where the mask (N, 1, H, W) is 1.

    With x = x_t / alpha, whose noise has the level sigma / alpha, the difference d of edit and
    picture follows the probability flow of both, by DDIM's step (Song et al. 2021, Eq. 12) with
    r = level' / level: d' = r d + (1 - r) (part (x0_hat(edit) - x0_hat(picture)) - mask (x_0 -
    x0_hat(picture))). Where part and mask are 1, that is DDIM's step of the edit alone.
    """
    process, levels = shared.process, shared.levels
    x_0, noise = (x.expand(count, -1, -1, -1) for x in (shared.x_0, shared.noise))
    difference = torch.zeros_like(x_0)
    for step, (t, t_next) in enumerate(pairwise(levels), 1):
        x_t = process.noised(x_0 + difference, noise, t)
        edit = process.predict_x0(x_t, denoiser(x_t, process.asked(t, x_t)), t)
        own = shared.predictions[step - 1]
        predicted = part * (edit - own) - mask * (x_0 - own)
        ratio = _noise_level(process, t_next) / _noise_level(process, t)
        difference = ratio * difference + (1 - ratio) * predicted
        x, x0_hat = x_0 + difference, x_0 + predicted
        yield State(step, len(levels) - 1, t, x, x0_hat=x0_hat, evaluations=step)


def _noise_level(process: Process, t: Time) -> float:
    return process.sigma(t) / process.alpha(t)
