"""Directions without labels: from pairs, from numbers, and from the codes alone.

Each is a `FewShot` as any other slider, with a score on codes that it was not fitted on.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pdae_app.latents.directions import Attribute, LatentSpace, solved
from pdae_app.latents.few_shot import FewShot
from pdae_app.latents.fit import unit_logit
from pdae_app.typed_config import short

FEWEST_PAIRS, FEWEST_NUMBERS = 4, 10
# Strengths of ridge regression, of which leave-one-out takes the best.
RIDGES = np.logspace(0, 5, 11)
KINDS = ("principal", "independent")


def fit_pairs(
    name: str, before: Tensor, after: Tensor, space: LatentSpace, held: Sequence[str] = ()
) -> FewShot:
    """The mean change of codes before and after (N, D); a slider at 1 makes it once more.

    Args:
        held: attributes whose logits the slider is to leave as they are.

    Raises:
        ValueError: fewer than `FEWEST_PAIRS` pairs, or no change in common.
    """
    if len(before) < FEWEST_PAIRS:
        raise ValueError(f"{name} needs at least {FEWEST_PAIRS} pairs, got {len(before)}")
    changes = holding(space, space.normalize(after) - space.normalize(before), held)
    changes = changes.double().numpy()
    direction = changes.mean(axis=0)
    if np.linalg.norm(direction) < 1e-6:
        raise ValueError(f"{name}: the pairs have no change in common")
    weight = direction / (direction @ direction)
    middle = space.normalize(torch.cat([before, after])).double().numpy().mean(axis=0)
    attribute = Attribute(
        name,
        bias=-float(weight @ middle),
        unit=1.0,
        score=round(_left_out_cosine(changes), 4),
        measure="cosine",
        positives=len(after),
        negatives=len(before),
    )
    return FewShot(attribute, weight, direction)


def holding(space: LatentSpace, changes: Tensor, held: Sequence[str]) -> Tensor:
    """Changes of normalised codes (N, D) without what moves the logits of the attributes held.

    What they have of an attribute is taken away along that attribute's own direction.
    """
    if not held:
        return changes
    rows = [space.names.index(name) for name in held]
    weights, directions = space.weights[rows], space.directions[rows]
    matrix = weights @ directions.T
    amounts = torch.stack([solved(matrix, weights @ change) for change in changes])
    return changes - amounts @ directions


def fit_numbers(name: str, z: Tensor, values: np.ndarray, space: LatentSpace) -> FewShot:
    """Ridge regression of values (N,) on codes z (N, D); its score is Pearson's r.

    The logit is the value in standard deviations; 1 carries a picture to the median of the
    predictions in the upper half of the values, -1 to that in the lower half.

    Raises:
        ValueError: fewer than `FEWEST_NUMBERS` codes, or values that are all the same.
    """
    from sklearn.linear_model import RidgeCV  # late: see `fit.py`

    if len(z) < FEWEST_NUMBERS:
        raise ValueError(f"{name} needs at least {FEWEST_NUMBERS} pictures, got {len(z)}")
    if np.ptp(values) == 0:
        raise ValueError(f"{name}: all values are the same")
    codes = space.normalize(z).double().numpy()
    values = (values - values.mean()) / values.std()
    score = _left_out_r(codes, values)
    model = RidgeCV(RIDGES).fit(codes, values)
    weight, predicted = model.coef_, model.predict(codes)
    effect = (codes - codes.mean(axis=0)).T @ values / len(values)
    upper = values > np.median(values)
    if upper.sum() == 0:
        upper = values == values.max()
    attribute = Attribute(
        name,
        bias=float(model.intercept_),
        positive_logit=float(np.median(predicted[upper])),
        negative_logit=float(np.median(predicted[~upper])),
        score=round(score, 4),
        measure="pearson r",
        positives=int(upper.sum()),
        negatives=int((~upper).sum()),
    )
    return FewShot(attribute, weight, unit_logit(weight, effect, codes))


def find_directions(z: Tensor, space: LatentSpace, kind: str, count: int) -> list[FewShot]:
    """The directions in which codes z (N, D) differ most, or independently of each other.

    They are found on one half of the codes and scored by the share of the other half's variance
    that lies along each. A slider at 1 goes one standard deviation.

    Args:
        kind: "principal" (PCA) or "independent" (FastICA).

    Raises:
        ValueError: an unknown kind, or more directions than the codes allow.
    """
    from sklearn.decomposition import PCA, FastICA

    codes = space.normalize(z).double().numpy()
    known, left_out = codes[::2], codes[1::2]
    if kind not in KINDS:
        raise ValueError(f"there is no kind {short(kind)}; known: {', '.join(KINDS)}")
    if not 1 <= count < min(known.shape):
        raise ValueError(f"{count} directions cannot be found in {len(known)} codes")
    if kind == "principal":
        directions = PCA(count, random_state=0).fit(known).components_
    else:
        ica = FastICA(count, whiten="unit-variance", random_state=0, max_iter=1000, tol=1e-3)
        directions = ica.fit(known).mixing_.T
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    left_out = left_out - left_out.mean(axis=0)
    spread = (left_out @ directions.T).var(axis=0)
    shares, order = spread / left_out.var(axis=0).sum(), np.argsort(-spread)
    middle = codes.mean(axis=0)
    return [
        FewShot(
            Attribute(
                f"{kind.capitalize()} {number}",
                bias=-float(directions[i] @ middle),
                unit=float(np.sqrt(spread[i])),
                score=round(float(shares[i]), 4),
                measure="explained variance",
            ),
            directions[i],
            directions[i],
        )
        for number, i in enumerate(order, 1)
    ]


def _left_out_cosine(changes: np.ndarray) -> float:
    """The mean cosine between each change (N, D) and the mean of the others."""
    others = (changes.sum(axis=0) - changes) / (len(changes) - 1)
    norms = np.linalg.norm(others, axis=1) * np.linalg.norm(changes, axis=1)
    return float(np.mean((others * changes).sum(axis=1) / np.maximum(norms, 1e-12)))


def _left_out_r(codes: np.ndarray, values: np.ndarray) -> float:
    """Pearson's r of values that were each predicted without the picture in question.

    Intercepts are left out: leaving out a high value lowers the mean of the rest, which without
    any signal would rank the pictures backwards.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold

    predicted = np.zeros(len(values))
    folds = KFold(min(10, len(values)), shuffle=True, random_state=0)
    for rest, left in folds.split(codes):
        model = RidgeCV(RIDGES).fit(codes[rest], values[rest])
        predicted[left] = (codes[left] - codes[rest].mean(axis=0)) @ model.coef_
    if np.ptp(predicted) == 0:
        return 0.0
    return float(np.corrcoef(predicted, values)[0, 1])
