"""Labelled pictures as a model sees them: held-out ones, and its training pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.data import DataConfig, load_pictures
from training.evaluation.albums import Album, album_of
from training.sources import Rows, spread_places


@dataclass(frozen=True)
class Squares:
    """Squares (N, C, S, S) in [-1, 1] with a row of labels each, read when they are asked for."""

    pictures: Album
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def spread(self, count: int | None) -> "Squares":
        """So many of them (None: all), from all over."""
        return self.at(spread_places(len(self), count))

    def at(self, places: Sequence[int]) -> "Squares":
        """Those at these places."""
        return Squares(self.pictures.at(places), [self.rows[i] for i in places])


def load_squares(data: DataConfig, size: int, channels: int) -> Squares:
    """Pictures of `data` framed as the app does.

    Raises:
        ValueError: there are none.
    """
    pictures = load_pictures(data, size)
    return Squares(album_of(pictures, size, channels), pictures.rows)
