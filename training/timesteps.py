"""Which timesteps a diffusion model learns most from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pdae_app.diffusion.schedule import Schedule


@dataclass(frozen=True)
class Timesteps:
    """Uniform, or mostly where pictures take shape (EDM, Karras et al. 2022, Table 1).

    With a `log_sigma_std`, log sigma is drawn from a normal distribution around `log_sigma_mean`,
    sigma = sqrt((1 - alpha_bar) / alpha_bar), and the timestep of that noise is taken; a part
    `uniform` of the timesteps is drawn uniformly all the same.
    """

    log_sigma_mean: float = -0.5
    log_sigma_std: float | None = None
    uniform: float = 0.1

    def draw(self, schedule: Schedule, count: int, device: torch.device) -> Tensor:
        """Timesteps (N,)."""
        t = torch.randint(0, schedule.timesteps, (count,), device=device)
        if self.log_sigma_std is None:
            return t
        normal = torch.randn(count, device=device)
        log_sigma = self.log_sigma_mean + self.log_sigma_std * normal
        known = (-schedule.snr(torch.arange(schedule.timesteps)).log() / 2).float().to(device)
        chosen = torch.searchsorted(known, log_sigma).clamp(max=schedule.timesteps - 1)
        return torch.where(torch.rand(count, device=device) < self.uniform, t, chosen)
