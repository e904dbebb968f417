"""Contact sheets of edits: held-out people, to be looked at, never shared."""

from pathlib import Path

import torch
from torch import Tensor
from torchvision.utils import save_image

from training.evaluation.edits import Edited

FACES = 12


def save_sheet(edited: Edited, originals: Tensor, folder: Path) -> None:
    """One PNG of a slider: a person a row, the photograph first, then the slider's values.

    Args:
        originals: squares (P, 3, S, S) in [-1, 1] of the people that were edited.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns = torch.cat([originals[None], edited.pictures])[:, :FACES]
    pictures = columns.transpose(0, 1).flatten(0, 1)
    save_image(pictures / 2 + 0.5, folder / f"{edited.name}.png", nrow=len(columns))
