"""What training scripts show of an autoencoder as it learns."""

import torch
from torch import Tensor

from pdae_app.diffusion.schedule import Schedule, spaced_timesteps
from pdae_app.diffusion.solvers import Denoiser, ddim

STEPS = 50


def random_decodings(denoiser: Denoiser, like: Tensor, schedule: Schedule) -> Tensor:
    """Pictures of fixed random noise, as many and as large as `like` (N, 3, S, S)."""
    x_T = torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).to(like.device)
    levels = spaced_timesteps(schedule, min(STEPS, schedule.timesteps - 1))
    return ddim(denoiser, x_T, schedule, levels)


def in_pairs_of_rows(above: Tensor, below: Tensor, width: int = 8) -> Tensor:
    """Both batches in one grid of `width` columns, rows of the first and the second in turn."""
    rows = zip(above.split(width), below.split(width), strict=True)
    return torch.cat([pictures for pair in rows for pictures in pair])
