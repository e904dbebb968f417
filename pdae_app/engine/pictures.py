"""Pictures to tensors and back."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_tensor(image: Image.Image, channels: int) -> Tensor:
    """PIL RGB (S, S) -> (1, 3, S, S) float32 in [-1, 1]; for one channel, grey (1, 1, S, S)."""
    image = image if channels == 3 else image.convert("L")
    pixels = torch.from_numpy(np.asarray(image, np.float32).reshape(*image.size[::-1], channels))
    return pixels.permute(2, 0, 1)[None] / 127.5 - 1


def to_image(x: Tensor) -> Image.Image:
    """(3, S, S), or grey (1, S, S), in [-1, 1] -> PIL RGB."""
    x = x.expand(3, -1, -1)
    pixels = ((x.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def plain(tensor: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """A copy on the CPU that outlives inference mode and can be pickled and deep-copied."""
    return torch.from_numpy(tensor.detach().to(dtype).cpu().contiguous().numpy().copy())
