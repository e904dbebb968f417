"""Fit one direction an attribute on encoded pictures, and write the bundle for the app.

python training/train_attributes.py --config training/configs/faces128/attributes.yaml
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from pdae_app.bundle import Bundle, load_bundle, save_bundle
from pdae_app.diffusion.coupled import Repaint
from pdae_app.diffusion.process import Time
from pdae_app.latents.clearing import Clearing, check_clearings
from pdae_app.latents.directions import LatentSpace
from pdae_app.latents.few_shot import FewShot, fit_few_shot
from pdae_app.latents.fit import Labelled, fit_latent_space
from pdae_app.typed_config import short
from training.affine_edits import AffineConfig, fit_affine_edits
from training.config import ConfigError, parse
from training.encode_latents import Latents, load_latents
from training.evaluation.overlap import pass_on_hashes
from training.loop import run_script


@dataclass(frozen=True)
class AttributesConfig:
    """Everything that `train_attributes.py` takes.

    `latents` is a file of `encode_latents.py`; `split` names its training rows, `test_split` the
    rows that the AUROC is measured on; `attributes` the label columns (default: every column of 0s
    and 1s); `person` the column that groups pictures of the same person; `controls` columns of
    kinds (where a picture comes from) that no direction should carry along. `stepping`, `floor`,
    `coupled_from`, `repaint` and `info` go into the bundle as they are.

    `affine` makes sides of sliders go each person's own way (`training/affine_edits.py`); the model
    needs a sketch for it. `clearings` are sides that take the photograph's own detail away more
    readily (`pdae_app/latents/clearing.py`). `at_two` is, for an attribute, how many full units its
    slider goes at 2.

    `few_shot` fits on so many positives and as many negatives, drawn by `seed`, and nothing else;
    with `unlabelled`, on the positives and so many codes whose labels are not looked at.
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
    stepping: str | None = None
    floor: Time | None = None
    coupled_from: Time | None = None
    repaint: Repaint | None = None
    affine: AffineConfig | None = None
    clearings: tuple[Clearing, ...] = ()
    at_two: dict[str, float] = field(default_factory=dict)
    info: dict[str, str] | None = None
    few_shot: int | None = None
    unlabelled: int | None = None
    seed: int = 0

    def __post_init__(self):
        if self.unlabelled and not self.few_shot:
            raise ValueError("unlabelled goes with few_shot, the number of positives")
        if self.affine and self.few_shot:
            raise ValueError("affine edits need all the labels, not few_shot")


def label_columns(rows: list[dict[str, str]]) -> list[str]:
    """The columns that hold both 0 and 1, and nothing else."""
    return [c for c in rows[0] if {row[c] for row in rows} == {"0", "1"}]


def labelled(latents: Latents, config: AttributesConfig) -> Labelled:
    """Codes with their labels."""
    rows = latents.rows
    names = config.attributes or label_columns(rows)
    missing = [name for name in names if name not in rows[0]]
    if missing or not names:
        raise ConfigError(f"the labels have no columns {', '.join(missing) or 'of 0 and 1'}")
    person = np.array([row[config.person] if config.person else row["file"] for row in rows])
    labels = {name: np.array([int(row[name]) for row in rows]) for name in names}
    return Labelled(
        latents.z, labels, person, _one_hot(rows, config.controls), ~latents.mirrored.numpy()
    )


def _one_hot(rows: list[dict[str, str]], columns: tuple[str, ...]) -> np.ndarray | None:
    kinds = [(column, kind) for column in columns for kind in sorted({r[column] for r in rows})]
    if not kinds:
        return None
    return np.array([[float(row[column] == kind) for column, kind in kinds] for row in rows])


def fit_few(
    config: AttributesConfig,
    train: Labelled,
    test: Labelled | None,
    statistics: tuple[Tensor, Tensor] | None = None,
) -> LatentSpace:
    """The space of directions fitted on few codes each; for `statistics` see `fit_latent_space`."""
    mean, std = statistics or (train.z.mean(dim=0), train.z.std(dim=0).clamp(min=1e-6))
    space = LatentSpace(mean, std, *torch.zeros(2, 0, train.z.shape[1]))
    for name, labels in train.labels.items():
        found = _drawn_and_fitted(config, name, train.z, labels, space)
        space = found.added_to(space)
    return space if test is None else _scored(space, test)


