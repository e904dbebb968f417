"""How diffusers' DDIM scheduler steps, so that a converted model samples as its pipeline does.

Which timesteps are asked, and where a step leads, are two things there: a run of N steps out of T
asks the timesteps of `kind`, but always leads T // N timesteps down, whatever is asked next. The
three kinds are those of Lin et al. 2024, "Common Diffusion Noise Schedules and Sample Steps are
Flawed", Table 2.
"""

from dataclasses import dataclass

import numpy as np

from pdae_app.diffusion.process import CLEAN, Process, Time
from pdae_app.diffusion.schedule import Schedule
from pdae_app.diffusion.solvers import Clip
from pdae_app.typed_config import check_sizes

KINDS = ("leading", "trailing", "linspace")


@dataclass(frozen=True)
class Spacing:
    """The settings of a scheduler: `timestep_spacing`, `steps_offset` (of "leading" alone), …

    `to_clean`: the last step leads to alpha_bar = 1 (`set_alpha_to_one`), else to timestep 0.
    `clip`: x0_hat is clamped to [-clip, clip], eps stays the network's; 0 clamps nothing.
    """

    kind: str = "leading"
    offset: int = 0
    to_clean: bool = True
    clip: float = 0.0

    multistep = False

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"unknown spacing {self.kind!r}; known: {', '.join(KINDS)}")
        check_sizes(self, least=0, offset=1000, clip=1e6)

    @property
    def clip_x0(self) -> Clip | bool:
        """As the solvers take it."""
        return Clip(self.clip, rederive=False) if self.clip else False

    def levels(self, process: Process, steps: int, inverting: bool = False) -> list[Time]:
        """The `steps` + 1 levels: those that are asked, falling, and the end.

        When inverting, rising: those that steps come from, and the most noise.

        Raises:
            ValueError: a process without whole timesteps, or steps that it does not have.
        """
        asked = self._asked(process, steps)
        ends = self._ends(process, asked)
        return [*ends[::-1], asked[0]] if inverting else [*asked, ends[-1]]

    def ends(self, process: Process, steps: int, inverting: bool = False) -> list[Time]:
        """Where each of the steps leads."""
        asked = self._asked(process, steps)
        return asked[::-1] if inverting else self._ends(process, asked)

    def tail(self, process: Process, steps: int, part: float) -> Time:
        """The time below which the last `part` of a run goes unguided."""
        if not 0 < part < 1:
            return 0
        return self.levels(process, steps)[::-1][int(part * steps) + 1]

    def _asked(self, process: Process, steps: int) -> list[int]:
        if not isinstance(process, Schedule):
            raise ValueError("a spacing is of whole timesteps, which this process has not")
        most = process.timesteps
        if not 1 <= steps <= most:
            raise ValueError(f"steps must be between 1 and {most}, got {steps}")
        if self.kind == "linspace":
            asked = np.linspace(0, most - 1, steps).round()[::-1]
        elif self.kind == "leading":
            asked = (np.arange(steps) * (most // steps))[::-1] + self.offset
        else:
            asked = np.arange(most, 0, -most / steps).round()[:steps] - 1
        if asked[0] >= most:
            raise ValueError(
                f"{steps} steps with an offset of {self.offset} begin beyond the last timestep, "
                f"{most - 1}; take fewer"
            )
        return [int(t) for t in asked]

    def _ends(self, process: Schedule, asked: list[int]) -> list[Time]:
        last = CLEAN if self.to_clean else 0
        down = (t - process.timesteps // len(asked) for t in asked)
        return [t if t >= 0 else last for t in down]
