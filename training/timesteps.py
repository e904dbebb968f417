"""Which timesteps a diffusion model learns most from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pdae_app.diffusion.process import Process


@dataclass(frozen=True)
class Timesteps:
    """Uniform, or mostly where pictures take shape (EDM, Karras et al. 2022, Table 1).

    With a `log_sigma_std`, log sigma is drawn from a normal distribution around `log_sigma_mean`,
    sigma being the process's sigma / alpha, and the time of that noise is taken; a part `uniform`
    of the times is drawn uniformly all the same.
    """

    log_sigma_mean: float = -0.5
    log_sigma_std: float | None = None
    uniform: float = 0.1

    def draw(self, process: Process, count: int, device: torch.device) -> Tensor:
        """Times (N,)."""
        t = process.drawn_times(count, device)
        if self.log_sigma_std is None:
            return t
        normal = torch.randn(count, device=device)
        log_sigma = self.log_sigma_mean + self.log_sigma_std * normal
        chosen = process.nearest_times(-2 * log_sigma)
        return torch.where(torch.rand(count, device=device) < self.uniform, t, chosen)
