"""Networks seen as denoisers eps(x, t): unconditional, shifted or conditioned by codes."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.process import Time
from pdae_app.diffusion.solvers import Denoiser
from pdae_app.models.layers import Features


@dataclass(frozen=True)
class Mix:
    """Codes z (N, D), each with its weight: a number, or (N, 1, 1, 1).

    What a network makes of them is blended by the weights at every step.
    """

    parts: tuple[tuple[Tensor, float | Tensor], ...]

    @classmethod
    def of(cls, codes: "Tensor | Mix") -> "Mix":
        """Codes alone have the weight one."""
        return codes if isinstance(codes, Mix) else cls(((codes, 1.0),))

    @property
    def codes(self) -> list[Tensor]:
        """The codes without their weights."""
        return [z for z, _ in self.parts]

    def to(self, device: torch.device) -> "Mix":
        """The same on a device."""
        return Mix(tuple((z.to(device), _moved(weight, device)) for z, weight in self.parts))

    def blended(self, outputs: Iterable[Tensor]) -> Tensor:
        """The weighted sum of one output a code."""
        weighted = zip(outputs, self.parts, strict=True)
        return sum(weight * output for output, (_, weight) in weighted)


def _moved(weight: float | Tensor, device: torch.device) -> float | Tensor:
    return weight.to(device) if isinstance(weight, Tensor) else weight


@dataclass(frozen=True)
class UNetDenoiser:
    """A U-Net alone; one that knows classes is told `classes` (N,)."""

    unet: nn.Module
    diffusion: Diffusion
    classes: Tensor | None = None

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return self.diffusion.eps(self.unet(x, t, y=self.classes), x, t)

    def with_variance(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Eps, and the learned variance's raw output (see `pdae_app.diffusion.variance`)."""
        output = self.unet(x, t, y=self.classes)
        return self.diffusion.eps(output, x, t), output[:, x.shape[1] :]


@dataclass(frozen=True)
class Start:
    """The frozen model's features and eps at one x and t, which no code changes."""

    t: float
    features: Features
    eps: Tensor

    @property
    def device(self) -> torch.device:
        """Where it was made."""
        return self.eps.device


@dataclass(frozen=True)
class ShiftedDenoiser:
    """eps_hat = eps - scale sqrt(1 - abar_t) G(x_t, z, t) (PDAE Alg. 3).

    A mix of codes shares one pass of the frozen U-Net; its shift is the weighted sum, which
    interpolates two trajectories (PDAE, Section 4.4, Fig. 7). Steps below the time `unguided_below`
    and steps at scale 0 never run G. `posterior`: see `Diffusion.shifted_eps`. The networks compute
    in `dtype`, everything else in that of x. `start`, where t is its own, stands for the pass of
    the frozen model. `times` (T, E) are the embeddings of all timesteps, where they are known.
    """

    model: nn.Module
    diffusion: Diffusion
    codes: Mix
    scale: float = 1.0
    unguided_below: Time = 0
    posterior: bool = False
    dtype: torch.dtype = torch.float32
    start: Start | None = None
    times: Tensor | None = None

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        features, eps = self.frozen(x, t)
        if self.scale == 0 or self._unguided(t):
            return eps
        output = self.codes.blended(shift.to(x.dtype) for shift in self._shifts(features))
        return self.diffusion.shifted_eps(eps, output, t, self.scale, self.posterior)

    def frozen(self, x: Tensor, t: Tensor) -> tuple[Features, Tensor]:
        """The frozen model's features, and its eps."""
        if self.start is not None and float(t[0]) == self.start.t:
            return self.start.features, self.start.eps
        features = self.model.unet.encoder(x.to(self.dtype), t, emb=_of(self.times, t))
        return features, self.diffusion.eps(self.model.unet.decoder(features).to(x.dtype), x, t)

    def _shifts(self, features: Features) -> tuple[Tensor, ...]:
        """One shift a code; of a single image all in one batch, which is faster."""
        codes = [z.to(self.dtype) for z in self.codes.codes]
        if len(codes) == 1 or len(features.emb) > 1:
            return tuple(self.model.shift(features, z) for z in codes)
        return self.model.shift(features.repeated(len(codes)), torch.cat(codes)).split(1)

    def _unguided(self, t: Tensor) -> bool:
        # Reading t waits for the device, so it is read only where there is an unguided tail.
        return self.unguided_below > 0 and float(t.max()) < self.unguided_below


@dataclass(frozen=True)
class ConditionedDenoiser:
    """eps(x_t, t, z) of a network that knows no picture without a code (Diff-AE, Section 3).

    A mix of codes is blended by the weighted sum of their outputs. Where PDAE has its unconditional
    model, the average code `neutral` (1, D) stands in: eps = eps(neutral) + scale (eps(z) -
    eps(neutral)); at scale 1 it is not run. A single code (1, D) is that of all pictures. `dtype`
    and `times` as in `ShiftedDenoiser`.
    """

    model: nn.Module
    diffusion: Diffusion
    codes: Mix
    scale: float = 1.0
    neutral: Tensor | None = None
    dtype: torch.dtype = torch.float32
    times: Tensor | None = None

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        output = self.codes.blended(self._asked(x, t, z) for z in self.codes.codes)
        if self.scale != 1:
            base = self._asked(x, t, self.neutral.to(x.device))
            output = base + self.scale * (output - base)
        return self.diffusion.eps(output, x, t)

    def _asked(self, x: Tensor, t: Tensor, z: Tensor) -> Tensor:
        emb = _of(self.times, t)
        z = z.expand(len(x), -1) if len(z) == 1 else z
        return self.model.unet(x.to(self.dtype), t, z.to(self.dtype), emb=emb).to(x.dtype)


def _of(times: Tensor | None, t: Tensor) -> Tensor | None:
    """The embeddings of timesteps t, if they are known."""
    return None if times is None else times[t]


@dataclass(frozen=True)
class WithFallback:
    """A fast denoiser, and an exact one that is asked again where the fast one overflowed."""

    fast: Denoiser
    exact: Denoiser

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        eps = self.fast(x, t)
        return eps if eps.isfinite().all() else self.exact(x, t)


def slerp(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """Spherical interpolation of two noise maps, from a (weight 0) to b (1) (Shoemake 1985).

    Equal or opposite maps have no unique arc; there it falls back to the straight line.
    """
    if weight in (0, 1):
        return (b if weight else a).clone()
    cosine = (a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-12)
    angle = torch.acos(cosine.clamp(-1, 1))
    if angle.sin() < 1e-4:
        return torch.lerp(a, b, weight)
    return (((1 - weight) * angle).sin() * a + (weight * angle).sin() * b) / angle.sin()
