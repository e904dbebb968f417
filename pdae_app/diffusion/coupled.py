"""Edits without an inversion: the difference that a change of code makes, followed to no noise.

Two noised versions of one picture go down together: one is denoised under its own code; the other,
which carries the edit so far, under the changed one. Only their difference is integrated, so equal
codes change nothing, to the bit. As in FlowEdit (Kulikov et al. 2024, Alg. 1), written for noise
levels sigma = sqrt((1 - alpha_bar) / alpha_bar) in place of straight flows.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from pdae_app.diffusion.schedule import Schedule
from pdae_app.diffusion.solvers import Denoiser, predict_x0


def noised(x_0: Tensor, noise: Tensor, schedule: Schedule, t: int) -> Tensor:
    """x_t of q(x_t | x_0) (Ho et al. 2020, Eq. 4), all at one timestep."""
    alpha_bar = float(schedule.alpha_bar(t))
    return alpha_bar**0.5 * x_0 + (1 - alpha_bar) ** 0.5 * noise


def source_predictions(
    denoiser: Denoiser, x_0: Tensor, noise: Tensor, schedule: Schedule, levels: list[int]
) -> Tensor:
    """x0_hat of x_0 (1, C, H, W) noised to each level but the last: (K, C, H, W).

    Nothing of an edit enters: one picture's edits share them.
    """
    predictions = []
    for t in levels[:-1]:
        x_t = noised(x_0, noise, schedule, t)
        eps = denoiser(x_t, torch.full((len(x_t),), t, device=x_t.device))
        predictions.append(predict_x0(x_t, eps, float(schedule.alpha_bar(t))))
    return torch.cat(predictions)


def coupled_states(
    denoiser: Denoiser,
    x_0: Tensor,
    noise: Tensor,
    sources: Tensor,
    schedule: Schedule,
    levels: list[int],
    part: float | Tensor = 1.0,
) -> Iterator[dict]:
    """The edit of x_0 (N, C, H, W) under the denoiser of changed codes, through falling `levels`.

    With x = x_t / sqrt(alpha_bar), whose noise has the level sigma, the difference d of edit and
    picture follows the probability flow of both, by DDIM's step with r = sigma' / sigma:
    d' = r d + (1 - r) (x0_hat(edit) - x0_hat(picture)).

    Args:
        noise: (N, C, H, W), the same at all levels; sources (K, C, H, W) by `source_predictions`.
        part: of the difference that is wanted: above 1 it is exaggerated, a map that is 0 somewhere
            leaves the picture there.

    Yields:
        {step, steps, t, x, x0_hat}: the picture with the difference so far, and with the one that
        this step predicts.
    """
    difference = torch.zeros_like(x_0)
    for step, (t, t_next) in enumerate(pairwise(levels), 1):
        alpha_bar = float(schedule.alpha_bar(t))
        x_t = noised(x_0 + difference, noise, schedule, t)
        eps = denoiser(x_t, torch.full((len(x_t),), t, device=x_t.device))
        predicted = part * (predict_x0(x_t, eps, alpha_bar) - sources[step - 1])
        ratio = _sigma(schedule, t_next) / _sigma(schedule, t)
        difference = ratio * difference + (1 - ratio) * predicted
        yield {
            "step": step,
            "steps": len(levels) - 1,
            "t": t,
            "x": x_0 + difference,
            "x0_hat": x_0 + predicted,
        }


def _sigma(schedule: Schedule, t: int) -> float:
    alpha_bar = float(schedule.alpha_bar(t))
    return ((1 - alpha_bar) / alpha_bar) ** 0.5
