"""Inversion that solves each step for real: the x_t whose DDIM step leads to the x_s at hand.

DDIM inversion (PDAE Eq. 8) asks the network at the end of the step that it comes from, so its error
grows as the steps get fewer. Here each step is the fixed point of x_t = (x_s - b eps(x_t, t)) / a,
where x_s = a x_t + b eps(x_t, t) is the sampling step, as in AIDI (Pan et al. 2023, "Effective
Real Image Editing with Accelerated Iterative Diffusion Inversion"), accelerated by Anderson mixing
(Walker & Ni 2011). What the iteration leaves, the residual, is kept, so that decoding can add it
again: then the unchanged code gives the very picture back (Ju et al. 2024, "PnP Inversion", called
Direct Inversion).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pdae_app.diffusion.process import Process, Time, expand
from pdae_app.diffusion.solvers import Denoiser, State

# So many past iterates are mixed.
MEMORY = 3
# Of the mixing's normal equations, relative to their size: iterates nearly repeat themselves.
RIDGE = 1e-8
# A step whose residual grew is taken back, and half of the update tried.
DAMPING = 0.5


def ddim_coefficients(process: Process, t: Time, s: Time) -> tuple[float, float]:
    """A and b of the step x_s = a x_t + b eps(x_t, t) from level t to s (DDIM Eq. 12, sigma 0)."""
    a = process.alpha(s) / process.alpha(t)
    return a, process.sigma(s) - a * process.sigma(t)


def exact_states(
    denoiser: Denoiser,
    x_0: Tensor,
    process: Process,
    levels: list[Time],
    *,
    iterations: int = 5,
    tolerance: float = 1e-5,
    memory: int = MEMORY,
) -> Iterator[State]:
    """Inversion through `levels`, rising, each step solved with up to `iterations` evaluations.

    Args:
        x_0: images (N, C, H, W) at levels[0].
        tolerance: root mean square of the residual at which a step counts as solved.
        memory: so many past iterates are mixed; 1 is the iteration as it stands.

    Yields:
        States without x0_hat; the last one with the residuals: x_s minus what the sampling step
        makes of x_t, in the order of sampling, as `ddim_states` takes them.
    """
    # Nothing is known of eps at first; the picture itself, a little smaller, is near enough.
    x, eps = x_0, torch.zeros_like(x_0)
    residuals, evaluations, steps = [], 0, len(levels) - 1
    for step, (s, t) in enumerate(pairwise(levels), 1):
        a, b = ddim_coefficients(process, t, s)
        times = process.asked(t, x)
        solution = FixedPoint(x, a, b, iterations, tolerance, memory).solve(denoiser, times, eps)
        x, eps = solution.x, solution.eps
        residuals.append(solution.residual)
        evaluations += solution.evaluations
        left = torch.stack(residuals[::-1]) if step == steps else None
        yield State(step, steps, t, x, None, evaluations, left)


@dataclass
class Solution:
    """x_t with the eps found there, what remains of x_s, and what it cost."""

    x: Tensor
    eps: Tensor
    residual: Tensor
    evaluations: int


class FixedPoint:
    """One step: x = g(x) = (x_s - b eps(x, t)) / a, by Anderson mixing of the last iterates."""

    def __init__(self, x_s: Tensor, a: float, b: float, iterations: int, tolerance: float, memory):
        self.x_s, self.a, self.b = x_s, a, b
        self.iterations, self.tolerance, self.memory = iterations, tolerance, memory

    def solve(self, denoiser: Denoiser, times: Tensor, eps: Tensor) -> Solution:
        """From a guess of eps to the best iterate that `iterations` evaluations find."""
        x = self._next(eps)
        images, updates, best = [], [], None
        for evaluations in range(1, self.iterations + 1):
            eps = denoiser(x, times)
            image = self._next(eps)
            residual = self.x_s - (self.a * x + self.b * eps)
            if best is None or residual.square().mean() < best.residual.square().mean():
                best = Solution(x, eps, residual, evaluations)
            elif len(images) > 1:
                # It went astray: start the memory anew from the best, with a damped step.
                x = best.x + DAMPING * (self._next(best.eps) - best.x)
                images, updates = [], []
                continue
            if float(residual.square().mean().sqrt()) < self.tolerance:
                break
            images.append(image)
            updates.append(image - x)
            images, updates = images[-self.memory :], updates[-self.memory :]
            x = mixed(images, updates)
        best.evaluations = evaluations
        return best

    def _next(self, eps: Tensor) -> Tensor:
        return (self.x_s - self.b * eps) / self.a


def mixed(images: list[Tensor], updates: list[Tensor]) -> Tensor:
    """The combination of images g(x_k) whose updates g(x_k) - x_k cancel best, for each picture.

    Anderson acceleration with no damping (Walker & Ni 2011, Section 2): weights that sum to one and
    minimise the norm of the combined update.
    """
    if len(images) == 1:
        return images[0]
    f = torch.stack([update.flatten(1) for update in updates], dim=1)  # (N, m, D)
    gram = (f @ f.transpose(1, 2)).double()
    size = gram.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
    eye = torch.eye(len(images), dtype=gram.dtype, device=gram.device)
    ones = torch.ones(len(gram), len(images), 1, dtype=gram.dtype, device=gram.device)
    weights = torch.linalg.solve(gram + RIDGE * size.clamp(min=1e-300) * eye, ones)
    weights = weights / weights.sum(dim=1, keepdim=True)
    return sum(expand(w, image) * image for w, image in zip(weights.unbind(1), images, strict=True))
