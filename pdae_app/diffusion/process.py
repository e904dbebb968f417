"""Diffusion processes in (alpha, sigma): x_t = alpha(t) x_0 + sigma(t) eps.

Time is the process's own: timesteps 0 .. T - 1 of a table (`pdae_app.diffusion.schedule.Schedule`),
or real numbers in [0, 1] (`LinearLogSNR`). In all of them `CLEAN` stands for the picture itself.
Everything that samples, inverts or weighs a loss asks a process and knows no table.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# The time of the picture itself: alpha = 1, sigma = 0.
CLEAN = -1

Time = int | float


class Process(ABC):
    """What is left of the picture, and how much noise there is, at each time.

    Functions of a number give a number, those of a tensor (N,) a float64 tensor (N,).
    """

    @property
    def needs_double(self) -> bool:
        """Whether x0_hat can be found from eps in float64 only: alpha comes next to zero."""
        return False

    @property
    @abstractmethod
    def least(self) -> Time:
        """The time of the least noise that a network knows."""

    @property
    @abstractmethod
    def most(self) -> Time:
        """The time of the most noise that a network knows."""

    @property
    @abstractmethod
    def most_steps(self) -> int:
        """So many evaluations can a run have."""

    @abstractmethod
    def log_snr(self, t: Time | Tensor) -> float | Tensor:
        """log(alpha^2 / sigma^2); infinite at CLEAN."""

    @abstractmethod
    def log_snr_rate(self, t: Tensor) -> Tensor:
        """How fast log_snr falls at times t (N,)."""

    @abstractmethod
    def previous(self, t: Time | Tensor) -> Time | Tensor:
        """The time before t in ancestral sampling; t itself where steps may be ever finer."""

    @abstractmethod
    def at(self, part: float) -> Time:
        """The time at a part of the way from the picture (0) to noise (1)."""

    @abstractmethod
    def even_in_log_snr(self, count: int, start: Time | None = None) -> list[Time]:
        """So many different times from `least` to `start` (default `most`), evenly in log_snr.

        Raises:
            ValueError: there are not so many.
        """

    @abstractmethod
    def drawn_times(self, count: int, device: torch.device) -> Tensor:
        """Times (N,), uniform."""

    @abstractmethod
    def nearest_times(self, log_snr: Tensor) -> Tensor:
        """The times (N,) of the noise levels nearest to these (N,), from `least` to `most`."""

    def all_times(self, device: torch.device) -> Tensor | None:
        """All times (T,) of a network, where they can be counted."""
        return None

    @abstractmethod
    def asked(self, t: Time, x: Tensor) -> Tensor:
        """`t` for every one of x (N, ...), as networks take it; at CLEAN, `least`: (N,)."""

    def alpha(self, t: Time | Tensor) -> float | Tensor:
        """What is left of the picture."""
        return _root_of_sigmoid(self.log_snr(t))

    def sigma(self, t: Time | Tensor) -> float | Tensor:
        """The standard deviation of the noise."""
        return _root_of_sigmoid(-self.log_snr(t))

    def snr(self, t: Time | Tensor) -> float | Tensor:
        """Signal-to-noise ratio alpha^2 / sigma^2 (PDAE, Section 3.4)."""
        return (self.alpha(t) / self.sigma(t)) ** 2

    def of_v(self, t: Time | Tensor) -> tuple[float | Tensor, float | Tensor]:
        """(a, s) of v = a eps - s x, which a network may predict: alpha and sigma."""
        return self.alpha(t), self.sigma(t)

    def noised(self, x_0: Tensor, eps: Tensor, t: Time | Tensor) -> Tensor:
        """x_t of q(x_t | x_0) (Ho et al. 2020, Eq. 4). x_0, eps (N, ...), t a number or (N,)."""
        return expand(self.alpha(t), x_0) * x_0 + expand(self.sigma(t), x_0) * eps

    def predict_x0(self, x_t: Tensor, eps: Tensor, t: Time | Tensor) -> Tensor:
        """x0_hat = (x_t - sigma eps) / alpha (Song et al. 2021, DDIM, Eq. 9), in the dtype of x_t.

        Eps may be more precise.
        """
        x_0 = (x_t - expand(self.sigma(t), eps) * eps) / expand(self.alpha(t), eps)
        return x_0.to(x_t.dtype)

    def predict_eps(self, x_t: Tensor, x_0: Tensor, t: Time | Tensor) -> Tensor:
        """The noise in x_t if the picture was x_0; there must be some."""
        return (x_t - expand(self.alpha(t), x_t) * x_0) / expand(self.sigma(t), x_t)


def _root_of_sigmoid(value: float | Tensor) -> float | Tensor:
    if isinstance(value, Tensor):
        return value.sigmoid().sqrt()
    # Of two forms the one that cannot overflow.
    small = math.exp(-abs(value))
    return math.sqrt((1 if value >= 0 else small) / (1 + small))


@dataclass(frozen=True)
class LinearLogSNR(Process):
    """Variational diffusion's process: log_snr = -gamma(t), gamma linear in t from 0 to 1.

    Kingma et al. 2021, "Variational Diffusion Models", Section 3.2; the end points are those of
    DiffEnc (Nielsen et al. 2024). They may be tensors: see `LearnedLogSNR`. Where the end points
    were learned, times run from `least` to `most` in place of 0 and 1, so that the networks are
    told what they were told in training.

    `encoded` is DiffEnc's process: the networks know z_t = alpha x_t + sigma eps of the encoded
    picture x_t, which the generative model takes for alpha^2 x_0 (Eq. 17). So alpha^3 of the
    picture is left, and sigma is as ever: here alpha^2 + sigma^2 < 1.
    """

    gamma_0: float | Tensor = -13.3
    gamma_1: float | Tensor = 5.0
    least: float = 0.0
    most: float = 1.0
    encoded: bool = False

    most_steps = 1000

    def gamma(self, t: Time | Tensor) -> float | Tensor:
        """-log(alpha^2 / sigma^2) of what is noised; at CLEAN it is -infinity."""
        if not isinstance(t, Tensor):
            ends = _number(self.gamma_0), _number(self.gamma_1)
            return ends[0] + (ends[1] - ends[0]) * t if t != CLEAN else -math.inf
        t = as_double(t)
        return torch.where(t == CLEAN, -math.inf, self.gamma_0 + (self.gamma_1 - self.gamma_0) * t)

    def log_snr(self, t: Time | Tensor) -> float | Tensor:
        log_snr = -self.gamma(t)
        return log_snr + 4 * _log(_root_of_sigmoid(log_snr)) if self.encoded else log_snr

    def alpha(self, t: Time | Tensor) -> float | Tensor:
        alpha = _root_of_sigmoid(-self.gamma(t))
        return alpha**3 if self.encoded else alpha

    def sigma(self, t: Time | Tensor) -> float | Tensor:
        return _root_of_sigmoid(self.gamma(t))

    def of_v(self, t: Time | Tensor) -> tuple[float | Tensor, float | Tensor]:
        gamma = self.gamma(t)
        return _root_of_sigmoid(-gamma), _root_of_sigmoid(gamma)

    def log_snr_rate(self, t: Tensor) -> Tensor:
        rate = (self.gamma_1 - self.gamma_0) * torch.ones_like(as_double(t))
        return rate * (1 + 2 * self.sigma(t) ** 2) if self.encoded else rate

    def previous(self, t: Time | Tensor) -> Time | Tensor:
        return t

    def at(self, part: float) -> float:
        return self.least + (self.most - self.least) * part

    def even_in_log_snr(self, count: int, start: Time | None = None) -> list[float]:
        if count < 1:
            raise ValueError(f"steps must be at least 1, got {count}")
        start = self.most if start is None else start
        ends = self.log_snr(self.least), self.log_snr(start)
        even = self.nearest_times(torch.linspace(*ends, count, dtype=torch.float64)).tolist()
        return [*even[:-1], start]

    def drawn_times(self, count: int, device: torch.device) -> Tensor:
        return self.at(torch.rand(count, device=device))

    def nearest_times(self, log_snr: Tensor) -> Tensor:
        encoded_levels, log_snr = log_snr, log_snr.clone()
        # Newton's method for log_snr + 2 log alpha^2; rising and concave, so it cannot overshoot.
        for _ in range(20 if self.encoded else 0):
            error = log_snr + 2 * torch.nn.functional.logsigmoid(log_snr) - encoded_levels
            log_snr = log_snr - error / (1 + 2 * (-log_snr).sigmoid())
        t = (-log_snr - self.gamma_0) / (self.gamma_1 - self.gamma_0)
        return t.clamp(self.least, self.most)

    def asked(self, t: Time, x: Tensor) -> Tensor:
        t = self.least if t == CLEAN else t
        return torch.full((len(x),), float(t), device=x.device)


class LearnedLogSNR(nn.Module):
    """`LinearLogSNR` with learned end points: gamma(t) = gamma_0 + |slope| t."""

    def __init__(self, start: LinearLogSNR | None = None):
        super().__init__()
        start = start or LinearLogSNR()
        self.gamma_0 = nn.Parameter(torch.tensor(float(start.gamma_0)))
        self.slope = nn.Parameter(torch.tensor(float(start.gamma_1 - start.gamma_0)))

    def forward(self) -> LinearLogSNR:
        """The process, through which gradients reach the end points."""
        return LinearLogSNR(self.gamma_0, self.gamma_0 + self.slope.abs())

    def learned(self) -> LinearLogSNR:
        """The process with its end points as numbers."""
        process = self()
        return LinearLogSNR(_number(process.gamma_0), _number(process.gamma_1))


def _log(value: float | Tensor) -> float | Tensor:
    return value.log() if isinstance(value, Tensor) else math.log(value)


def _number(value: float | Tensor) -> float:
    return float(value.detach()) if isinstance(value, Tensor) else value


def as_double(t: Tensor) -> Tensor:
    """A tensor in float64 where its device has it (MPS has not), else in float32."""
    return t.to(torch.float32 if t.device.type == "mps" else torch.float64)


def expand(values: float | Tensor, like: Tensor) -> float | Tensor:
    """`values` (N,) shaped to multiply `like` (N, ...), in its dtype and on its device.

    A number stays a number.
    """
    if not isinstance(values, Tensor):
        return values
    values = values.to(device=like.device, dtype=like.dtype)
    return values if values.ndim == 0 else values.view(-1, *[1] * (like.ndim - 1))
