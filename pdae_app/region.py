"""A part of all pictures, which are framed alike: where the eyes are, or the chin."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Region:
    """Its edges, from 0 (left, top) to 1 (right, bottom)."""

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self):
        if not (0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1):
            raise ValueError("left and top must be 0 or more, right and bottom larger, at most 1")

    def of(self, maps: Tensor) -> Tensor:
        """Its part of maps (..., S, S): a view (..., H, W).

        Raises:
            ValueError: it is smaller than a position.
        """
        side = maps.shape[-1]
        left, top, right, bottom = (
            round(edge * side) for edge in (self.left, self.top, self.right, self.bottom)
        )
        if left == right or top == bottom:
            raise ValueError(f"it holds none of {side} x {side} positions; make it larger")
        return maps[..., top:bottom, left:right]
