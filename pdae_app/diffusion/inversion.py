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

import torch
from torch import Tensor

from pdae_app.diffusion.process import Process, Time, as_double, expand
from pdae_app.diffusion.solvers import Denoiser, State, ddim_step

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
    ends: list[Time] | None = None,
) -> Iterator[State]:
    """Inversion through `levels`, rising, each step solved with up to `iterations` evaluations.

    Args:
        x_0: images (N, C, H, W) at levels[0].
        tolerance: root mean square of the residual at which a step counts as solved.
        memory: so many past iterates are mixed; 1 is the iteration as it stands.
        ends: where the steps lead, as in `ddim_states`.

    Yields:
        States without x0_hat; the last one with the residuals: x_s minus what the sampling step
        makes of x_t, in the order of sampling, as `ddim_states` takes them.
    """
    # Nothing is known of eps at first; the picture itself, a little smaller, is near enough.
    x, eps = x_0, torch.zeros_like(x_0)
    residuals, evaluations, steps = [], 0, len(levels) - 1
    for step, (s, t) in enumerate(zip(levels, ends or levels[1:], strict=False), 1):
        limits = {"iterations": iterations, "tolerance": tolerance, "memory": memory}
        solver = FixedPoint(x, process, (t, s), **limits)
        solution = solver.solve(denoiser, process.asked(t, x), eps)
        x, eps = solution.x, solution.eps
        residuals.append(solution.residual)
        evaluations += solution.evaluations
        left = torch.stack(residuals[::-1]) if step == steps else None
        yield State(step, steps, t, x, evaluations=evaluations, residuals=left)


@dataclass
class Solution:
    """x_t with the eps found there, what remains of x_s, and what it cost.

    `error` (N,) is the root mean square of each picture's residual.
    """

    x: Tensor
    eps: Tensor
    residual: Tensor
    error: Tensor
    evaluations: int = 1

    def replaced(self, other: "Solution", which: Tensor) -> "Solution":
        """With the pictures `which` (N,) of another."""

        def chosen(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(expanded(which, old), new, old)

        return Solution(
            chosen(other.x, self.x),
            chosen(other.eps, self.eps),
            chosen(other.residual, self.residual),
            chosen(other.error, self.error),
            other.evaluations,
        )


class FixedPoint:
    """One step: x = g(x) = (x_s - b eps(x, t)) / a, by Anderson mixing of the last iterates.

    Every picture of a batch goes its own way: what is found does not depend on its batch mates.
    """

    def __init__(
        self,
        x_s: Tensor,
        process: Process,
        levels: tuple[Time, Time],
        *,
        iterations: int,
        tolerance: float,
        memory: int,
    ):
        self.x_s, self.process, self.levels = x_s, process, levels
        self.a, self.b = ddim_coefficients(process, *levels)
        self.iterations, self.tolerance, self.memory = iterations, tolerance, memory

    def solve(self, denoiser: Denoiser, times: Tensor, eps: Tensor) -> Solution:
        """From a guess of eps to the best iterate that `iterations` evaluations find."""
        x, memory = self._next(eps), Iterates(self.memory)
        best = found = self._tried(denoiser, x, times)
        astray = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        while found.evaluations < self.iterations and not (best.error < self.tolerance).all():
            memory.add(self._next(found.eps), x, astray)
            x = memory.mixed()
            # Where it went astray: anew from the best, with a damped step.
            damped = best.x + DAMPING * (self._next(best.eps) - best.x)
            x = torch.where(expanded(astray, x), damped, x)
            found = self._tried(denoiser, x, times, found.evaluations + 1)
            better = (found.error < best.error) & ~(best.error < self.tolerance)
            astray = ~better & (memory.counts() > 1)
            best = best.replaced(found, better)
        return best

    def _tried(self, denoiser: Denoiser, x: Tensor, times: Tensor, evaluations=1) -> Solution:
        eps = denoiser(x, times)
        # By the sampler's own arithmetic, and their difference in float64, where it is exact: a
        # network of high frequencies would blow rounding up from step to step.
        residual = as_double(self.x_s) - ddim_step(self.process, x, eps, self.levels)[0]
        error = residual.flatten(1).square().mean(dim=1).sqrt()
        return Solution(x, eps, residual, error, evaluations)

    def _next(self, eps: Tensor) -> Tensor:
        return (self.x_s - self.b * eps) / self.a


class Iterates:
    """The last images g(x) and updates g(x) - x, and which pictures still use each."""

    def __init__(self, most: int):
        self.most = most
        self.images: list[Tensor] = []
        self.updates: list[Tensor] = []
        self.used: list[Tensor] = []

    def add(self, image: Tensor, x: Tensor, astray: Tensor) -> None:
        """One more iterate; pictures that went `astray` (N,) forget it and all before."""
        self.images = [*self.images, image][-self.most :]
        self.updates = [*self.updates, image - x][-self.most :]
        self.used = [used & ~astray for used in (*self.used, torch.ones_like(astray))][-self.most :]

    def counts(self) -> Tensor:
        """So many iterates each picture uses (N,)."""
        return torch.stack(self.used).sum(dim=0)

    def mixed(self) -> Tensor:
        """See `mixed`."""
        return mixed(self.images, self.updates, torch.stack(self.used, dim=1))


def mixed(images: list[Tensor], updates: list[Tensor], used: Tensor) -> Tensor:
    """The combination of images g(x_k) whose updates g(x_k) - x_k cancel best, for each picture.

    Anderson acceleration with no damping (Walker & Ni 2011, Section 2): weights that sum to one and
    minimise the norm of the combined update. `used` (N, m): which of them a picture takes.
    """
    f = torch.stack([update.flatten(1) for update in updates], dim=1)  # (N, m, D)
    gram = in_double(f @ f.transpose(1, 2))
    mask = used.to(gram)
    diagonal = gram.diagonal(dim1=1, dim2=2)
    size = (diagonal * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    # What is masked out stands in a row of its own, with nothing on the other side.
    gram = gram * mask[:, :, None] * mask[:, None, :]
    gram = gram + torch.diag_embed(RIDGE * size.clamp(min=1e-300)[:, None] * mask + (1 - mask))
    weights = torch.linalg.solve(gram, mask[:, :, None])
    weights = (weights / weights.sum(dim=1, keepdim=True)).to(f)
    return sum(expand(w, image) * image for w, image in zip(weights.unbind(1), images, strict=True))


def in_double(gram: Tensor) -> Tensor:
    """A small matrix in float64; on the CPU where its device has none (MPS)."""
    return (gram.cpu() if gram.device.type == "mps" else gram).double()


def expanded(which: Tensor, like: Tensor) -> Tensor:
    """`which` (N,) in the shape of `like` (N, ...), but for its sizes."""
    return which.view(-1, *[1] * (like.ndim - 1))
