"""What codes tell linearly: classification of all 0/1 labels, regression of all numbers."""

from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import GroupShuffleSplit
from torch import Tensor

from training.evaluation.case import Case
from training.evaluation.held_out import Squares
from training.evaluation.table import Cell, LeftOutError, Table, number, with_error
from training.pixel_classifier import label_table

TITLE = "What codes tell: attributes and numbers"
OF = "Diff-AE, Table 8"

TEST = 0.3
RESAMPLES = 100
# Trust in the codes (scikit-learn's C, and the inverse of its alpha).
TRUST = 1e-2
# Below so many of a kind nothing is fitted.
FEWEST = 5
# Columns that name, place or group pictures.
NO_LABELS = ("file", "split", "person", "source", "class")


def measure(case: Case) -> Table:
    """AUROC and average precision of every attribute, Pearson's r and MSE of every number.

    Raises:
        LeftOutError: there are no labels.
    """
    train, test, how = _parts(case)
    names = [c for c in train[1][0] if c not in NO_LABELS]
    binary = [name for name in names if _values(train[1] + test[1], name) <= {"0", "1"}]
    numbers = [name for name in names if name not in binary and _numeric(train[1] + test[1], name)]
    if not binary and not numbers:
        raise LeftOutError("the pictures have no labels of 0 and 1, and no numbers; give --labels")
    rows, notes = [], []
    for name in binary + numbers:
        row = (classified if name in binary else regressed)(name, train, test)
        notes += [] if isinstance(row, dict) else [row]
        rows += [row] if isinstance(row, dict) else []
    if not rows:
        raise LeftOutError("; ".join(notes))
    return Table(
        averaged(rows) + rows,
        [
            f"Codes of {len(train[0])} pictures to fit, {len(test[0])} to test; {how}. Codes are "
            "normalised by the former. Logistic regression (C = 0.01, classes balanced) and ridge "
            "regression; weighted: by the positives among the test pictures, as Diff-AE has it. "
            f"±: over {RESAMPLES} draws of test pictures."
        ],
        notes,
    )


def _values(rows: list[dict], name: str) -> set[str]:
    return {row.get(name, "") for row in rows} - {""}


def _numeric(rows: list[dict], name: str) -> bool:
    try:
        return len({float(value) for value in _values(rows, name)}) > 2
    except ValueError:
        return False


Part = tuple[Tensor, list[dict]]


def _parts(case: Case) -> tuple[Part, Part, str]:
    """Codes with label rows to fit and to test, and how they were parted."""
    model = case.reading()
    if case.training is not None:
        train = model.codes(case.training.pictures), case.training.rows
        return train, (case.codes, case.held_out.rows), "the set's own split"
    return _thirty_percent(case.codes, case.held_out)


def _thirty_percent(z: Tensor, squares: Squares) -> tuple[Part, Part, str]:
    rows = squares.rows
    groups = [row.get("person") or row["file"] for row in rows]
    if len(set(groups)) < 2:
        raise LeftOutError("the pictures show one person only, and cannot be parted by person")
    split = GroupShuffleSplit(1, test_size=TEST, random_state=0)
    fit, test = next(split.split(groups, groups=groups))
    parts = [(z[torch.from_numpy(part)], [rows[i] for i in part]) for part in (fit, test)]
    known = "30 % to test" + (", parted by person" if "person" in rows[0] else "")
    return *parts, known


def classified(name: str, train: Part, test: Part) -> dict[str, Cell] | str:
    """A row of the table, or why there is none."""
    (x, y), (x_test, y_test) = _normalised(name, train, test)
    for part, known in (("to fit", y), ("to test", y_test)):
        few = FEWEST if part == "to fit" else 1
        if min((known == 0).sum(), (known == 1).sum()) < few:
            return f"{name} is left out: too few pictures of one kind {part}"
    model = LogisticRegression(C=TRUST, max_iter=1000, class_weight="balanced").fit(x, y)
    scores = model.decision_function(x_test)
    return {
        "label": name,
        "AUROC": resampled(roc_auc_score, y_test, scores),
        "average precision": resampled(average_precision_score, y_test, scores),
        "positives": int((y_test == 1).sum()),
        "tested": len(y_test),
    }


def regressed(name: str, train: Part, test: Part) -> dict[str, Cell] | str:
    """A row of the table, or why there is none."""
    (x, y), (x_test, y_test) = _normalised(name, train, test)
    if min(len(y), len(y_test)) < FEWEST or y.std() == 0 or y_test.std() == 0:
        return f"{name} is left out: too few known numbers, or all the same"
    guess = Ridge(1 / TRUST).fit(x, y).predict(x_test)
    return {
        "label": name,
        "Pearson r": resampled(lambda y, x: np.corrcoef(x, y)[0, 1], y_test, guess),
        "MSE": with_error((guess - y_test) ** 2),
        "tested": len(y_test),
    }


def resampled(score: Callable, truth: np.ndarray, guesses: np.ndarray) -> dict[str, float]:
    """A score with its standard error: its deviation over test pictures that are drawn anew.

    (The bootstrap, Efron 1979; draws of one kind only do not count.)
    """
    rng, found = np.random.default_rng(0), []
    for chosen in rng.integers(0, len(truth), (RESAMPLES, len(truth))):
        if np.ptp(truth[chosen]) > 0:
            found.append(score(truth[chosen], guesses[chosen]))
    error = float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
    return {"mean": float(score(truth, guesses)), "error": error}


def _normalised(name: str, train: Part, test: Part) -> list[tuple[np.ndarray, np.ndarray]]:
    """Codes and known labels of both parts."""
    mean, std = train[0].mean(dim=0), train[0].std(dim=0).clamp(min=1e-6)
    found = []
    for z, rows in (train, test):
        y = label_table(rows, [name])[:, 0].numpy()
        known = ~np.isnan(y)
        found.append((((z - mean) / std).double().numpy()[known], y[known]))
    return found


def averaged(rows: list[dict[str, Cell]]) -> list[dict[str, Cell]]:
    """The means over attributes: all alike, and weighted by their positives."""
    known = [row for row in rows if "AUROC" in row]
    if not known:
        return []
    weights = {"mean (macro)": [1] * len(known), "mean (weighted)": [r["positives"] for r in known]}
    return [
        {"label": name}
        | {
            column: float(np.average([number(row[column]) for row in known], weights=weight))
            for column in ("AUROC", "average precision")
        }
        for name, weight in weights.items()
    ]
