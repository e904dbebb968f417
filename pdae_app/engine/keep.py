"""The part of the square that an edit leaves as it is."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

# The seam of a kept part is this soft, in parts of the square's side.
SEAM = 1 / 32


@dataclass(frozen=True)
class KeepMask:
    """A grey picture of the square, white where it stays."""

    mask: Image.Image

    @classmethod
    def painted(cls, alpha: Image.Image) -> "KeepMask | None":
        """From what was painted over the square; None where nothing was."""
        mask = alpha.point(lambda value: 255 * (value > 0))
        if not mask.getbbox():
            return None
        return cls(mask.filter(ImageFilter.GaussianBlur(SEAM * mask.width)))

    def weights(self, size: int) -> np.ndarray:
        """(size, size) in [0, 1] for the engine."""
        small = self.mask.resize((size, size), Image.Resampling.BOX)
        return np.asarray(small, np.float32) / 255

    def applied(self, edited: Image.Image, unchanged: Image.Image) -> Image.Image:
        """The edit with the unchanged picture where something is to stay: to the bit."""
        mask = self.mask.resize(edited.size, Image.Resampling.BOX)
        return Image.composite(unchanged, edited, mask)
