"""What a diffusion model learns from: pictures as they are, or a first stage's states of them.

States of a latent model are made once, in several views of every picture, and kept in a file: a
view costs as much as the diffusion model's own step.
"""

import hashlib
import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from pdae_app.bundle import network_identity, resized
from pdae_app.models.first_stage import FirstStage, Pixels
from pdae_app.whole import whole_file
from training.caches import make_once
from training.data import (
    AugmentedSquares,
    DataConfig,
    example_pictures,
    held_out_squares,
    training_set,
)


@dataclass(frozen=True)
class Sizes:
    """Sides in pixels: of whole pictures, and of those that a semantic encoder reads, if any."""

    picture: int
    read: int | None = None


def state_set(config: DataConfig, first_stage: FirstStage, sizes: Sizes) -> Dataset:
    """Varied training items: states (C, S, S), each with its picture where an encoder reads one.

    Without a first stage of its own, an item is the picture alone (or picture and class): state and
    what the encoder reads are the same.
    """
    squares = training_set(config, sizes.picture, first_stage.picture_channels)
    if isinstance(first_stage, Pixels):
        return squares
    return EncodedSquares(squares, first_stage, sizes.read)


class EncodedSquares(Dataset):
    """States of `views` variations of every picture, read from a file: `dataset[index, seed]`.

    An item is (C, S, S), or with `read` also the picture (3, read, read) in [-1, 1] that a semantic
    encoder reads.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, squares: AugmentedSquares, first_stage: FirstStage, read: int | None):
        self.views, self.count, self.read = squares.config.views, len(squares), read
        cached = Path(squares.config.cache or "runs/cache")
        side = _kept_side(squares.image_size, read)
        cached /= _fingerprint(squares, first_stage, side)
        made = cached.with_suffix(".pictures.npy")
        make_once(made, lambda: _encode(squares, first_stage, cached, side))
        self._states = np.load(cached.with_suffix(".states.npy"), mmap_mode="r")
        self._pictures = np.load(cached.with_suffix(".pictures.npy"), mmap_mode="r")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: tuple[int, int]) -> Tensor | tuple[Tensor, Tensor]:
        index, seed = key
        place = index * self.views + seed % self.views
        state = torch.from_numpy(self._states[place].astype(np.float32))
        if self.read is None:
            return state
        picture = torch.from_numpy(self._pictures[place].astype(np.float32)) / 127.5 - 1
        return state, resized(picture[None], self.read)[0]


# So many pictures go through a first stage at once: its first layers are large.
AT_ONCE = 4

# Pictures are kept at this part of their side, unless an encoder reads larger ones.
KEPT = 2


def _kept_side(size: int, read: int | None) -> int:
    return size if read is not None and read > size // KEPT else size // KEPT


def _fingerprint(squares: AugmentedSquares, first_stage: FirstStage, side: int) -> str:
    config = squares.config
    augmentation = (config.flip, config.scale_jitter, config.shift_jitter, config.color_jitter)
    facts = (squares.pictures.identity, squares.image_size, config.views, augmentation)
    # The usual side is not named, so that states made before others were possible are found.
    whole = [side] if side == squares.image_size else []
    text = json.dumps([*facts, network_identity(first_stage), *whole])
    return "states-" + hashlib.sha256(text.encode()).hexdigest()[:16]


def own_device() -> str:
    """The GPU of this process, or "cpu": a bare "cuda" would send all processes to the first."""
    if not torch.cuda.is_available():
        return "cpu"
    # Launchers may show each process its own GPU alone: then that is number 0 whatever the rank.
    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"


@torch.inference_mode()
def _encode(squares: AugmentedSquares, first_stage: FirstStage, cached: Path, kept: int) -> None:
    """Write all states and reduced pictures; the second file's name says that both are whole."""
    views, size = squares.config.views, squares.image_size
    count, side = len(squares) * views, size // first_stage.factor
    shapes = {
        ".states.npy": (np.float16, (count, first_stage.state_channels, side, side)),
        ".pictures.npy": (np.uint8, (count, squares.channels, kept, kept)),
    }
    device = own_device()
    first_stage.to(device)
    with ExitStack() as stack:
        files = {}
        for end, (kind, shape) in reversed(shapes.items()):  # the last opened is the first there
            partial = stack.enter_context(whole_file(cached.with_suffix(end)))
            files[end] = np.lib.format.open_memmap(partial, "w+", kind, shape)
            stack.callback(files[end].flush)
        items = (squares[place // views, place] for place in tqdm(range(count), desc="encoding"))
        start = 0
        while batch := list(islice(items, 32)):
            pictures, part = torch.stack(batch), slice(start, start + len(batch))
            states = torch.cat(
                [first_stage.encode(few.to(device)) for few in pictures.split(AT_ONCE)]
            )
            files[".states.npy"][part] = states.half().cpu().numpy()
            reduced = (resized(pictures, kept) + 1) * 127.5
            files[".pictures.npy"][part] = reduced.round().clamp(0, 255).byte().numpy()
            start += len(batch)
    first_stage.to("cpu")


@torch.inference_mode()
def shown_items(dataset: Dataset, count: int = 16) -> tuple[Tensor, ...]:
    """The first items of a data set, for grids of samples: states, and pictures if there are."""
    if isinstance(dataset, AugmentedSquares):
        return (example_pictures(dataset, count),)
    items = [dataset[i, 0] for i in range(min(count, len(dataset)))]
    if isinstance(items[0], Tensor):
        return (torch.stack(items),)
    return tuple(torch.stack(part) for part in zip(*items, strict=True))


@torch.inference_mode()
def held_out_states(
    config: DataConfig, first_stage: FirstStage, sizes: Sizes
) -> tuple[Tensor, ...] | None:
    """States of `config.held_out`, and pictures where an encoder reads them; None without it."""
    squares = held_out_squares(config, sizes.picture, first_stage.picture_channels)
    if squares is None:
        return None
    if isinstance(first_stage, Pixels):
        return (squares,)
    states = torch.cat([first_stage.encode(few) for few in squares.split(AT_ONCE)])
    return (states,) if sizes.read is None else (states, resized(squares, sizes.read))
