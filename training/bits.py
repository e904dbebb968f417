"""Bits per dimension of pictures under a variational model, and its parts."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pdae_app.diffusion.likelihood import bits_per_dimension, low_discrepancy_times
from pdae_app.diffusion.variational import VariationalDiffusion

PARTS = ("recon", "latent", "diffusion")


@dataclass(frozen=True)
class Bits:
    """Bits per dimension of every picture, by part: (N,) each."""

    recon: Tensor
    latent: Tensor
    diffusion: Tensor

    @property
    def total(self) -> Tensor:
        """The whole bound."""
        return self.recon + self.latent + self.diffusion


@torch.no_grad()
def bits_of_pictures(
    model: VariationalDiffusion,
    pixels: Tensor,
    draws: int = 1,
    seed: int = 0,
    batch_size: int = 128,
    t: float | None = None,
) -> Bits:
    """Of pixels (N, C, S, S), 8 bits, averaged over `draws` of noise and time a picture.

    Noise follows from the seed alone, and each picture has its own; `batch_size` does not matter.
    Times are low-discrepancy over all pictures, or all `t`.
    """
    generator = torch.Generator().manual_seed(seed)
    sums = dict.fromkeys(PARTS, 0)
    for _ in range(draws):
        order = torch.randperm(len(pixels), generator=generator)
        times = low_discrepancy_times(len(pixels), torch.rand((), generator=generator))[order]
        times = times if t is None else torch.full_like(times, t)
        parts = [
            model.losses(x.to(_device(model)), part.to(_device(model)), *_noise(x, generator))
            for x, part in zip(pixels.split(batch_size), times.split(batch_size), strict=True)
        ]
        for name in PARTS:
            sums[name] = sums[name] + torch.cat([part[name].double().cpu() for part in parts])
    shape = pixels.shape[1:]
    return Bits(**{name: bits_per_dimension(nats / draws, shape) for name, nats in sums.items()})


def _device(model: VariationalDiffusion) -> torch.device:
    return next(model.parameters()).device


def _noise(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two draws like x, picture by picture."""
    both = torch.stack([torch.randn(2, *x.shape[1:], generator=generator) for _ in x], dim=1)
    return tuple(both)


def mean_bits(bits: Bits) -> dict[str, float]:
    """Means over the pictures; "bpd" is the total."""
    return {"bpd": float(bits.total.mean())} | {
        name: float(getattr(bits, name).mean()) for name in PARTS
    }
