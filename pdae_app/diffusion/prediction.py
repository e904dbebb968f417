"""What a network's output means: one place turns every kind into eps, and shifts into G.

Official weights predict eps, and the shift is G itself. On folded pixels other targets train
better: v = sqrt(abar) e - sqrt(1 - abar) x_0 (Salimans & Ho 2022) is bounded at both ends.
"""

from dataclasses import dataclass, field

from torch import Tensor

from pdae_app.diffusion.schedule import Schedule, expand

# Standard deviation of image data in [-1, 1], as EDM takes it.
DATA_STD = 0.5


@dataclass(frozen=True)
class Diffusion:
    """The process that a model was trained for: its schedule and what its networks predict.

    `prediction`: "eps", "v", "x0", or "residual": x0_hat = c_skip x_t / sqrt(abar) + c_out output,
    which is x0 where the noise is stronger than `skip_sigma` and passes over to eps below (EDM's
    preconditioning, Karras et al. 2022, Table 1, with a skip of its own width).
    `shift`: "G" (the paper's), or the shift's effect on v or x0.
    """

    schedule: Schedule = field(default_factory=Schedule)
    prediction: str = "eps"
    shift: str = "G"
    skip_sigma: float = 0.5

    def __post_init__(self):
        _known("prediction", self.prediction, ("eps", "v", "x0", "residual"))
        _known("shift", self.shift, ("G", "v", "x0"))

    def eps(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The noise that a network's `output` at (x_t, t) stands for.

        A learned variance in the output's second half of channels is left aside.
        """
        output = output[:, : x_t.shape[1]]
        if self.prediction == "eps":
            return output
        a, s = self._coefficients(x_t, t)
        if self.prediction == "v":
            return s * x_t + a * output
        if self.prediction == "residual":
            return self._residual_eps(output, x_t, t)
        return (x_t - a * output) / s

    def _residual_eps(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Eps of x0_hat = c_skip x + c_out F, where x = x_t / sqrt(abar) has noise of level sigma.

        c_skip = skip^2 / (sigma^2 + skip^2), and c_out gives F unit variance (EDM, Eq. 117 to 131).
        With x0_hat put in, eps = (x - x0_hat) / sigma = (1 - c_skip) / sigma x - c_out / sigma F,
        in which nothing grows without bound as sigma goes to 0.
        """
        alpha_bar = self.schedule.alpha_bar(t)
        sigma2 = (1 - alpha_bar) / alpha_bar
        leave = sigma2 / (sigma2 + self.skip_sigma**2)  # 1 - c_skip
        c_out = (leave**2 * DATA_STD**2 + (1 - leave) ** 2 * sigma2).sqrt()
        on_x = leave / (sigma2 * alpha_bar).sqrt()
        return expand(on_x, x_t) * x_t - expand(c_out / sigma2.sqrt(), x_t) * output

    def gradient(self, output: Tensor, t: Tensor) -> Tensor:
        """G, the estimate of grad log p(z | x_t), that the shift network's `output` stands for.

        Defined by eps_hat = eps - sqrt(1 - abar) G, hence x0_hat = x0 + (1 - abar) / sqrt(abar) G.
        """
        if self.shift == "G":
            return output
        a, s = self._coefficients(output, t)
        return a / s * output if self.shift == "v" else a / (s * s) * output

    def shifted_eps(
        self, eps: Tensor, output: Tensor, t: Tensor, scale: float = 1.0, posterior: bool = False
    ) -> Tensor:
        """Eps - scale sqrt(1 - abar_t) G: the guided noise (PDAE Alg. 3).

        `posterior` takes sqrt(alpha_t) (1 - abar_{t-1}) / sqrt(1 - abar_t) in place of
        sqrt(1 - abar_t), so that DDPM's mean moves by exactly sigma_t^2 G (PDAE Alg. 1 and 2).
        The two differ below t of about 50 only, and at t = 0 the posterior one is zero.
        """
        factor = self.posterior_factor(t) if posterior else (1 - self.schedule.alpha_bar(t)).sqrt()
        return eps - scale * expand(factor, eps) * self.gradient(output, t)

    def posterior_factor(self, t: Tensor) -> Tensor:
        """sqrt(alpha_t) (1 - abar_{t-1}) / sqrt(1 - abar_t): G's factor in PDAE Alg. 1. (N,)."""
        alpha_bar, previous = self.schedule.alpha_bar(t), self.schedule.alpha_bar(t - 1)
        return (alpha_bar / previous).sqrt() * (1 - previous) / (1 - alpha_bar).sqrt()

    def _coefficients(self, like: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha_bar = self.schedule.alpha_bar(t)
        return expand(alpha_bar.sqrt(), like), expand((1 - alpha_bar).sqrt(), like)


def _known(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"unknown {what} {value!r}; known: {', '.join(allowed)}")
