"""What DiffEnc's encoder does to pictures, as maps to look at (DiffEnc, Fig. 2 and Appendix W)."""

import torch
from torch import Tensor

from pdae_app.diffusion.variational import VariationalDiffusion

# The times of the paper's figure.
TIMES = (0.4, 0.6, 0.8, 1.0)


@torch.no_grad()
def heat_maps(model: VariationalDiffusion, X: Tensor, times: tuple[float, ...] = TIMES) -> Tensor:
    """How the encoded pictures of X (N, C, H, W) move at these times: (N, T, H, W).

    Raises:
        ValueError: the model encodes nothing.
    """
    if not model.encoding.counters:
        raise ValueError("this model is a plain VDM: it noises the picture itself, nothing moves")
    return torch.stack([model.heat_map(X, t) for t in times], dim=1)


def coloured(maps: Tensor) -> Tensor:
    """Maps (N, T, H, W) to colours (N, T, 3, H, W) in [0, 1]: red rises, blue falls, white stays.

    Each picture's maps share one scale, symmetric about zero, so that they can be compared. (The
    official figures scale each map alone, and their white is the middle of its range.)
    """
    largest = maps.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    part = (maps / largest).unsqueeze(2)
    red, blue = 1 + part.clamp(max=0), 1 - part.clamp(min=0)
    return torch.cat([red, torch.minimum(red, blue), blue], dim=2)
