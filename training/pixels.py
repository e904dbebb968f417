"""Training pictures as they are, in whole grey levels: what a likelihood is measured on."""

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from pdae_app.faces.photo import PhotoError
from training.caches import make_once
from training.data import SourceConfig, open_source
from training.sources import Source


@dataclass(frozen=True)
class PixelConfig(SourceConfig):
    """Where the pictures are, and how they are varied.

    Pictures of the model's size are taken as they are; others are cut to the square in their middle
    and reduced. `flip` mirrors half of them, which the papers do not.
    """

    flip: bool = False
    cache: str = "runs/cache"

    def source(self, split: str | None) -> Source:
        """The pictures of a split."""
        return open_source(replace(self, split=split))


class Pixels(Dataset):
    """Pictures (C, S, S) uint8, read from a file: `dataset[index, seed]`."""

    classes: tuple[str, ...] = ()

    def __init__(self, squares: np.ndarray, flip: bool):
        self.squares, self.flip = squares, flip

    def __len__(self) -> int:
        return len(self.squares)

    def __getitem__(self, key: tuple[int, int]) -> Tensor:
        index, seed = key
        square = torch.from_numpy(np.array(self.squares[index])).permute(2, 0, 1)
        mirrored = self.flip and np.random.default_rng(seed).random() < 0.5
        return square.flip(-1) if mirrored else square


def pixel_set(config: PixelConfig, size: int, channels: int) -> Pixels:
    """The training pictures.

    Raises:
        ValueError: there are none.
    """
    return Pixels(_squares(config, config.split, size, channels), config.flip)


def held_out_pixels(config: PixelConfig, size: int, channels: int, most: int | None) -> Tensor:
    """The first `most` pictures of `config.held_out` (None: all): (N, C, S, S) uint8."""
    squares = _squares(replace(config, flip=False), config.held_out, size, channels)
    return torch.from_numpy(np.array(squares[:most])).permute(0, 3, 1, 2)


def _squares(config: PixelConfig, split: str | None, size: int, channels: int) -> np.ndarray:
    """(N, S, S, C) uint8, mapped from a file that is made at the first use."""
    source = config.source(split)
    pictures = [source.fingerprint(i) for i in range(len(source.rows))]
    facts = repr((size, channels, pictures)).encode()
    cached = Path(config.cache) / f"pixels-{hashlib.sha256(facts).hexdigest()[:16]}.npy"
    make_once(cached, lambda: _write(source, size, channels, cached))
    count = json.loads(cached.with_suffix(".json").read_text())["count"]
    if not count:
        raise ValueError(f"none of the {len(source.rows)} pictures can be used")
    return np.load(cached, mmap_mode="r")[:count]


def _write(source: Source, size: int, channels: int, cached: Path) -> None:
    """All pictures that can be read, whole or not at all."""
    cached.parent.mkdir(parents=True, exist_ok=True)
    partial, count = cached.with_suffix(f".{os.getpid()}.tmp"), 0
    shape = (len(source.rows), size, size, channels)
    squares = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
    try:
        for i in tqdm(range(len(source.rows)), "reading", disable=len(source.rows) < 10_000):
            try:
                squares[count] = _square(source.open(i), size, channels)
            except PhotoError:
                continue
            count += 1
        squares.flush()
        if count < len(source.rows):
            print(f"{len(source.rows) - count} of {len(source.rows)} pictures cannot be read")
        cached.with_suffix(".json").write_text(json.dumps({"count": count}))
        os.replace(partial, cached)
    finally:
        partial.unlink(missing_ok=True)


def _square(picture: Image.Image, size: int, channels: int) -> np.ndarray:
    """The middle of a picture, (S, S, C) uint8."""
    picture = picture.convert("L" if channels == 1 else "RGB")
    if picture.size != (size, size):
        side = min(picture.size)
        left, top = ((length - side) // 2 for length in picture.size)
        box = (left, top, left + side, top + side)
        picture = picture.resize((size, size), Image.Resampling.BOX, box)
    return np.asarray(picture).reshape(size, size, channels)
