"""Training pictures: a folder, aligned once by the app's own face code, cached, varied on the fly.

Every random choice follows from a seed that comes with the index, never from a global state: an
item does not depend on workers or on what came before, so a resumed run sees the same pictures.
"""

import csv
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torchvision.transforms.v2 import functional as TF
from tqdm import tqdm

from pdae_app.faces.align import FRAMINGS, crop, find_alignment
from pdae_app.faces.photo import PhotoError, open_photo

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}

# Squares are cached larger and wider than the model sees them, so that the framing can be varied
# without blur and without mirrored borders.
CACHE_ZOOM = 2
CACHE_MARGIN = 0.0625


@dataclass(frozen=True)
class DataConfig:
    """Where the pictures are and how they are varied.

    `labels` is a CSV with a column `file` (relative to `folder`), optionally `split`, and one 0/1
    column an attribute. `align` is one of `FRAMINGS`. The jitters are standard deviations:
    of the frame's scale, of its place (in squares), and of brightness, contrast and saturation.
    """

    folder: str
    labels: str | None = None
    split: str | None = None
    align: str = "face"
    flip: bool = True
    scale_jitter: float = 0.0
    shift_jitter: float = 0.0
    color_jitter: float = 0.0
    cache: str = "runs/cache"


@dataclass(frozen=True)
class Pictures:
    """Aligned squares (N, S, S, 3) uint8 with their file names and label rows."""

    squares: np.ndarray
    rows: list[dict[str, str]]
    skipped: dict[str, str]


def load_pictures(config: DataConfig, image_size: int) -> Pictures:
    """Align every picture of the data set, or read them from the cache.

    Raises:
        ValueError: no folder, no pictures, or an unknown `align`.
    """
    if config.align not in FRAMINGS:
        raise ValueError(f"align must be one of {', '.join(FRAMINGS)}, got {config.align!r}")
    rows = _rows(config)
    side = round(image_size * CACHE_ZOOM * (1 + 2 * CACHE_MARGIN))
    cached = Path(config.cache) / f"{_fingerprint(config, rows, side)}.npz"
    if not cached.exists():
        _prepare(config, rows, side, cached)
    with np.load(cached) as archive:
        index, skipped = archive["index"], json.loads(str(archive["skipped"]))
        squares = archive["squares"]
    if skipped:
        print(f"{len(skipped)} of {len(rows)} pictures skipped (no face, or damaged)")
    if not len(squares):
        raise ValueError(f"none of the {len(rows)} pictures in {config.folder} can be used")
    return Pictures(squares, [rows[i] for i in index], skipped)


def _rows(config: DataConfig) -> list[dict[str, str]]:
    folder = Path(config.folder)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; set data.folder=PATH")
    if config.labels:
        with open(config.labels, newline="") as file:
            rows = list(csv.DictReader(file))
        if config.split:
            rows = [row for row in rows if row.get("split") == config.split]
    else:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES)
        rows = [{"file": str(p.relative_to(folder))} for p in files]
    if not rows:
        split = f" of split {config.split!r}" if config.split else ""
        raise ValueError(f"no pictures{split} found in {config.labels or folder}")
    return rows


def _fingerprint(config: DataConfig, rows: list[dict[str, str]], side: int) -> str:
    files = [(row["file"], _stat(Path(config.folder) / row["file"])) for row in rows]
    facts = (str(Path(config.folder).resolve()), config.align, side, files, _alignment_version())
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _stat(path: Path) -> tuple[int, int] | None:
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else None


def _alignment_version() -> str:
    """A hash of the code that aligns, so that a change to it makes the cache anew."""
    folder = Path(find_alignment.__code__.co_filename).parent
    sources = [(folder / name).read_bytes() for name in ("align.py", "detect.py", "photo.py")]
    return hashlib.sha256(b"".join(sources)).hexdigest()


def _prepare(config: DataConfig, rows: list[dict[str, str]], side: int, cached: Path) -> None:
    def load(row: dict[str, str]) -> np.ndarray | str:
        try:
            photo = open_photo(Path(config.folder) / row["file"])
            found = find_alignment(photo, framing=config.align)
            return np.asarray(crop(photo, found.widened(CACHE_MARGIN), side))
        except PhotoError as error:
            return str(error)

    # OpenCV and Pillow release the interpreter lock, so threads are enough.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(tqdm(pool.map(load, rows), total=len(rows), desc="aligning"))
    good = [i for i, result in enumerate(results) if not isinstance(result, str)]
    skipped = {rows[i]["file"]: r for i, r in enumerate(results) if isinstance(r, str)}
    squares = np.stack([results[i] for i in good]) if good else np.empty((0, side, side, 3))
    cached.parent.mkdir(parents=True, exist_ok=True)
    partial = cached.with_suffix(f".{os.getpid()}.tmp")
    with open(partial, "wb") as file:
        np.savez(file, squares=squares, index=np.array(good, int), skipped=json.dumps(skipped))
    os.replace(partial, cached)


def plain_squares(pictures: Pictures, image_size: int) -> Tensor:
    """All pictures exactly as the app's alignment frames them: (N, 3, S, S) in [-1, 1]."""
    margin = (pictures.squares.shape[1] - CACHE_ZOOM * image_size) // 2
    inner = torch.from_numpy(pictures.squares).permute(0, 3, 1, 2)
    inner = inner[:, :, margin : margin + CACHE_ZOOM * image_size, margin:][
        ..., : CACHE_ZOOM * image_size
    ]
    return F.avg_pool2d(inner.float(), CACHE_ZOOM) / 127.5 - 1


class AugmentedSquares(Dataset):
    """Squares as tensors in [-1, 1], varied by a seed: `dataset[index, seed]` -> (3, S, S)."""

    def __init__(self, pictures: Pictures, config: DataConfig, image_size: int):
        self.squares = torch.from_numpy(pictures.squares).permute(0, 3, 1, 2)
        self.config = config
        self.image_size = image_size

    def __len__(self) -> int:
        return len(self.squares)

    def __getitem__(self, key: tuple[int, int]) -> Tensor:
        index, seed = key
        rng = np.random.default_rng(seed)
        picture = self._reframed(self.squares[index], rng).float() / 255
        if self.config.flip and rng.random() < 0.5:
            picture = picture.flip(-1)
        return self._recolored(picture, rng) * 2 - 1

    def _reframed(self, square: Tensor, rng: np.random.Generator) -> Tensor:
        full, plain = square.shape[-1], CACHE_ZOOM * self.image_size
        scale = 1 + self.config.scale_jitter * rng.standard_normal()
        side = int(np.clip(round(plain * scale), plain // 2, full))
        spread = self.config.shift_jitter * plain
        corner = (full - side) / 2 + spread * rng.standard_normal(2)
        top, left = np.clip(corner.round(), 0, full - side).astype(int).tolist()
        size = [self.image_size, self.image_size]
        return TF.resized_crop(square, top, left, side, side, size, antialias=True)

    def _recolored(self, picture: Tensor, rng: np.random.Generator) -> Tensor:
        sigma = self.config.color_jitter
        if not sigma:
            return picture
        brightness, contrast, saturation = np.exp(sigma * rng.standard_normal(3))
        picture = TF.adjust_brightness(picture, brightness)
        picture = TF.adjust_contrast(picture, contrast)
        return TF.adjust_saturation(picture, saturation)


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
