"""The latent diffusion network: an MLP with input skips (Diff-AE, Appendix; PDAE, Table 2)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdae_app.models.layers import timestep_embedding
from pdae_app.typed_config import check_sizes


@dataclass(frozen=True)
class LatentMLPConfig:
    """`layers` linear layers; the input is concatenated again before each but the first."""

    z_dim: int = 512
    width: int = 2048
    layers: int = 10
    time_channels: int = 64

    def __post_init__(self):
        check_sizes(self, z_dim=8192, width=16384, layers=100, time_channels=4096)
        if self.layers < 2:
            raise ValueError(f"the latent MLP needs at least 2 layers, got {self.layers}")


class LatentLayer(nn.Module):
    """SiLU(LayerNorm((1 + time) Linear(h)))."""

    def __init__(self, in_features: int, width: int, emb_dim: int):
        super().__init__()
        self.linear = nn.Linear(in_features, width)
        self.emb_proj = nn.Linear(emb_dim, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        """H (N, F), emb (N, E) -> (N, W)."""
        return F.silu(self.norm(self.linear(h) * (1 + self.emb_proj(F.silu(emb)))))


class LatentMLP(nn.Module):
    """Predicts the noise in normalised codes."""

    def __init__(self, config: LatentMLPConfig):
        super().__init__()
        self.config = config
        dim, width = config.z_dim, config.width
        self.time_embed = nn.Sequential(
            nn.Linear(config.time_channels, dim), nn.SiLU(), nn.Linear(dim, dim)
        )
        sizes = [dim] + [width + dim] * (config.layers - 2)
        self.layers = nn.ModuleList(LatentLayer(size, width, dim) for size in sizes)
        self.linear_out = nn.Linear(width + dim, dim)

    def forward(self, z_t: Tensor, t: Tensor) -> Tensor:
        """Z_t (N, D), t (N,) -> eps (N, D)."""
        emb = self.time_embed(timestep_embedding(t, self.config.time_channels).to(z_t.dtype))
        h = self.layers[0](z_t, emb)
        for layer in self.layers[1:]:
            h = layer(torch.cat([h, z_t], dim=1), emb)
        return self.linear_out(torch.cat([h, z_t], dim=1))
