"""The latent diffusion model: new codes from noise (Diff-AE, Section 3.2; PDAE, Section 4.8)."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdae_app.diffusion.grids import Stepping
from pdae_app.diffusion.schedule import Schedule
from pdae_app.diffusion.solvers import ddim_states, last_x
from pdae_app.models.latent_mlp import LatentMLP


@dataclass(frozen=True)
class Prior:
    """An MLP that predicts the noise in normalised codes, and its own schedule.

    `clip` clamps z_T and every z0_hat to [-1, 1], as the official PDAE code does; the paper means
    no clamp, and one sigma cuts a third of a normal code's numbers off.
    """

    mlp: LatentMLP
    schedule: Schedule = field(default_factory=lambda: Schedule("constant"))
    clip: bool = False

    @property
    def z_dim(self) -> int:
        """Length of the codes."""
        return self.mlp.config.z_dim

    def sample(self, noise: Tensor, steps: int, stepping: Stepping) -> Tensor:
        """Normalised codes (N, D) from noise (N, D) by DDIM (Song et al. 2021, Eq. 12).

        Args:
            stepping: gives the grid; whether to clamp is the prior's own.
        """
        z_T = noise.clamp(-1, 1) if self.clip else noise
        levels = stepping.levels(self.schedule, steps)
        with torch.inference_mode():
            return last_x(ddim_states(self.mlp, z_T, self.schedule, levels, clip_x0=self.clip))
