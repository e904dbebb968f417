"""Attributes from a handful of pictures (Diff-AE, Appendix A.2; PDAE, Section 4.7).

Either with examples of both kinds, or positive-unlabelled: examples that have the attribute, beside
codes of which nothing is known. The latter counts every positive as often as it takes to balance
the two (oversampling, done here by weights).
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pdae_app.latents.directions import Attribute, LatentSpace
from pdae_app.latents.fit import stacked, unit_logit

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

# Strength of the regularisation (scikit-learn's C): little trust in few examples, less in positives
# among codes that may be positive themselves.
BINARY_C, UNLABELLED_C = 1e-2, 1e-3
# Up to so many examples every one is left out in turn; of more, a tenth at a time.
LEAVE_ONE_OUT = 40
FEWEST = 2


@dataclass(frozen=True)
class FewShot:
    """A fitted attribute: `weight` and `direction` (D,) on normalised z.

    `attribute.auroc` is of examples that the classifier was not fitted on.
    """

    attribute: Attribute
    weight: np.ndarray
    direction: np.ndarray

    def added_to(self, space: LatentSpace) -> LatentSpace:
        """The space with this attribute behind its own, or in place of its namesake."""
        kept = [i for i, name in enumerate(space.names) if name != self.attribute.name]
        return replace(
            space,
            weights=stacked([*space.weights[kept].numpy(), self.weight]),
            directions=stacked([*space.directions[kept].numpy(), self.direction]),
            attributes=(*(space.attributes[i] for i in kept), self.attribute),
            affine=tuple(e for e in space.affine if e.side.attribute != self.attribute.name),
        )


def fit_few_shot(
    name: str, positives: Tensor, others: Tensor, space: LatentSpace, unlabelled: bool = False
) -> FewShot:
    """A direction from few codes.

    Args:
        positives: codes (P, D) that have the attribute.
        others: codes (N, D) that do not have it, or `unlabelled` ones.
        space: whose mean and standard deviation normalise the codes.

    Raises:
        ValueError: fewer than two codes of either kind.
    """
    from sklearn.linear_model import LogisticRegression  # late: see `fit.py`

    for kind, codes in (("with", positives), ("without", others)):
        if len(codes) < FEWEST:
            raise ValueError(f"{name} needs at least {FEWEST} pictures {kind} it, got {len(codes)}")
    known = space.normalize(positives), space.normalize(others)
    codes = np.concatenate([part.double().numpy() for part in known])
    labels = np.repeat([1, 0], [len(positives), len(others)])
    model = LogisticRegression(
        C=UNLABELLED_C if unlabelled else BINARY_C, max_iter=1000, class_weight="balanced"
    )
    auroc = held_out_auroc(model, codes, labels)
    weight = model.fit(codes, labels).coef_[0]
    # Few examples know of no other attributes to hold: the difference of the means is the path.
    effect = codes[labels == 1].mean(axis=0) - codes[labels == 0].mean(axis=0)
    logits = model.decision_function(codes)
    attribute = Attribute(
        name=name,
        bias=float(model.intercept_[0]),
        positive_logit=float(np.median(logits[labels == 1])),
        negative_logit=float(np.median(logits[labels == 0])),
        auroc=round(auroc, 4),
        positives=len(positives),
        negatives=0 if unlabelled else len(others),
    )
    return FewShot(attribute, weight, unit_logit(weight, effect, codes))


def held_out_auroc(model: "LogisticRegression", codes: np.ndarray, labels: np.ndarray) -> float:
    """AUROC of logits that were each predicted without the picture in question."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    rarer = int(np.bincount(labels).min())
    if len(labels) <= LEAVE_ONE_OUT:
        logits = _left_out_one_by_one(model, codes, labels)
    else:
        folds = StratifiedKFold(min(10, rarer), shuffle=True, random_state=0)
        logits = cross_val_predict(model, codes, labels, cv=folds, method="decision_function")
    return float(roc_auc_score(labels, logits))


def _left_out_one_by_one(model, codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each logit by a model fitted on the rest, its intercept left out.

    Leaving out one example tips the balance of the rest against it, which the intercept would carry
    over: with no signal at all, every left-out picture would be ranked wrong.
    """
    logits = []
    for i in range(len(labels)):
        rest = np.arange(len(labels)) != i
        fitted = model.fit(codes[rest], labels[rest])
        middle = [codes[rest & (labels == kind)].mean(axis=0) for kind in (0, 1)]
        logits.append((codes[i] - (middle[0] + middle[1]) / 2) @ fitted.coef_[0])
    return np.array(logits)
