"""Noise schedules: how much of the image is left at each timestep.

Timesteps are indices 0 .. T - 1; `CLEAN` (-1) stands for the image itself, alpha_bar = 1, and T
(`Schedule.pure_noise`) for noise alone, alpha_bar = 0.
x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) e  (Ho et al. 2020, Eq. 4).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pdae_app.typed_config import check_sizes

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
        check_sizes(self, timesteps=100_000)

    @cached_property
    def betas(self) -> Tensor:
        """(T,) float64."""
        return BETAS[self.kind](self.timesteps)

    @cached_property
    def alpha_bars(self) -> Tensor:
        """(T + 2,) float64: alpha_bar at timesteps 0 .. T - 1, then 0 and, at index -1, 1."""
        products = torch.cumprod(1 - self.betas, dim=0)
        return torch.cat([products, torch.tensor([0.0, 1.0], dtype=torch.float64)])

    @property
    def pure_noise(self) -> int:
        """The level at which nothing is left of the image."""
        return self.timesteps

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


def spaced_timesteps(
    schedule: Schedule, steps: int, grid: str = "clean", inverting: bool = False
) -> list[int]:
    """The `steps` + 1 levels that a run of `steps` evaluations visits, ascending.

    grid "clean": evenly from CLEAN to T - 1; sampling ends at alpha_bar = 1. Our default.
    grid "log_snr": evenly in log(abar / (1 - abar)) between t = 0 and T - 1, and CLEAN: for few
    steps (Lu et al. 2022, DPM-Solver, Section 3.4).
    grid "pdae": the official PDAE code's int(linspace(0, T - 1, steps + 1)); the image counts as
    x at t = 0.
    grid "diffae": the official Diff-AE code's every k-th timestep from 0; sampling ends at
    alpha_bar = 1, inversion takes the image as x at t = 0 and ends at alpha_bar = 0.
    """
    if grid == "diffae":
        visited = _strided(schedule.timesteps, steps)
        return [*visited, schedule.pure_noise] if inverting else [CLEAN, *visited]
    last = schedule.timesteps - 1
    if not 1 <= steps <= last:
        raise ValueError(f"steps must be between 1 and {last}, got {steps}")
    if grid == "log_snr":
        return [CLEAN, *_even_in_log_snr(schedule, steps)]
    starts = {"clean": CLEAN, "pdae": 0}
    if grid not in starts:
        raise ValueError(
            f"unknown grid {grid!r}; known: {', '.join((*starts, 'log_snr', 'diffae'))}"
        )
    points = torch.linspace(starts[grid], last, steps + 1, dtype=torch.float64)
    levels = points.round() if grid == "clean" else points.trunc()
    return [int(level) for level in levels]


def levels_below(schedule: Schedule, steps: int, start: int) -> list[int]:
    """The `steps` + 1 levels from timestep `start` down to CLEAN, evenly in log SNR before that.

    Raises:
        ValueError: there are fewer timesteps than steps.
    """
    if not 1 <= steps <= start + 1:
        raise ValueError(f"steps must be between 1 and {start + 1}, got {steps}")
    return [*_even_in_log_snr(schedule, steps, start + 1)[::-1], CLEAN]


def _even_in_log_snr(schedule: Schedule, count: int, below: int | None = None) -> list[int]:
    """So many timesteps `below` one, ascending and all different, nearest to an even spacing."""
    timesteps = schedule.timesteps if below is None else below
    if count == 1:
        return [timesteps - 1]
    log_snr = schedule.snr(torch.arange(timesteps)).log()
    wanted = torch.linspace(float(log_snr[0]), float(log_snr[-1]), count, dtype=torch.float64)
    nearest = (log_snr[None] - wanted[:, None]).abs().argmin(dim=1).tolist()
    levels: list[int] = []
    for i, level in enumerate(nearest):
        # Where the spacing is finer than timesteps are, each is taken once.
        lowest = levels[-1] + 1 if levels else 0
        levels.append(min(max(level, lowest), timesteps - count + i))
    return levels


def jumping(levels: list[int], floor: int) -> list[int]:
    """The levels, either way, without those between `floor` and CLEAN: one last step from there.

    For networks that hardly denoise at low noise: their x0_hat at `floor` has no grain, and what
    the skipped steps would add is noise.
    """
    return [level for level in levels if level >= floor or level == CLEAN]


def _strided(timesteps: int, steps: int) -> list[int]:
    """Every k-th timestep, by the smallest k that leaves exactly `steps` of them."""
    counts = {len(range(0, timesteps, k)): k for k in range(timesteps, 0, -1)}
    if steps not in counts:
        near = sorted(sorted(counts, key=lambda count: abs(count - steps))[:4])
        raise ValueError(
            f"Diff-AE's official grid has no {steps} steps; take one of {', '.join(map(str, near))}"
        )
    return list(range(0, timesteps, counts[steps]))


@dataclass(frozen=True)
class Stepping:
    """How a code base steps: its grid (see `spaced_timesteps`), and x0_hat clamped or not.

    `multistep`: noise that was drawn, not inferred, is decoded by DPM-Solver++(2M), not by DDIM.
    """

    grid: str
    clip_x0: bool
    multistep: bool = False

    def levels(self, schedule: Schedule, steps: int, inverting: bool = False) -> list[int]:
        """The levels visited, falling for sampling, rising for inversion."""
        ascending = spaced_timesteps(schedule, steps, self.grid, inverting)
        return ascending if inverting else ascending[::-1]

    def tail(self, schedule: Schedule, steps: int, part: float) -> int:
        """The timestep below which the last `part` of a run goes unguided.

        By the official rule of N steps, counted from the image, the first int(part N). Where they
        are not even in t, the same timestep as if they were.
        """
        if not 0 < part < 1:
            return 0
        if self.grid == "log_snr":
            return round(part * schedule.timesteps)
        return self.levels(schedule, steps)[::-1][int(part * steps) + 1]


# "clean" and "quick" are ours: no clamp, so that inversion can be undone, and the image is at
# alpha_bar = 1. "quick" is for few steps.
STEPPINGS = {
    "clean": Stepping("clean", clip_x0=False),
    "quick": Stepping("log_snr", clip_x0=False, multistep=True),
    "pdae": Stepping("pdae", clip_x0=True),
    "diffae": Stepping("diffae", clip_x0=True),
}