def _drawn_and_fitted(config, name: str, z, labels: np.ndarray, space: LatentSpace) -> FewShot:
    order = np.random.default_rng(config.seed).permutation(len(labels))
    positives = order[labels[order] == 1][: config.few_shot]
    if config.unlabelled:
        others = order[~np.isin(order, positives)][: config.unlabelled]
    else:
        others = order[labels[order] == 0][: config.few_shot]
    return fit_few_shot(name, z[positives], z[others], space, bool(config.unlabelled))


def _scored(space: LatentSpace, test: Labelled) -> LatentSpace:
    """The space with each AUROC measured on the test rows."""
    logits = space.logits(test.z).numpy()
    attributes = tuple(
        replace(a, auroc=round(float(roc_auc_score(test.labels[a.name], logits[:, i])), 4))
        for i, a in enumerate(space.attributes)
    )
    return replace(space, attributes=attributes)


def with_affine_edits(bundle: Bundle, train: Labelled, config: AttributesConfig) -> LatentSpace:
    """The bundle's sliders with the affine edits that are asked for.

    Raises:
        ConfigError: the bundle has no sketch.
    """
    sketch = getattr(getattr(bundle.model, "shift", None), "sketch", None)
    if sketch is None:
        raise ConfigError(f"{config.model} has no sketch, and affine edits are found by it")
    edits = fit_affine_edits(bundle.latents, sketch, train.z, train.labels, config.affine)
    return replace(bundle.latents, affine=edits)


def with_at_two(space: LatentSpace, at_two: Mapping[str, float]) -> LatentSpace:
    """The space whose sliders go so far at 2.

    Raises:
        ConfigError: an unknown attribute, or a value that cannot be.
    """
    if unknown := [name for name in at_two if name not in space.names]:
        known = ", ".join(space.names)
        raise ConfigError(f"at_two names {short(unknown[0])}; known: {known}")
    try:
        found = [replace(a, at_two=at_two.get(a.name, a.at_two)) for a in space.attributes]
    except ValueError as error:
        raise ConfigError(f"{error}") from error
    return replace(space, attributes=tuple(found))


def main() -> None:
    """The command line."""
    config = parse(AttributesConfig, __doc__)
    bundle = load_bundle(config.model)
    if not bundle.family.has_codes:
        raise ConfigError(f"{config.model} has no encoder")
    latents = load_latents(config.latents, bundle.model.encoder)
    train, test = labelled(latents.of_split(config.split), config), None
    check_clearings(config.clearings, list(train.labels), bundle.unet.config.image_size)
    bundle.clearings = config.clearings
    if config.test_split:
        test = labelled(latents.of_split(config.test_split, mirrored=False), config)
    # A prior was trained on codes normalised by certain statistics, and needs them again.
    statistics = (bundle.latents.mean, bundle.latents.std) if bundle.prior else None
    if config.few_shot:
        bundle.latents = fit_few(config, train, test, statistics)
    else:
        bundle.latents = fit_latent_space(train, test, config.folds, statistics)
    if config.affine:
        bundle.latents = with_affine_edits(bundle, train, config)
    bundle.latents = with_at_two(bundle.latents, config.at_two)
    bundle.info |= config.info or {}
    for name in ("stepping", "floor", "coupled_from", "repaint"):
        if getattr(config, name) is not None:
            setattr(bundle, name, getattr(config, name))
    save_bundle(bundle, config.bundle)
    pass_on_hashes(bundle.folder, config.bundle)
    for attribute in bundle.latents.attributes:
        print(f"{attribute.name:24} AUROC {attribute.auroc}")
    if test is not None:
        mean = np.mean([attribute.auroc for attribute in bundle.latents.attributes])
        print(f"{'mean':24} AUROC {mean:.4f}")


if __name__ == "__main__":
    run_script(main)
