"""What a network's output means: one place turns every kind into eps, and shifts into G.

Official weights predict eps, and the shift is G itself. On folded pixels other targets train
better: v = alpha e - sigma x_0 (Salimans & Ho 2022) is bounded at both ends.
"""

from dataclasses import dataclass, field

from torch import Tensor

from pdae_app.diffusion.posterior import posterior_shift
from pdae_app.diffusion.process import LinearLogSNR, as_double, expand
from pdae_app.diffusion.schedule import Schedule

# Standard deviation of image data in [-1, 1], as EDM takes it.
DATA_STD = 0.5


@dataclass(frozen=True)
class Diffusion:
    """What a model was trained for: its process, and what its networks predict.

    `prediction`: "eps", "v", "x0", or "residual": x0_hat = c_skip x_t / alpha + c_out output, which
    is x0 where the noise is stronger than `skip_sigma` and passes over to eps below (EDM's
    preconditioning, Karras et al. 2022, Table 1, with a skip of its own width).
    `shift`: "G" (the paper's), "x0" (the shift's effect on x0_hat), or "v" (what it takes off v).
    """

    schedule: Schedule | LinearLogSNR = field(default_factory=Schedule)
    prediction: str = "eps"
    shift: str = "G"
    skip_sigma: float = 0.5

    def __post_init__(self):
        _known("prediction", self.prediction, ("eps", "v", "x0", "residual"))
        _known("shift", self.shift, ("G", "v", "x0"))

    def eps(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The noise that a network's `output` at (x_t, t) stands for.

        A learned variance in the output's second half of channels is left aside. In float64 where
        the schedule leaves no signal at its end.
        """
        output = output[:, : x_t.shape[1]]
        if self.schedule.needs_double:
            output, x_t = as_double(output), as_double(x_t)
        if self.prediction == "eps":
            return output
        if self.prediction == "x0":
            return self.schedule.predict_eps(x_t, output, t)
        if self.prediction == "residual":
            return self._residual_eps(output, x_t, t)
        a, s = self._coefficients(x_t, t)
        return s * x_t + a * output

    def _residual_eps(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Eps of x0_hat = c_skip x + c_out F, where x = x_t / alpha has noise of level sigma.

        c_skip = skip^2 / (sigma^2 + skip^2), and c_out gives F unit variance (EDM, Eq. 117 to 131).
        With x0_hat put in, eps = (x - x0_hat) / sigma = (1 - c_skip) / sigma x - c_out / sigma F,
        in which nothing grows without bound as sigma goes to 0.
        """
        alpha = self.schedule.alpha(t)
        sigma2 = (self.schedule.sigma(t) / alpha) ** 2
        leave = sigma2 / (sigma2 + self.skip_sigma**2)  # 1 - c_skip
        c_out = (leave**2 * DATA_STD**2 + (1 - leave) ** 2 * sigma2).sqrt()
        on_x = leave / (sigma2.sqrt() * alpha)
        return expand(on_x, x_t) * x_t - expand(c_out / sigma2.sqrt(), x_t) * output

    def gradient(self, output: Tensor, t: Tensor) -> Tensor:
        """G, the estimate of grad log p(z | x_t), that the shift network's `output` stands for.

        Defined by eps_hat = eps - sigma G, hence x0_hat = x0 + sigma^2 / alpha G.
        """
        if self.shift == "G":
            return output
        a, s = self._coefficients(output, t)
        return a / s * output if self.shift == "v" else a / (s * s) * output

    def shifted_eps(
        self, eps: Tensor, output: Tensor, t: Tensor, scale: float = 1.0, posterior: bool = False
    ) -> Tensor:
        """Eps - scale sqrt(1 - abar_t) G: the guided noise (PDAE Alg. 3).

        `posterior` takes the factor of PDAE's Alg. 1 and 2 in place of sqrt(1 - abar_t), which is
        sigma (see `posterior_shift`). The two differ below t of about 50 only; at t = 0 that one is
        zero.
        """
        factor = posterior_shift(self.schedule, t) if posterior else self.schedule.sigma(t)
        return eps - scale * expand(factor, eps) * self.gradient(output, t)

    def _coefficients(self, like: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        a, s = self.schedule.of_v(t)
        return expand(a, like), expand(s, like)


def _known(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"unknown {what} {value!r}; known: {', '.join(allowed)}")
