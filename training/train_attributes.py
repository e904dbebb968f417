"""Fit one direction an attribute on encoded pictures, and write the bundle for the app.

python training/train_attributes.py --config training/configs/faces64/attributes.yaml
"""

from dataclasses import dataclass

import numpy as np

from pdae_app.bundle import load_bundle, save_bundle
from pdae_app.latents.fit import Labelled, fit_latent_space
from training.config import ConfigError, parse
from training.encode_latents import Latents, load_latents
from training.loop import run_script


@dataclass(frozen=True)
class AttributesConfig:
    """Everything that `train_attributes.py` takes.

    `latents` is a file of `encode_latents.py`; `split` names its training rows, `test_split` the
    rows that the AUROC is measured on; `attributes` the label columns (default: every column of 0s
    and 1s); `person` the column that groups pictures of the same person; `controls` columns of
    kinds (where a picture comes from) that no direction should carry along. `floor` and `info`
    go into the bundle as they are.
    """

    model: str
    latents: str
    bundle: str
    split: str | None = "train"
    test_split: str | None = "test"
    attributes: tuple[str, ...] | None = None
    person: str | None = None
    controls: tuple[str, ...] = ()
    folds: int = 5
    floor: int | None = None
    info: dict[str, str] | None = None


def label_columns(rows: list[dict[str, str]]) -> list[str]:
    """The columns that hold nothing but 0 and 1."""
    return [c for c in rows[0] if all(row[c] in ("0", "1") for row in rows)]


def labelled(latents: Latents, config: AttributesConfig) -> Labelled:
    """Codes with their labels."""
    rows = latents.rows
    names = config.attributes or label_columns(rows)
    missing = [name for name in names if name not in rows[0]]
    if missing or not names:
        raise ConfigError(f"the labels have no columns {', '.join(missing) or 'of 0 and 1'}")
    person = np.array([row[config.person] if config.person else row["file"] for row in rows])
    labels = {name: np.array([int(row[name]) for row in rows]) for name in names}
    return Labelled(latents.z, labels, person, _one_hot(rows, config.controls))


def _one_hot(rows: list[dict[str, str]], columns: tuple[str, ...]) -> np.ndarray | None:
    kinds = [(column, kind) for column in columns for kind in sorted({r[column] for r in rows})]
    if not kinds:
        return None
    return np.array([[float(row[column] == kind) for column, kind in kinds] for row in rows])


def main() -> None:
    """The command line."""
    config = parse(AttributesConfig, __doc__)
    bundle = load_bundle(config.model)
    if bundle.model is None:
        raise ConfigError(f"{config.model} has no encoder")
    latents = load_latents(config.latents, bundle.model.encoder)
    train, test = labelled(latents.of_split(config.split), config), None
    if config.test_split:
        test = labelled(latents.of_split(config.test_split, mirrored=False), config)
    # A prior was trained on codes normalised by certain statistics, and needs them again.
    statistics = (bundle.latents.mean, bundle.latents.std) if bundle.prior else None
    bundle.latents = fit_latent_space(train, test, config.folds, statistics)
    bundle.info |= config.info or {}
    bundle.floor = bundle.floor if config.floor is None else config.floor
    save_bundle(bundle, config.bundle)
    for attribute in bundle.latents.attributes:
        print(f"{attribute.name:24} AUROC {attribute.auroc}")
    if test is not None:
        mean = np.mean([attribute.auroc for attribute in bundle.latents.attributes])
        print(f"{'mean':24} AUROC {mean:.4f}")


if __name__ == "__main__":
    run_script(main)
