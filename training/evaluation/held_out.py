"""Labelled pictures as a model sees them: held-out ones, and its training pictures."""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.data import DataConfig, load_pictures, plain_squares
from training.sources import Rows, spread_places


@dataclass(frozen=True)
class Squares:
    """Squares (N, C, S, S) in [-1, 1] with a row of labels each."""

    pictures: Tensor
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def spread(self, count: int | None) -> "Squares":
        """So many of them (None: all), from all over."""
        return self.at(spread_places(len(self), count))

    def at(self, places: list[int]) -> "Squares":
        """Those at these places."""
        return Squares(self.pictures[places], [self.rows[i] for i in places])


def load_squares(data: DataConfig, size: int, channels: int) -> Squares:
    """Pictures of `data` framed as the app does, read piece by piece.

    Raises:
        ValueError: there are none.
    """
    pictures = load_pictures(data, size)
    parts = (slice(i, i + 256) for i in range(0, len(pictures.rows), 256))
    squares = torch.cat([plain_squares(pictures, size, part, channels) for part in parts])
    return Squares(squares, pictures.rows)
