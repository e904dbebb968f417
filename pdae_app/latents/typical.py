"""What codes and noise maps of pictures like the training pictures look like, and which do not.

Diff-AE, Appendix K: of pictures that the model does not know, x_T keeps visible structure. Here its
coarse part is measured, which is white for noise; and how far z lies from the training codes.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from pdae_app.latents.directions import LatentSpace

# Blocks a side over which x_T is averaged.
BLOCKS = 8


@dataclass(frozen=True)
class Typical:
    """Largest usual values, over pictures that the model was not trained on: see the functions."""

    distance: float
    structure: float

    def __post_init__(self):
        if not (self.distance > 0 and self.structure > 0):
            raise ValueError("typical takes a distance and a structure above 0")


def code_distance(space: LatentSpace, z: Tensor) -> float:
    """Root mean square of normalised z (D,): about 1 for a training picture's."""
    return float(space.normalize(z).square().mean().sqrt())


def noise_structure(x_T: Tensor) -> float:
    """Standard deviation of the means over coarse blocks of x_T (C, S, S); of white noise 1."""
    side = max(1, x_T.shape[-1] // BLOCKS)
    return float(F.avg_pool2d(x_T[None], side).std()) * side
