"""Noise schedules: the discrete process, a table of how much of the image is left at each timestep.

Timesteps are indices 0 .. T - 1; `CLEAN` (-1) stands for the image itself, alpha_bar = 1, and T
(`Schedule.pure_noise`) for noise alone, alpha_bar = 0.
x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) e  (Ho et al. 2020, Eq. 4).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pdae_app.diffusion.process import Process, Time
from pdae_app.typed_config import check_sizes

# Between these betas rise, unless others are given (Ho et al. 2020, Section 4).
FIRST, LAST = 1e-4, 0.02
# What alpha_bar is at the end of a schedule without any signal there: alpha divides.
LEAST_ALPHA_BAR = 2.0**-32


def linear_betas(timesteps: int, first: float, last: float) -> Tensor:
    """(T,) float64, evenly spaced (Ho et al. 2020, Section 4)."""
    return torch.linspace(first, last, timesteps, dtype=torch.float64)


def scaled_linear_betas(timesteps: int, first: float, last: float) -> Tensor:
    """(T,) float64 whose roots are evenly spaced: "linear" in the code of latent diffusion."""
    return torch.linspace(first**0.5, last**0.5, timesteps, dtype=torch.float64) ** 2


def sigmoid_betas(timesteps: int, first: float, last: float) -> Tensor:
    """(T,) float64 along a sigmoid from -6 to 6 (GeoDiff; diffusers' "sigmoid")."""
    return torch.linspace(-6, 6, timesteps, dtype=torch.float64).sigmoid() * (last - first) + first


BOUNDED = {
    "linear": linear_betas,
    "scaled_linear": scaled_linear_betas,
    "sigmoid": sigmoid_betas,
}


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


def without_signal_at_the_end(betas: Tensor) -> Tensor:
    """Betas (T,) shifted and scaled so that alpha_bar ends at `LEAST_ALPHA_BAR`, its start kept.

    Lin et al. 2024, "Common Diffusion Noise Schedules and Sample Steps are Flawed", Alg. 1.
    """
    roots = torch.cumprod(1 - betas, dim=0).sqrt()
    first, last = float(roots[0]), float(roots[-1])
    alpha_bars = ((roots - last) * (first / (first - last))).square().clamp(min=LEAST_ALPHA_BAR)
    return 1 - alpha_bars / torch.cat([alpha_bars.new_ones(1), alpha_bars[:-1]])


SCHEDULES = (*BOUNDED, "cosine", "constant", "given")


@dataclass(frozen=True)
class Schedule(Process):
    """A named schedule over `timesteps` steps.

    `first` and `last` bound the betas of "linear", "scaled_linear" and "sigmoid"; without them
    1e-4 and 0.02, scaled so that any number of steps fits. `given` are all betas of the schedule
    "given". `zero_snr`: no signal is left at the last timestep, see `without_signal_at_the_end`.
    """

    kind: str = "linear"
    timesteps: int = 1000
    first: float | None = None
    last: float | None = None
    given: tuple[float, ...] = ()
    zero_snr: bool = False

    least = 0

    def __post_init__(self):
        if self.kind not in SCHEDULES:
            raise ValueError(f"unknown schedule {self.kind!r}; known: {', '.join(SCHEDULES)}")
        check_sizes(self, timesteps=100_000)
        bounds = (self.first, self.last)
        if bounds != (None, None) and (self.kind not in BOUNDED or None in bounds):
            raise ValueError(f"first and last, both, are for {', '.join(BOUNDED)}")
        if len(self.given) != (self.timesteps if self.kind == "given" else 0):
            raise ValueError("given must hold one beta a timestep, for the schedule 'given' alone")
        if self.zero_snr and self.timesteps < 2:
            raise ValueError("zero_snr needs at least two timesteps")
        if not all(0 < beta < 1 for beta in (*self.given, *(b for b in bounds if b is not None))):
            raise ValueError("betas must lie between 0 and 1, both ends excluded")

    @property
    def most(self) -> int:
        return self.timesteps - 1

    @property
    def needs_double(self) -> bool:
        return self.zero_snr

    @property
    def most_steps(self) -> int:
        return self.timesteps - 1

    @cached_property
    def betas(self) -> Tensor:
        """(T,) float64."""
        betas = self._named_betas()
        return without_signal_at_the_end(betas) if self.zero_snr else betas

    def _named_betas(self) -> Tensor:
        if self.kind == "given":
            return torch.tensor(self.given, dtype=torch.float64)
        if self.kind in BOUNDED:
            scale = 1000 / self.timesteps
            first = scale * FIRST if self.first is None else self.first
            last = scale * LAST if self.last is None else self.last
            return BOUNDED[self.kind](self.timesteps, first, last)
        return {"cosine": cosine_betas, "constant": constant_betas}[self.kind](self.timesteps)

    @cached_property
    def alpha_bars(self) -> Tensor:
        """(T + 2,) float64: alpha_bar at timesteps 0 .. T - 1, then 0 and, at index -1, 1."""
        products = torch.cumprod(1 - self.betas, dim=0)
        return torch.cat([products, torch.tensor([0.0, 1.0], dtype=torch.float64)])

    @cached_property
    def log_snrs(self) -> Tensor:
        """(T,) float64: the log signal-to-noise ratio at every timestep."""
        return self.alpha_bars[: self.timesteps].logit()

    @cached_property
    def _copies(self) -> dict[tuple[str, torch.device], Tensor]:
        return {}

    def _table(self, name: str, t: Tensor) -> Tensor:
        """A table on the device of `t`, in float64 where the device has it (MPS has not).

        It is copied there once: every copy would wait for the device.
        """
        key = name, t.device
        if key not in self._copies:
            dtype = torch.float32 if t.device.type == "mps" else torch.float64
            self._copies[key] = getattr(self, name).to(t.device, dtype)
        return self._copies[key]

    @property
    def pure_noise(self) -> int:
        """The level at which nothing is left of the image."""
        return self.timesteps

    def alpha_bar(self, t: Time | Tensor) -> float | Tensor:
        """alpha_bar = alpha^2 at timesteps `t`: of a number a number, of a tensor float64.

        Between timesteps the log signal-to-noise ratio is taken to be linear.
        """
        if not isinstance(t, Tensor):
            whole = int(t)
            return float(self.alpha_bars[whole] if whole == t else self._between(torch.tensor(t)))
        return self._between(t) if t.is_floating_point() else self._table("alpha_bars", t)[t]

    def _between(self, t: Tensor) -> Tensor:
        """alpha_bar at real t, those at CLEAN included."""
        known = self._table("log_snrs", t)
        below = t.floor().long().clamp(0, max(0, self.timesteps - 2))
        above = (below + 1).clamp(max=self.most)
        part = (t - below).clamp(0, 1).to(known.dtype)
        return torch.where(t < 0, 1.0, torch.lerp(known[below], known[above], part).sigmoid())

    def alpha(self, t: Time | Tensor) -> float | Tensor:
        return self.alpha_bar(t) ** 0.5

    def sigma(self, t: Time | Tensor) -> float | Tensor:
        return (1 - self.alpha_bar(t)) ** 0.5

    def snr(self, t: Time | Tensor) -> float | Tensor:
        """Signal-to-noise ratio alpha_bar / (1 - alpha_bar) (PDAE, Section 3.4)."""
        alpha_bar = self.alpha_bar(t)
        return alpha_bar / (1 - alpha_bar)

    def log_snr(self, t: Time | Tensor) -> float | Tensor:
        alpha_bar = self.alpha_bar(t)
        if isinstance(alpha_bar, Tensor):
            return alpha_bar.logit()
        if alpha_bar in (0, 1):
            return math.inf if alpha_bar else -math.inf
        return math.log(alpha_bar / (1 - alpha_bar))

    def log_snr_rate(self, t: Tensor) -> Tensor:
        """A step's fall, beta / ((1 - beta) (1 - alpha_bar)), as Ho et al. 2020, Eq. 12 has it."""
        beta = self.beta(t)
        return beta / ((1 - beta) * (1 - self.alpha_bar(t)))

    def beta(self, t: Tensor) -> Tensor:
        """Beta at timesteps `t`, float64."""
        return self._table("betas", t)[t]

    def previous(self, t: Time | Tensor) -> Time | Tensor:
        return t - 1

    def at(self, part: float) -> int:
        return round(part * self.timesteps)

    def even_in_log_snr(self, count: int, start: Time | None = None) -> list[int]:
        timesteps = self.timesteps if start is None else int(start) + 1
        if not 1 <= count <= timesteps:
            raise ValueError(f"steps must be between 1 and {timesteps}, got {count}")
        if count == 1:
            return [timesteps - 1]
        log_snr = self.log_snr(torch.arange(timesteps))
        wanted = torch.linspace(float(log_snr[0]), float(log_snr[-1]), count, dtype=torch.float64)
        nearest = (log_snr[None] - wanted[:, None]).abs().argmin(dim=1).tolist()
        levels: list[int] = []
        for i, level in enumerate(nearest):
            # Where the spacing is finer than timesteps are, each is taken once.
            lowest = levels[-1] + 1 if levels else 0
            levels.append(min(max(level, lowest), timesteps - count + i))
        return levels

    def drawn_times(self, count: int, device: torch.device) -> Tensor:
        return torch.randint(0, self.timesteps, (count,), device=device)

    def nearest_times(self, log_snr: Tensor) -> Tensor:
        """The first timesteps (N,) whose noise is no weaker."""
        known = -self.log_snr(torch.arange(self.timesteps, device=log_snr.device))
        found = torch.searchsorted(known.to(log_snr.dtype), -log_snr)
        return found.clamp(max=self.most)

    def all_times(self, device: torch.device) -> Tensor:
        return torch.arange(self.timesteps, device=device)

    def asked(self, t: Time, x: Tensor) -> Tensor:
        return torch.full((len(x),), max(t, 0), device=x.device)
