"""Encode a labelled data set, fit one direction an attribute, write the bundle for the app.

python training/train_attributes.py --config training/configs/faces64/attributes.yaml
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pdae_app.bundle import load_bundle, save_bundle
from pdae_app.latents.fit import Labelled, fit_latent_space
from pdae_app.models.semantic import SemanticEncoder
from training.config import ConfigError, parse
from training.data import DataConfig, Pictures, load_pictures, plain_squares
from training.loop import run_script


@dataclass(frozen=True)
class AttributesConfig:
    """Everything that `train_attributes.py` takes.

    `data.split` names the training rows, `test_split` the rows that the AUROC is measured on;
    `attributes` the label columns (default: every column of 0s and 1s); `person` the column that
    groups pictures of the same person; `controls` columns of kinds (where a picture comes from)
    that no direction should carry along. `info` goes into the bundle as it is.
    """

    model: str
    bundle: str
    data: DataConfig
    test_split: str | None = "test"
    attributes: tuple[str, ...] | None = None
    person: str | None = None
    controls: tuple[str, ...] = ()
    folds: int = 5
    info: dict[str, str] | None = None


def encode_squares(encoder: SemanticEncoder, squares: Tensor, batch_size: int = 64) -> Tensor:
    """Codes z (N, D) of squares (N, 3, S, S) in [-1, 1], on the CPU."""
    device = next(encoder.parameters()).device
    with torch.inference_mode():
        return torch.cat([encoder(batch.to(device)).cpu() for batch in squares.split(batch_size)])


def label_columns(pictures: Pictures) -> list[str]:
    """The columns that hold nothing but 0 and 1."""
    columns = pictures.rows[0].keys()
    return [c for c in columns if all(row[c] in ("0", "1") for row in pictures.rows)]


def labelled(
    encoder: SemanticEncoder, pictures: Pictures, config: AttributesConfig, mirrored: bool
) -> Labelled:
    """Codes and labels of a split; `mirrored` adds every picture's mirror image."""
    names = config.attributes or label_columns(pictures)
    missing = [name for name in names if name not in pictures.rows[0]]
    if missing or not names:
        raise ConfigError(f"the labels have no columns {', '.join(missing) or 'of 0 and 1'}")
    squares = plain_squares(pictures, encoder.config.image_size)
    ways = [squares, squares.flip(-1)] if mirrored else [squares]
    z = torch.cat([encode_squares(encoder, way) for way in ways])
    rows = pictures.rows * len(ways)
    person = np.array([row[config.person] if config.person else row["file"] for row in rows])
    labels = {name: np.array([int(row[name]) for row in rows]) for name in names}
    return Labelled(z, labels, person, _one_hot(rows, config.controls))


def _one_hot(rows: list[dict[str, str]], columns: tuple[str, ...]) -> np.ndarray | None:
    kinds = [(column, kind) for column in columns for kind in sorted({r[column] for r in rows})]
    if not kinds:
        return None
    return np.array([[float(row[column] == kind) for column, kind in kinds] for row in rows])


def main() -> None:
    """The command line."""
    config = parse(AttributesConfig, __doc__)
    bundle = load_bundle(config.model)
    size = bundle.unet.config.image_size
    encoder = bundle.model.encoder
    train = labelled(encoder, load_pictures(config.data, size), config, config.data.flip)
    test = None
    if config.test_split:
        held_out = load_pictures(replace(config.data, split=config.test_split), size)
        test = labelled(encoder, held_out, config, mirrored=False)
    bundle.latents = fit_latent_space(train, test, config.folds)
    bundle.info |= config.info or {}
    save_bundle(bundle, config.bundle)
    for attribute in bundle.latents.attributes:
        print(f"{attribute.name:24} AUROC {attribute.auroc}")
    if test is not None:
        mean = np.mean([attribute.auroc for attribute in bundle.latents.attributes])
        print(f"{'mean':24} AUROC {mean:.4f}")


if __name__ == "__main__":
    run_script(main)
