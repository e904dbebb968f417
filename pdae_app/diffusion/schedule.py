"""Noise schedules: how much of the image is left at each timestep.

Timesteps are indices 0 .. T - 1; `CLEAN` (-1) stands for the image itself, alpha_bar = 1.
x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) e  (Ho et al. 2020, Eq. 4).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

CLEAN = -1


def linear_betas(timesteps: int, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """(T,) float64, evenly spaced (Ho et al. 2020, Section 4), rescaled so that any T fits."""
    scale = 1000 / timesteps
    return torch.linspace(scale * first, scale * last, timesteps, dtype=torch.float64)


def cosine_betas(timesteps: int, offset: float = 0.008, largest: float = 0.999) -> Tensor:
    """(T,) float64 with alpha_bar a squared cosine (Nichol & Dhariwal 2021, Eq. 17)."""

    def alpha_bar(u: float) -> float:
        return math.cos((u + offset) / (1 + offset) * math.pi / 2) ** 2

    betas = [
        1 - alpha_bar((i + 1) / timesteps) / alpha_bar(i / timesteps) for i in range(timesteps)
    ]
    return torch.tensor(betas, dtype=torch.float64).clamp(max=largest)


def constant_betas(timesteps: int, beta: float = 0.008) -> Tensor:
    """(T,) float64, all equal: the latent diffusion of Diff-AE and PDAE (Table 2)."""
    return torch.full((timesteps,), beta, dtype=torch.float64)


BETAS = {"linear": linear_betas, "cosine": cosine_betas, "constant": constant_betas}


@dataclass(frozen=True)
class Schedule:
    """A named schedule over `timesteps` steps."""

    kind: str = "linear"
    timesteps: int = 1000

    def __post_init__(self):
        if self.kind not in BETAS:
            raise ValueError(f"unknown schedule {self.kind!r}; known: {', '.join(BETAS)}")
        if self.timesteps < 1:
            raise ValueError(f"a schedule needs at least one timestep, got {self.timesteps}")

    @cached_property
    def betas(self) -> Tensor:
        """(T,) float64."""
        return BETAS[self.kind](self.timesteps)

    @cached_property
    def alpha_bars(self) -> Tensor:
        """(T + 1,) float64: alpha_bar at timesteps 0 .. T - 1, then 1 for CLEAN (index -1)."""
        products = torch.cumprod(1 - self.betas, dim=0)
        return torch.cat([products, torch.ones(1, dtype=torch.float64)])

    def alpha_bar(self, t: int | Tensor, like: Tensor | None = None) -> Tensor:
        """alpha_bar at timesteps `t` (any shape; CLEAN allowed), float64.

        With `like` (N, ...), the result is (N, 1, 1, ...) on its device and in its dtype.
        """
        values = self.alpha_bars[t] if isinstance(t, int) else _beside(self.alpha_bars, t)[t]
        return values if like is None else expand(values, like)

    def beta(self, t: Tensor) -> Tensor:
        """Beta at timesteps `t`, float64."""
        return _beside(self.betas, t)[t]

    def snr(self, t: int | Tensor) -> Tensor:
        """Signal-to-noise ratio alpha_bar / (1 - alpha_bar) (PDAE, Section 3.5), float64."""
        alpha_bar = self.alpha_bar(t)
        return alpha_bar / (1 - alpha_bar)

    def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t of q(x_t | x_0) (Ho et al. 2020, Eq. 4). x_0, noise (N, ...), t (N,)."""
        alpha_bar = self.alpha_bar(t)
        return expand(alpha_bar.sqrt(), x_0) * x_0 + expand((1 - alpha_bar).sqrt(), x_0) * noise


def _beside(table: Tensor, t: Tensor) -> Tensor:
    """`table` on the device of `t`, in float64 where the device has it (MPS has not)."""
    return table.to(t.device, torch.float32 if t.device.type == "mps" else torch.float64)


def expand(values: Tensor, like: Tensor) -> Tensor:
    """`values` () or (N,) shaped to multiply `like` (N, ...), in its dtype and on its device."""
    values = values.to(device=like.device, dtype=like.dtype)
    return values if values.ndim == 0 else values.view(-1, *[1] * (like.ndim - 1))


def spaced_timesteps(schedule: Schedule, steps: int, grid: str = "clean") -> list[int]:
    """The `steps` + 1 levels that a sampler of `steps` evaluations visits, ascending.

    grid "clean": evenly from CLEAN to T - 1; sampling ends at alpha_bar = 1. Our default.
    grid "pdae": the official PDAE code's int(linspace(0, T - 1, steps + 1)); the image counts as
    x at t = 0.
    """
    starts = {"clean": CLEAN, "pdae": 0}
    if grid not in starts:
        raise ValueError(f"unknown grid {grid!r}; known: {', '.join(starts)}")
    last = schedule.timesteps - 1
    if not 1 <= steps <= last:
        raise ValueError(f"steps must be between 1 and {last}, got {steps}")
    points = torch.linspace(starts[grid], last, steps + 1, dtype=torch.float64)
    levels = points.round() if grid == "clean" else points.trunc()
    return [int(level) for level in levels]
