"""Grids: the noise levels that a run visits, named by their times, and how code bases step."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from pdae_app.diffusion.process import CLEAN, Process, Time
from pdae_app.diffusion.schedule import Schedule
from pdae_app.diffusion.spacing import Spacing


def spaced_levels(
    process: Process, steps: int, grid: str = "clean", inverting: bool = False
) -> list[Time]:
    """The `steps` + 1 levels that a run of `steps` evaluations visits, ascending.

    grid "clean": evenly in time from CLEAN; sampling ends at alpha = 1. Our default.
    grid "log_snr": evenly in log SNR between the least and the most noise, and CLEAN: for few
    steps (Lu et al. 2022, DPM-Solver, Section 3.4).
    grid "pdae": the official PDAE code's int(linspace(0, T - 1, steps + 1)); the image counts as
    x at t = 0.
    grid "diffae": the official Diff-AE code's every k-th timestep from 0; sampling ends at
    alpha_bar = 1, inversion takes the image as x at t = 0 and ends at alpha_bar = 0.

    Raises:
        ValueError: an unknown grid, one that the process does not have, or too many steps.
    """
    if grid not in GRIDS:
        raise ValueError(f"unknown grid {grid!r}; known: {', '.join(GRIDS)}")
    official = grid in OFFICIAL
    if official and not isinstance(process, Schedule):
        raise ValueError(f"the grid {grid!r} is of whole timesteps, which this process has not")
    if grid != "diffae" and not 1 <= steps <= process.most_steps:
        raise ValueError(f"steps must be between 1 and {process.most_steps}, got {steps}")
    return GRIDS[grid](process, steps, inverting)


def _clean(process: Process, steps: int, inverting: bool) -> list[Time]:
    if isinstance(process, Schedule):
        points = torch.linspace(CLEAN, process.most, steps + 1, dtype=torch.float64)
        return [int(level) for level in points.round()]
    return [CLEAN, *torch.linspace(process.least, process.most, steps).tolist()]


def _log_snr(process: Process, steps: int, inverting: bool) -> list[Time]:
    return [CLEAN, *process.even_in_log_snr(steps)]


def _pdae(schedule: Schedule, steps: int, inverting: bool) -> list[int]:
    points = torch.linspace(0, schedule.most, steps + 1, dtype=torch.float64)
    return [int(level) for level in points]


def _diffae(schedule: Schedule, steps: int, inverting: bool) -> list[int]:
    """Every k-th timestep, by the smallest k that leaves exactly `steps` of them."""
    timesteps = schedule.timesteps
    counts = {len(range(0, timesteps, k)): k for k in range(timesteps, 0, -1)}
    if steps not in counts:
        near = sorted(sorted(counts, key=lambda count: abs(count - steps))[:4])
        raise ValueError(
            f"Diff-AE's official grid has no {steps} steps; take one of {', '.join(map(str, near))}"
        )
    visited = list(range(0, timesteps, counts[steps]))
    return [*visited, schedule.pure_noise] if inverting else [CLEAN, *visited]


Grid = Callable[[Process, int, bool], list[Time]]
GRIDS: dict[str, Grid] = {"clean": _clean, "log_snr": _log_snr, "pdae": _pdae, "diffae": _diffae}
OFFICIAL = ("pdae", "diffae")


def levels_below(process: Process, steps: int, start: Time) -> list[Time]:
    """The `steps` + 1 levels from `start` down to CLEAN, evenly in log SNR before that.

    Raises:
        ValueError: there are fewer timesteps than steps.
    """
    return [*process.even_in_log_snr(steps, start)[::-1], CLEAN]


def jumping(levels: list[Time], floor: Time) -> list[Time]:
    """The levels, either way, without those between `floor` and CLEAN: one last step from there.

    For networks that hardly denoise at low noise: their x0_hat at `floor` has no grain, and what
    the skipped steps would add is noise.
    """
    return [t for t in levels if t >= floor or t == CLEAN]


@dataclass(frozen=True)
class Stepping:
    """How a code base steps: its grid (see `spaced_levels`), and x0_hat clamped or not.

    `multistep`: noise that was drawn, not inferred, is decoded by DPM-Solver++(2M), not by DDIM.
    """

    grid: str
    clip_x0: bool
    multistep: bool = False

    def levels(self, process: Process, steps: int, inverting: bool = False) -> list[Time]:
        """The levels visited, falling for sampling, rising for inversion."""
        ascending = spaced_levels(process, steps, self.grid, inverting)
        return ascending if inverting else ascending[::-1]

    def ends(self, process: Process, steps: int, inverting: bool = False) -> None:
        """Every step leads to the next level (compare `pdae_app.diffusion.spacing`)."""

    def tail(self, process: Process, steps: int, part: float) -> Time:
        """The time below which the last `part` of a run goes unguided.

        By the official rule of N steps, counted from the image, the first int(part N). Where they
        are not even in t, the same time as if they were.
        """
        if not 0 < part < 1:
            return 0
        if self.grid == "log_snr":
            return process.at(part)
        return self.levels(process, steps)[::-1][int(part * steps) + 1]


# "clean" and "quick" are ours: no clamp, so that inversion can be undone, and the image is at
# alpha = 1. "quick" is for few steps.
STEPPINGS = {
    "clean": Stepping("clean", clip_x0=False),
    "quick": Stepping("log_snr", clip_x0=False, multistep=True),
    "pdae": Stepping("pdae", clip_x0=True),
    "diffae": Stepping("diffae", clip_x0=True),
}
# The name of the stepping whose settings a bundle holds itself.
SPACING = "spacing"


def steppings(spacing: Spacing | None = None) -> dict[str, Stepping | Spacing]:
    """The known steppings by name, with that of a bundle's own where it has one."""
    return STEPPINGS if spacing is None else {**STEPPINGS, SPACING: spacing}
