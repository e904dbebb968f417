"""Pictures that an unconditional model draws as its own code base does, to see that it works."""

from pathlib import Path

import torch
from torch import Tensor
from torchvision.utils import save_image

from pdae_app.bundle import Bundle
from pdae_app.diffusion.grids import steppings
from pdae_app.diffusion.solvers import ddim_states, last_x
from pdae_app.whole import whole_file


@torch.inference_mode()
def drawn_states(bundle: Bundle, x_T: Tensor, steps: int) -> Tensor:
    """States (N, C, S, S) from noise of this shape, by DDIM in the bundle's stepping.

    Raises:
        ValueError: steps that the stepping does not have.
    """
    stepping, process = steppings(bundle.spacing)[bundle.stepping], bundle.process
    states = ddim_states(
        bundle.family.unconditional(),
        x_T,
        process,
        stepping.levels(process, steps),
        clip_x0=stepping.clip_x0,
        ends=stepping.ends(process, steps),
    )
    return last_x(states)


def write_samples(bundle: Bundle, path: Path, count: int = 4, steps: int = 50) -> None:
    """A row of pictures, of the seeds 0, 1, …"""
    noise = [torch.Generator().manual_seed(seed) for seed in range(count)]
    x_T = torch.stack([torch.randn(bundle.state_shape, generator=seed) for seed in noise])
    with torch.inference_mode():
        pictures = [bundle.first_stage.decode(drawn_states(bundle, x[None], steps)) for x in x_T]
    with whole_file(path) as partial:
        save_image(torch.cat(pictures).clamp(-1, 1) / 2 + 0.5, partial, format="png", nrow=count)
