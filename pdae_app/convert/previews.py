"""A rough way from states to colours, fitted once: previews while a picture is still sampled."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pdae_app.models.published_stage import PublishedStage

# Photographs that come with the package.
PICTURES = Path(__file__).parent.parent / "ui" / "examples"
NOISE_PICTURES, LARGEST_SIDE = 4, 256
# Of the squares' normal equations, against channels that say the same.
RIDGE = 1e-4


@torch.inference_mode()
def with_preview(stage: PublishedStage, size: int) -> PublishedStage:
    """The stage with a linear map from states to colours, by least squares over a few pictures.

    Args:
        size: side in pixels of the pictures that its states are made of.
    """
    pictures = example_squares(min(size, LARGEST_SIDE), stage.picture_channels)
    # One at a time: at 256 px the encoder takes most of the memory.
    states = torch.cat([stage.encode(picture[None]) for picture in pictures])
    seen = torch.cat([states, torch.ones_like(states[:, :1])], dim=1).movedim(1, -1).flatten(0, -2)
    wanted = F.avg_pool2d(pictures, stage.factor).movedim(1, -1).flatten(0, -2)
    seen, wanted = seen.double(), wanted.double()
    gram = seen.T @ seen
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    rows = torch.linalg.solve(gram, seen.T @ wanted).T.tolist()
    fitted = PublishedStage(
        replace(stage.config, preview=tuple(tuple(row) for row in rows)), stage.network
    )
    return fitted.eval().requires_grad_(False)


def example_squares(size: int, channels: int) -> Tensor:
    """Photographs, their mirror images, and coloured noise (N, C, S, S) in [-1, 1]."""
    photographs = [_square(path, size) for path in sorted(PICTURES.glob("*.jpg"))]
    photographs += [photograph.flip(-1) for photograph in photographs]
    generator = torch.Generator().manual_seed(0)
    side = max(2, size // 16)
    drawn = torch.randn(NOISE_PICTURES, 3, side, side, generator=generator)
    noise = F.interpolate(drawn, (size, size), mode="bicubic").clamp(-1, 1)
    pictures = torch.cat([torch.stack(photographs), noise]) if photographs else noise
    return pictures if channels == 3 else pictures.mean(dim=1, keepdim=True)[:, [0] * channels]


def _square(path: Path, size: int) -> Tensor:
    with Image.open(path) as image:
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        box = (left, top, left + side, top + side)
        square = image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS, box)
    return torch.from_numpy(np.asarray(square, np.float32)).permute(2, 0, 1) / 127.5 - 1
