"""Fitting attribute directions: scikit-learn's logistic regression, cross-validated.

scikit-learn is imported by the functions that fit: it takes a third of what the app loads when it
starts, and who only edits never needs it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pdae_app.latents.directions import Attribute, LatentSpace

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

STRENGTHS = np.logspace(-4, -1, 4)


@dataclass(frozen=True)
class Labelled:
    """Codes (N, D) with 0/1 labels by attribute (N,) and the person in each picture (N,).

    `controls` (N, K) are further facts of the pictures that no slider should carry along, such as
    where they come from. `own` (N,) are the pictures that count: mirror images are of
    the same people.
    """

    z: Tensor
    labels: dict[str, np.ndarray]
    person: np.ndarray
    controls: np.ndarray | None = None
    own: np.ndarray | None = None


def fit_latent_space(
    train: Labelled,
    test: Labelled | None,
    folds: int = 5,
    statistics: tuple[Tensor, Tensor] | None = None,
) -> LatentSpace:
    """Statistics of z, and for every attribute a direction with its held-out AUROC.

    Args:
        statistics: mean and standard deviation (D,) to normalise by; by default those of `train`.

    Raises:
        ValueError: an attribute has fewer than `folds` positives or negatives.
    """
    mean, std = statistics or (train.z.mean(dim=0), train.z.std(dim=0).clamp(min=1e-6))
    codes = ((train.z - mean) / std).double().numpy()
    attributes, weights = [], []
    for name, labels in train.labels.items():
        _check_counts(name, labels, folds)
        model = _fit(codes, labels, train.person, folds)
        attribute = _describe(name, model, codes, labels, train.own)
        if test is not None:
            test_codes = ((test.z - mean) / std).double().numpy()
            attribute = _scored(attribute, model, test_codes, test.labels[name])
        attributes.append(attribute)
        weights.append(model.coef_[0])
    effects = partial_effects(codes, np.stack(list(train.labels.values()), axis=1), train.controls)
    directions = [
        unit_logit(weight, effect, codes) for weight, effect in zip(weights, effects, strict=True)
    ]
    return LatentSpace(mean, std, stacked(weights), stacked(directions), tuple(attributes))


def partial_effects(
    codes: np.ndarray, labels: np.ndarray, controls: np.ndarray | None = None
) -> np.ndarray:
    """How codes (N, D) differ with each label (N, A), all others and the controls held: (A, D).

    The coefficients of one least-squares regression of the codes on everything known about the
    pictures. A classifier's own weights make a poor path: they also cancel what merely disturbs
    the decision (Haufe et al. 2014), so that a step changes the logit and hardly the picture; and
    the plain difference of class means carries along whatever goes with the attribute in the data.
    """
    known = labels if controls is None else np.column_stack([labels, controls])
    known = known - known.mean(axis=0)
    effects, *_ = np.linalg.lstsq(known, codes - codes.mean(axis=0), rcond=1e-6)
    return effects[: labels.shape[1]]


def unit_logit(weight: np.ndarray, effect: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """`effect` scaled so that a step of 1 raises the logit by 1.

    Where the logit does not rise along it (an attribute that others explain), the path that
    follows the codes' covariance is taken: Sigma w / (w' Sigma w), along which it always does.
    """
    if weight @ effect <= 0.05 * np.linalg.norm(weight) * np.linalg.norm(effect):
        effect = np.cov(codes, rowvar=False) @ weight
    return effect / (weight @ effect)


def stacked(vectors: list[np.ndarray]) -> Tensor:
    """Vectors (D,) as rows (A, D), float32."""
    return torch.from_numpy(np.stack(vectors)).float()


def _check_counts(name: str, labels: np.ndarray, folds: int) -> None:
    positives, negatives = int(labels.sum()), int((1 - labels).sum())
    if min(positives, negatives) < folds:
        raise ValueError(
            f"attribute {name!r} has {positives} positives and {negatives} negatives; "
            f"at least {folds} of each are needed"
        )


def _fit(codes, labels, person, folds) -> "LogisticRegression":
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold

    search = GridSearchCV(
        LogisticRegression(max_iter=1000, tol=1e-3, class_weight="balanced"),
        {"C": STRENGTHS},
        scoring="roc_auc",
        # The same person never stands on both sides.
        cv=StratifiedGroupKFold(folds, shuffle=True, random_state=0),
        n_jobs=-1,
    )
    return search.fit(codes, labels, groups=person).best_estimator_


def _describe(name, model, codes, labels, own: np.ndarray | None) -> Attribute:
    own = np.ones(len(labels), bool) if own is None else own
    logits = model.decision_function(codes)
    return Attribute(
        name=name,
        bias=float(model.intercept_[0]),
        positive_logit=float(np.median(logits[labels == 1])),
        negative_logit=float(np.median(logits[labels == 0])),
        positives=int((labels[own] == 1).sum()),
        negatives=int((labels[own] == 0).sum()),
    )


def _scored(attribute: Attribute, model, codes, labels) -> Attribute:
    from sklearn.metrics import roc_auc_score

    auroc = float(roc_auc_score(labels, model.decision_function(codes)))
    return Attribute(**{**vars(attribute), "auroc": round(auroc, 4)})
