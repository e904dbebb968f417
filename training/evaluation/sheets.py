"""Contact sheets of edits: held-out people, to be looked at, never shared."""

from pathlib import Path

import torch
from torch import Tensor
from torchvision.utils import save_image

from pdae_app.whole import whole_file
from training.evaluation.edits import Edited

FACES = 12


def save_sheet(edited: Edited, originals: Tensor, folder: Path) -> None:
    """One PNG of a slider: a person a row, the photograph first, then the slider's values.

    Args:
        originals: squares (P, 3, S, S) in [-1, 1] of the people that were edited.
    """
    columns = torch.cat([originals[None], edited.pictures])[:, :FACES]
    pictures = columns.transpose(0, 1).flatten(0, 1)
    with whole_file(folder / f"{edited.name}.png") as partial:
        save_image(pictures / 2 + 0.5, partial, nrow=len(columns))
