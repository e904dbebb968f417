"""Training pictures: aligned once by the app's own face code, cached, varied on the fly.

Every random choice follows from a seed that comes with the index, never from a global state: an
item does not depend on workers or on what came before, so a resumed run sees the same pictures.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torchvision.transforms.v2 import functional as TF
from tqdm import tqdm

from pdae_app.faces.align import FRAMINGS, crop, find_alignment
from pdae_app.faces.photo import PhotoError
from pdae_app.whole import whole_file
from training.caches import make_once
from training.sources import (
    Chosen,
    Folder,
    HubDataset,
    Lmdb,
    Rows,
    Source,
    Torchvision,
    spread_places,
)

# Squares are cached larger and wider than the model sees them, so that the framing can be varied
# without blur and without mirrored borders.
CACHE_ZOOM = 2
CACHE_MARGIN = 0.0625


@dataclass(frozen=True)
class SourceConfig:
    """Where pictures are.

    `folder` holds picture files, or an LMDB as Diff-AE's scripts write it. Instead of it,
    `dataset` is a name or path for Hugging Face's `datasets`, or `torchvision` one of its sets
    (CelebA, CIFAR10, LSUN, MNIST), which lies in `folder`.
    `labels` is a CSV with a column `file` (relative to `folder`), optionally `split`, and one 0/1
    column an attribute; or CelebA's own text file. `split` names the training part (or several:
    "train+small"), `held_out` the part on which progress is measured. `most` takes so many
    pictures, from all over.
    """

    folder: str | None = None
    dataset: str | None = None
    torchvision: str | None = None
    download: bool = False
    labels: str | None = None
    split: str | None = None
    held_out: str | None = None
    most: int | None = None


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Where the pictures are and how they are varied.

    `class_column` gives each picture its class. `align` is one of `FRAMINGS`. The jitters are
    standard deviations: of the frame's scale, of its place (in squares), and of brightness,
    contrast and saturation. `cache` is where aligned squares are kept, read piece by piece; null
    aligns them anew at every use, for sets beyond the disk. `views` variations of every picture are
    encoded for a latent model, once.
    """

    class_column: str | None = None
    align: str = "face"
    flip: bool = True
    scale_jitter: float = 0.0
    shift_jitter: float = 0.0
    color_jitter: float = 0.0
    cache: str | None = "runs/cache"
    views: int = 8


@dataclass(frozen=True)
class Pictures:
    """Aligned squares, (S, S, 3) uint8 by index, with their label rows.

    `squares` lie in a file, of which only what is asked for is read, or are made when asked for.
    `identity` names the very files and the way they were aligned.
    """

    squares: "np.ndarray | LiveSquares"
    rows: Rows
    skipped: dict[str, str]
    identity: str

    def read(self, index: int) -> tuple[np.ndarray, int]:
        """A square and the index of its row: another where the picture is broken."""
        if isinstance(self.squares, LiveSquares):
            return self.squares.read(index)
        return self.squares[index], index

    def classes(self, column: str) -> list[str]:
        """The classes that a column knows, sorted.

        Raises:
            ValueError: there is no such column.
        """
        if column not in self.rows[0]:
            raise ValueError(f"there is no column {column!r}; known: {', '.join(self.rows[0])}")
        return sorted({row[column] for row in self.rows})


def load_pictures(config: DataConfig, image_size: int) -> Pictures:
    """Align every picture of the data set, or read them from the cache.

    Raises:
        ValueError: no folder, no pictures, or an unknown `align`.
    """
    if config.align not in FRAMINGS:
        raise ValueError(f"align must be one of {', '.join(FRAMINGS)}, got {config.align!r}")
    source = open_source(config)
    side = round(image_size * CACHE_ZOOM * (1 + 2 * CACHE_MARGIN))
    identity = _fingerprint(config, source, side)
    if config.cache is None:
        return Pictures(LiveSquares(source, config.align, side), source.rows, {}, identity)
    cached = Path(config.cache) / identity
    facts = cached.with_suffix(".json")
    make_once(facts, lambda: _prepare(source, config.align, side, cached))
    found = json.loads(facts.read_text())
    index, skipped = found["index"], found["skipped"]
    if skipped:
        print(f"{len(skipped)} of {len(source.rows)} pictures skipped (no face, or damaged)")
    if not index:
        raise ValueError(f"none of the {len(source.rows)} pictures can be used")
    squares = np.load(cached.with_suffix(".npy"), mmap_mode="r")[: len(index)]
    return Pictures(squares, [source.rows[i] for i in index], skipped, identity)


def open_source(config: SourceConfig) -> Source:
    """What the configuration names, restricted to its split.

    Raises:
        ValueError: it names nothing, or there is nothing in it.
    """
    source = _named_source(config)
    if not source.rows:
        split = f" of split {config.split!r}" if config.split else ""
        where = config.labels or config.dataset or config.folder
        raise ValueError(f"no pictures{split} found in {where}")
    if config.most is None or config.most >= len(source.rows):
        return source
    return Chosen(source, spread_places(len(source.rows), config.most))


