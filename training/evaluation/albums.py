"""Pictures that are read when they are asked for: of sets that do not fit into memory."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from training.data import Pictures, plain_squares

# So many pictures are drawn, or looked at, at once.
PIECE = 192


@dataclass(frozen=True)
class Album:
    """Pictures (N, C, S, S) in [-1, 1]; `album[slice or places]` is a tensor of some of them.

    `read` makes a tensor of places.
    """

    read: Callable[[Sequence[int]], Tensor]
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, which: slice | Sequence[int]) -> Tensor:
        return self.read(self.at(which).places)

    def at(self, which: slice | Sequence[int]) -> "Album":
        """Some of them, not read yet."""
        chosen = range(len(self))[which] if isinstance(which, slice) else which
        return Album(self.read, [self.places[i] for i in chosen])


def album_of(pictures: Pictures, size: int, channels: int) -> Album:
    """A data set's squares, framed as the app does."""
    read = partial(plain_squares, pictures, size, channels=channels)
    return Album(lambda places: read(list(places)), range(len(pictures.rows)))


def drawn_album(
    count: int, shape: tuple[int, int, int], draw: Callable[[range], Tensor], title: str
) -> Album:
    """Pictures that `draw` makes of places, piece by piece, kept as bytes in a nameless file.

    Raises:
        ValueError: the disk has no room for them.
    """
    size, free = count * prod(shape), shutil.disk_usage(tempfile.gettempdir()).free
    if size > free:
        raise ValueError(
            f"{count} pictures take {size / 1e9:.1f} GB in {tempfile.gettempdir()}, where "
            f"{free / 1e9:.1f} GB are free: draw fewer (sizes.drawn), or set TMPDIR to another disk"
        )
    with tempfile.TemporaryFile() as file:
        kept = np.memmap(file, np.uint8, "w+", shape=(count, *shape))
    quiet = None if count > PIECE else True
    for start in tqdm(range(0, count, PIECE), title, leave=False, disable=quiet):
        places = range(start, min(start + PIECE, count))
        kept[start : places.stop] = grey_levels(draw(places)).numpy()
    return Album(lambda places: levels_back(kept[list(places)]), range(count))


def grey_levels(pictures: Tensor) -> Tensor:
    """[-1, 1] to whole grey levels, as picture files have them."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte()


def levels_back(levels: np.ndarray) -> Tensor:
    """Grey levels to [-1, 1]."""
    return torch.from_numpy(np.array(levels)).float() / 127.5 - 1


def pieces(pictures: Album | Tensor, size: int | None = None) -> Iterator[Tensor]:
    """Pictures, or whatever lies beside them, (N, ...) piece by piece; one empty piece of none."""
    size = size or PIECE
    return (pictures[i : i + size] for i in range(0, max(1, len(pictures)), size))


def mapped(pictures: Album | Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
    """What `run` makes of pictures, piece by piece."""
    return torch.cat([run(part) for part in pieces(pictures)])
