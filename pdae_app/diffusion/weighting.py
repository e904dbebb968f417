"""Loss weightings lambda_t on the squared error of eps, side by side (PDAE, Section 3.4, Fig. 4).

Each is a function of a process and times t (N,), and returns (N,) float64.
"""

from torch import Tensor

from pdae_app.diffusion.process import Process


def constant(process: Process, t: Tensor) -> Tensor:
    """lambda_t = 1: the simple loss of DDPM (Ho et al. 2020, Eq. 14)."""
    return process.log_snr(t) * 0 + 1


def pdae(process: Process, t: Tensor, gamma: float = 0.1) -> Tensor:
    """(1 / (1 + SNR))^(1 - gamma) (SNR / (1 + SNR))^gamma: PDAE's redesigned weighting (Eq. 10)."""
    snr = process.snr(t)
    return (1 / (1 + snr)) ** (1 - gamma) * (snr / (1 + snr)) ** gamma


def p2(process: Process, t: Tensor, gamma: float = 1.0, k: float = 1.0) -> Tensor:
    """1 / (k + SNR)^gamma (Choi et al. 2022, "Perception Prioritized Training", Eq. 8)."""
    return 1 / (k + process.snr(t)) ** gamma


def variational(process: Process, t: Tensor) -> Tensor:
    """Half the fall of log SNR: the bound's, in continuous time (Kingma et al. 2021).

    Of timesteps, beta^2 / (2 sigma^2 alpha (1 - alpha_bar)) (Ho et al. 2020, Eq. 12), sigma^2 =
    beta, the upper choice of that paper, which stays finite at the first step.
    """
    return process.log_snr_rate(t) / 2


def velocity(process: Process, t: Tensor) -> Tensor:
    """1 / alpha^2: the plain squared error of v (Salimans & Ho 2022, Appendix D)."""
    return process.alpha(t) ** -2


def min_snr(process: Process, t: Tensor, gamma: float = 5.0) -> Tensor:
    """min(SNR, gamma) / SNR (Hang et al. 2023, "Min-SNR Weighting Strategy", Section 3.4)."""
    snr = process.snr(t)
    return snr.clamp(max=gamma) / snr


WEIGHTINGS = {
    "constant": constant,
    "pdae": pdae,
    "p2": p2,
    "variational": variational,
    "velocity": velocity,
    "min_snr": min_snr,
}


def loss_weight(name: str, process: Process, t: Tensor, **options: float) -> Tensor:
    """lambda_t of the weighting called `name`: (N,) float64."""
    if name not in WEIGHTINGS:
        raise ValueError(f"unknown weighting {name!r}; known: {', '.join(WEIGHTINGS)}")
    return WEIGHTINGS[name](process, t, **options)
