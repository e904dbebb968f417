"""A run's checkpoints on disk: each whole or absent, and told when it is damaged."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdae_app.whole import whole_file


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read; the message names it."""


def checkpoints(out: str | Path) -> list[Path]:
    """The run's complete checkpoints, oldest first."""
    return sorted(
        p for p in Path(out).glob("checkpoint-*.pt") if re.fullmatch(r".*-\d+\.pt", p.name)
    )


def write_checkpoint(state: dict, path: Path) -> None:
    """Write a file, whole or not at all, with a checksum of what is in it."""
    with whole_file(path) as partial:
        torch.save(state | {"sha256": checksum(state)}, partial)


def read_checkpoint(path: Path) -> dict:
    """The state of a checkpoint, on the CPU; those of earlier versions have no checksum.

    Raises:
        CheckpointError: it is truncated, or a bit of it has changed.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        stated = state.pop("sha256", None)
    except Exception as error:  # torch raises what it happens upon in a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise CheckpointError(f"{path} is damaged ({reason})") from error
    if stated is not None and stated != checksum(state):
        raise CheckpointError(f"{path} is damaged (its checksum is another)")
    return state


def checksum(state: Any) -> str:
    """SHA-256 of tensors and plain values in mappings and lists, whatever device they are on."""
    digest = hashlib.sha256()
    for piece in _pieces(state):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, Tensor):
        yield repr((value.dtype, tuple(value.shape))).encode()
        yield value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    elif isinstance(value, dict):
        for key, part in value.items():
            yield repr(key).encode()
            yield from _pieces(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _pieces(part)
    else:
        yield repr(value).encode()


def set_aside(path: Path) -> None:
    """Keep a damaged checkpoint under another name, so that it is not taken for one."""
    path.rename(path.with_suffix(".pt.damaged"))


def last_good(out: str | Path) -> str:
    """A phrase for messages: where to go on from."""
    found = checkpoints(out)
    return f"the last good checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