def _named_source(config: SourceConfig) -> Source:
    if config.dataset:
        return HubDataset(config.dataset, config.split)
    if config.folder is None:
        raise ValueError("set data.folder=PATH, or data.dataset=NAME")
    if config.torchvision:
        return Torchvision(config.torchvision, config.folder, config.split, config.download)
    is_lmdb = (Path(config.folder) / "data.mdb").exists()
    source = (Lmdb if is_lmdb else Folder)(config.folder, config.labels)
    if config.labels and config.split:
        # Rows are dropped in place of pictures: the source opens by row.
        source.rows[:] = [row for row in source.rows if in_split(row, config.split)]
    return source


def in_split(row: dict[str, str], split: str | None) -> bool:
    """Whether a row belongs to a split, or to one of several ("train+small"); None takes all."""
    return split is None or row.get("split") in split.split("+")


def _fingerprint(config: DataConfig, source: Source, side: int) -> str:
    pictures = [source.fingerprint(i) for i in range(len(source.rows))]
    facts = (config.align, side, pictures, _alignment_version())
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _alignment_version() -> str:
    """A hash of the code that aligns, so that a change to it makes the cache anew."""
    folder = Path(find_alignment.__code__.co_filename).parent
    sources = [(folder / name).read_bytes() for name in ("align.py", "detect.py", "photo.py")]
    return hashlib.sha256(b"".join(sources)).hexdigest()


def _aligned(source: Source, index: int, align: str, side: int) -> np.ndarray:
    photo = source.open(index)
    found = find_alignment(photo, framing=align)
    return np.asarray(crop(photo, found.widened(CACHE_MARGIN), side))


def _prepare(source: Source, align: str, side: int, cached: Path) -> None:
    """Write all aligned squares to a file, one by one, and then which rows they belong to."""
    index, skipped, shape = [], {}, (len(source.rows), side, side, 3)
    with whole_file(cached.with_suffix(".npy")) as partial:
        squares = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
        for i, result in enumerate(_in_order(source, align, side)):
            if isinstance(result, str):
                skipped[source.rows[i]["file"]] = result
            else:
                squares[len(index)] = result
                index.append(i)
        squares.flush()
    # The second file is there only when the first is whole.
    with whole_file(cached.with_suffix(".json")) as partial:
        partial.write_text(json.dumps({"index": index, "skipped": skipped}))


def _in_order(source: Source, align: str, side: int) -> Iterator[np.ndarray | str]:
    """Every row's square, or why there is none."""

    def load(index: int) -> np.ndarray | str:
        try:
            return _aligned(source, index, align, side)
        except PhotoError as error:
            return str(error)

    # OpenCV and Pillow release the interpreter lock, so threads are enough. A bounded piece at a
    # time, lest finished squares pile up.
    count, piece = len(source.rows), 1024
    with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(total=count, desc="aligning") as bar:
        for start in range(0, count, piece):
            for result in pool.map(load, range(start, min(start + piece, count))):
                bar.update()
                yield result


class LiveSquares:
    """Squares that are aligned when asked for; a broken picture is told and its successor taken."""

    def __init__(self, source: Source, align: str, side: int):
        self.source, self.align = source, align
        self.shape = (len(source.rows), side, side, 3)
        self._reported: set[int] = set()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> np.ndarray:
        return self.read(index)[0]

    def read(self, index: int) -> tuple[np.ndarray, int]:
        """The square, and which picture's it is.

        Raises:
            ValueError: there is none that is not broken.
        """
        for offset in range(len(self)):
            chosen = (index + offset) % len(self)
            try:
                return _aligned(self.source, chosen, self.align, self.shape[1]), chosen
            except PhotoError as error:
                self._tell(chosen, error)
        raise ValueError("none of the pictures can be used")

    def _tell(self, index: int, error: PhotoError) -> None:
        if index not in self._reported:
            self._reported.add(index)
            file = self.source.rows[index]["file"]
            print(f"picture {len(self._reported)} skipped, {file}: {error}", file=sys.stderr)


def plain_squares(
    pictures: Pictures, image_size: int, which: slice | list[int] | None = None, channels: int = 3
) -> Tensor:
    """Pictures exactly as the app's alignment frames them: (N, C, S, S) in [-1, 1].

    Args:
        which: a part of them, or their places; None takes all.
    """
    every = range(len(pictures.rows))
    chosen = which if isinstance(which, list) else every[which or slice(None)]
    margin, inner = _margin(pictures, image_size), CACHE_ZOOM * image_size
    squares = torch.empty(len(chosen), channels, image_size, image_size)
    for place, i in enumerate(chosen):
        square = _channels_first(pictures.squares[i])
        square = square[:, margin : margin + inner, margin : margin + inner].float()
        squares[place] = in_channels(F.avg_pool2d(square, CACHE_ZOOM) / 127.5 - 1, channels)
    return squares


