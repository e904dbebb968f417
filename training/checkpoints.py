"""A run's checkpoints on disk: each whole or absent."""

import re
from pathlib import Path

import torch

from pdae_app.whole import whole_file


def checkpoints(out: str | Path) -> list[Path]:
    """The run's complete checkpoints, oldest first."""
    return sorted(
        p for p in Path(out).glob("checkpoint-*.pt") if re.fullmatch(r".*-\d+\.pt", p.name)
    )


def write_checkpoint(state: dict, path: Path) -> None:
    """Write a file, whole or not at all."""
    with whole_file(path) as partial:
        torch.save(state, partial)


def last_good(out: str | Path) -> str:
    """A phrase for messages: where to go on from."""
    found = checkpoints(out)
    return f"the last good checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
