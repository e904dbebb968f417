"""Loss weightings lambda_t on the squared error of eps, side by side (PDAE, Section 3.5, Fig. 4).

Each is a function of a `Schedule` and timesteps t (N,), and returns (N,) float64.
"""

from torch import Tensor

from pdae_app.diffusion.schedule import Schedule


def constant(schedule: Schedule, t: Tensor) -> Tensor:
    """lambda_t = 1: the simple loss of DDPM (Ho et al. 2020, Eq. 14)."""
    return schedule.snr(t) * 0 + 1


def pdae(schedule: Schedule, t: Tensor, gamma: float = 0.1) -> Tensor:
    """(1 / (1 + SNR))^(1 - gamma) (SNR / (1 + SNR))^gamma: PDAE's redesigned weighting (Eq. 11)."""
    snr = schedule.snr(t)
    return (1 / (1 + snr)) ** (1 - gamma) * (snr / (1 + snr)) ** gamma


def p2(schedule: Schedule, t: Tensor, gamma: float = 1.0, k: float = 1.0) -> Tensor:
    """1 / (k + SNR)^gamma (Choi et al. 2022, "Perception Prioritized Training", Eq. 8)."""
    return 1 / (k + schedule.snr(t)) ** gamma


def variational(schedule: Schedule, t: Tensor) -> Tensor:
    """beta^2 / (2 sigma^2 alpha (1 - alpha_bar)): the variational bound's (Ho et al. 2020, Eq. 12).

    sigma^2 = beta, the upper choice of that paper, which stays finite at the first step.
    """
    beta = schedule.beta(t)
    return beta / (2 * (1 - beta) * (1 - schedule.alpha_bar(t)))


def velocity(schedule: Schedule, t: Tensor) -> Tensor:
    """1 / alpha_bar: the plain squared error of v (Salimans & Ho 2022, Appendix D)."""
    return 1 / schedule.alpha_bar(t)


def min_snr(schedule: Schedule, t: Tensor, gamma: float = 5.0) -> Tensor:
    """min(SNR, gamma) / SNR (Hang et al. 2023, "Min-SNR Weighting Strategy", Section 3.4)."""
    snr = schedule.snr(t)
    return snr.clamp(max=gamma) / snr


WEIGHTINGS = {
    "constant": constant,
    "pdae": pdae,
    "p2": p2,
    "variational": variational,
    "velocity": velocity,
    "min_snr": min_snr,
}


def loss_weight(name: str, schedule: Schedule, t: Tensor, **options: float) -> Tensor:
    """lambda_t of the weighting called `name`: (N,) float64."""
    if name not in WEIGHTINGS:
        raise ValueError(f"unknown weighting {name!r}; known: {', '.join(WEIGHTINGS)}")
    return WEIGHTINGS[name](schedule, t, **options)