def _margin(pictures: Pictures, image_size: int) -> int:
    return (pictures.squares.shape[1] - CACHE_ZOOM * image_size) // 2


def _channels_first(square: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def in_channels(picture: Tensor, channels: int) -> Tensor:
    """(3, S, S) as it is, or grey (1, S, S)."""
    return picture if channels == 3 else TF.rgb_to_grayscale(picture)


class AugmentedSquares(Dataset):
    """Squares as tensors in [-1, 1], varied by a seed: `dataset[index, seed]` -> (C, S, S).

    With `config.class_column`, an item is (square, number of its class among `classes`).
    """

    def __init__(self, pictures: Pictures, config: DataConfig, image_size: int, channels: int = 3):
        self.pictures, self.config = pictures, config
        self.image_size, self.channels = image_size, channels
        column = config.class_column
        self.classes = pictures.classes(column) if column else []
        numbers = {name: number for number, name in enumerate(self.classes)}
        self._class_of = [numbers[row[column]] for row in pictures.rows] if column else None

    def __len__(self) -> int:
        return len(self.pictures.rows)

    def __getitem__(self, key: tuple[int, int]) -> Tensor | tuple[Tensor, int]:
        index, seed = key
        rng = np.random.default_rng(seed)
        square, index = self.pictures.read(index)
        square = _channels_first(square)
        picture = in_channels(self._reframed(square, rng).float() / 255, self.channels)
        if self.config.flip and rng.random() < 0.5:
            picture = picture.flip(-1)
        picture = self._recolored(picture, rng) * 2 - 1
        return picture if self._class_of is None else (picture, self._class_of[index])

    def _reframed(self, square: Tensor, rng: np.random.Generator) -> Tensor:
        full, plain = square.shape[-1], CACHE_ZOOM * self.image_size
        scale = 1 + self.config.scale_jitter * rng.standard_normal()
        side = int(np.clip(round(plain * scale), plain // 2, full))
        spread = self.config.shift_jitter * plain
        corner = (full - side) / 2 + spread * rng.standard_normal(2)
        top, left = np.clip(corner.round(), 0, full - side).astype(int).tolist()
        size = [self.image_size, self.image_size]
        return TF.resized_crop(square, top, left, side, side, size=size, antialias=True)

    def _recolored(self, picture: Tensor, rng: np.random.Generator) -> Tensor:
        sigma = self.config.color_jitter
        if not sigma:
            return picture
        brightness, contrast, saturation = np.exp(sigma * rng.standard_normal(3))
        picture = TF.adjust_brightness(picture, brightness)
        picture = TF.adjust_contrast(picture, contrast)
        return TF.adjust_saturation(picture, saturation)


def training_set(config: DataConfig, image_size: int, channels: int = 3) -> AugmentedSquares:
    """The varied training pictures."""
    return AugmentedSquares(load_pictures(config, image_size), config, image_size, channels)


def example_pictures(dataset: AugmentedSquares, count: int = 16) -> Tensor:
    """The first pictures of a data set, for grids of samples."""
    items = (dataset[i, 0] for i in range(min(count, len(dataset))))
    return torch.stack([item[0] if isinstance(item, tuple) else item for item in items])


def held_out_squares(
    config: DataConfig, image_size: int, channels: int = 3, most: int = 64
) -> Tensor | None:
    """The first `most` pictures of `config.held_out`, as the app frames them; None without it."""
    if not config.held_out:
        return None
    pictures = load_pictures(replace(config, split=config.held_out), image_size)
    return plain_squares(pictures, image_size, slice(most), channels)


class SeededBatches(Sampler):
    """Batches of (index, seed) from step `start` on: shuffled epochs, split over processes.

    Batch number k is a function of (seed, k) alone, so that a run can go on anywhere.
    """

    def __init__(self, length, batch_size, seed, start=0, stop=None, rank=0, world=1):
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.start, self.stop, self.rank, self.world = start, stop, rank, world
        self._shuffled = (None, None)

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self):
        total = self.batch_size * self.world
        for step in range(self.start, self.stop):
            first = step * total + self.rank * self.batch_size
            yield [self._item(position) for position in range(first, first + self.batch_size)]

    def _item(self, position: int) -> tuple[int, int]:
        epoch, place = divmod(position, self.length)
        return int(self._order(epoch)[place]), hash((self.seed, position)) & 0x7FFFFFFF

    def _order(self, epoch: int) -> np.ndarray:
        if self._shuffled[0] != epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.length)
            self._shuffled = (epoch, order)
        return self._shuffled[1]
