"""Pictures drawn from a variational model by ancestral sampling."""

from collections.abc import Iterator

import torch
from torch import Tensor

from pdae_app.diffusion.likelihood import decoded
from pdae_app.diffusion.variational import VariationalDiffusion


def ancestral_path(
    model: VariationalDiffusion, z_1: Tensor, steps: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """z_s at s = (T - 1) / T, ..., 0 for T `steps` from z_1 (N, C, S, S) (VDM, Appendix A.4).

    Noise is drawn at every step, the last among them: z_0 is no picture yet (`decoded`).
    """
    z = z_1
    for i in range(steps):
        noise = torch.randn(z.shape, generator=generator).to(z)
        z = model.ancestral_step(z, noise, (steps - i) / steps, (steps - i - 1) / steps)
        yield z


@torch.no_grad()
def drawn_pictures(
    model: VariationalDiffusion,
    shape: tuple[int, int, int, int],
    steps: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Tensor:
    """New pictures (N, C, S, S) uint8; `generator` is of the CPU, so they are the same anywhere."""
    z_1 = torch.randn(shape, generator=generator).to(device)
    *_, z_0 = ancestral_path(model, z_1, steps, generator)
    return decoded(z_0, model.process.log_snr(0.0))
