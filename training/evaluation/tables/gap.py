"""The posterior-mean gap over time, and pictures predicted in one step."""

import torch

from training.evaluation.case import Case
from training.evaluation.distances import squared_error
from training.evaluation.reconstruction import Coded, coded, gap, predicted
from training.evaluation.table import Curve, LeftOutError, Table, with_error

TITLE = "Posterior-mean gap and one-step pictures"
OF = "PDAE, Figure 5"

SHOWN = 4
PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)


def measure(case: Case) -> Table:
    """The gap with and without codes at ten times, and the error of x0_hat at five.

    Raises:
        LeftOutError: the model cannot go without its code.
    """
    if not case.reading().family.guides:
        raise LeftOutError(f"{case.model.name} has no average code to stand for none")
    subject = coded(case.model, case.held_out.spread(case.sizes.gap).pictures)
    gaps, steps, shown = gap(subject), [], {}
    for place in PLACES:
        t = case.model.process.at(place)
        x_t = case.model.process.noised(subject.states, case.model.noise(len(subject.z), 0), t)
        pictures = [case.model.pictures(predicted(subject, x_t, t, scale)) for scale in (0.0, 1.0)]
        errors = [with_error(squared_error(p, subject.pictures)) for p in pictures]
        steps.append({"t": t, "one-step MSE without": errors[0], "one-step MSE with": errors[1]})
        for name, made in zip(("without", "with"), pictures, strict=True):
            shown[f"one step from t = {t}, {name} z"] = torch.cat(list(made[:SHOWN]), dim=-1)
    lines = {name: [(row["t"], row[name]) for row in gaps] for name in ("without", "with")}
    return Table(
        _joined(gaps, steps),
        [
            f"{len(subject.pictures)} held-out pictures, normal noise. The gap is the squared "
            "distance of the posterior mean under x_0 and under x0_hat, a number of the state; "
            "filled is the part that the code takes away."
        ],
        [],
        [Curve("Posterior-mean gap", "t", "squared distance", lines, log=True)],
        {"photographs": _row(subject)} | shown,
    )


def _row(subject: Coded):
    return torch.cat(list(subject.pictures[:SHOWN]), dim=-1)


def _joined(gaps: list[dict], steps: list[dict]) -> list[dict]:
    """Rows by time; a time of one table has no cells of the other."""
    empty = {key: None for row in (gaps[0], steps[0]) for key in row}
    return sorted((empty | row for row in (*gaps, *steps)), key=lambda row: row["t"])
