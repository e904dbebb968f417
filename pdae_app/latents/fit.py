"""Fitting attribute directions: scikit-learn's logistic regression, cross-validated."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from torch import Tensor

from pdae_app.latents.directions import Attribute, LatentSpace

STRENGTHS = np.logspace(-5, 0, 11)


@dataclass(frozen=True)
class Labelled:
    """Codes (N, D) with 0/1 labels by attribute (N,) and the person in each picture (N,)."""

    z: Tensor
    labels: dict[str, np.ndarray]
    person: np.ndarray


def fit_latent_space(train: Labelled, test: Labelled | None, folds: int = 5) -> LatentSpace:
    """Statistics of z, and for every attribute a direction with its held-out AUROC.

    Raises:
        ValueError: an attribute has fewer than `folds` positives or negatives.
    """
    mean, std = train.z.mean(dim=0), train.z.std(dim=0).clamp(min=1e-6)
    codes = ((train.z - mean) / std).double().numpy()
    covariance = np.cov(codes, rowvar=False)
    attributes, weights, directions = [], [], []
    for name, labels in train.labels.items():
        _check_counts(name, labels, folds)
        model = _fit(codes, labels, train.person, folds)
        weight = model.coef_[0]
        attribute = _describe(name, model, codes, labels)
        if test is not None:
            attribute = _scored(
                attribute, model, ((test.z - mean) / std).numpy(), test.labels[name]
            )
        attributes.append(attribute)
        weights.append(weight)
        directions.append(pattern(weight, covariance))
    return LatentSpace(mean, std, _rows(weights), _rows(directions), tuple(attributes))


def pattern(weight: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The direction in which codes with a higher logit really differ: Sigma w / (w' Sigma w).

    A regression's weights also cancel what merely disturbs it, and a step along them changes the
    logit more than the picture. The pattern (Haufe et al. 2014, Eq. 6) follows the codes' own
    covariance, so that a step along it stays among codes that occur.
    """
    direction = covariance @ weight
    return direction / (weight @ direction)


def _rows(vectors: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(vectors)).float()


def _check_counts(name: str, labels: np.ndarray, folds: int) -> None:
    positives, negatives = int(labels.sum()), int((1 - labels).sum())
    if min(positives, negatives) < folds:
        raise ValueError(
            f"attribute {name!r} has {positives} positives and {negatives} negatives; "
            f"at least {folds} of each are needed"
        )


def _fit(codes, labels, person, folds) -> LogisticRegression:
    search = GridSearchCV(
        LogisticRegression(max_iter=2000, class_weight="balanced"),
        {"C": STRENGTHS},
        scoring="roc_auc",
        # The same person never stands on both sides.
        cv=StratifiedGroupKFold(folds, shuffle=True, random_state=0),
    )
    return search.fit(codes, labels, groups=person).best_estimator_


def _describe(name, model, codes, labels) -> Attribute:
    logits = model.decision_function(codes)
    return Attribute(
        name=name,
        bias=float(model.intercept_[0]),
        positive_logit=float(np.median(logits[labels == 1])),
        negative_logit=float(np.median(logits[labels == 0])),
        positives=int((labels == 1).sum()),
        negatives=int((labels == 0).sum()),
    )


def _scored(attribute: Attribute, model, codes, labels) -> Attribute:
    auroc = float(roc_auc_score(labels, model.decision_function(codes)))
    return Attribute(**{**vars(attribute), "auroc": round(auroc, 4)})
