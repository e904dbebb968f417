"""The posterior-mean gap over time, and pictures predicted in one step."""

import torch
from torch import Tensor

from pdae_app.diffusion.process import Time
from training.evaluation.case import Case
from training.evaluation.distances import squared_error
from training.evaluation.reconstruction import Coded, coded, gaps, predicted
from training.evaluation.table import Curve, LeftOutError, Table, with_error

TITLE = "Posterior-mean gap and one-step pictures"
OF = "PDAE, Figure 5"

SHOWN = 4


def measure(case: Case) -> Table:
    """The gap and the error of x0_hat, with and without codes, at ten times.

    Raises:
        LeftOutError: the model cannot go without its code.
    """
    squares = case.held_out.spread(case.sizes.gap)
    z = case.codes_of(squares)
    if not case.model.family.guides:
        raise LeftOutError(f"{case.model.name} has no average code to stand for none")
    subject = coded(case.model, squares.pictures[:], z)
    rows, shown = [], {"photographs": _row(subject.pictures)}
    for t, without, shifted in gaps(subject):
        row = {"t": t, "without": with_error(without), "with": with_error(shifted)}
        row["filled"] = 1 - float(shifted.mean() / without.mean())
        wanted, found = _one_step(case, subject, t)
        for name, pictures in found.items():
            row[f"one-step MSE {name}"] = with_error(squared_error(pictures, wanted))
            shown[f"one step from t = {t:g}, {name} z"] = _row(pictures)
        rows.append(row)
    lines = {n: [(row["t"], *row[n].values()) for row in rows] for n in ("without", "with")}
    return Table(
        rows,
        [
            f"{len(subject.pictures)} held-out pictures, normal noise. The gap is the squared "
            "distance of the posterior mean under x_0 and under x0_hat, a number of the state; "
            "filled is the part that the code takes away."
        ],
        [],
        [Curve("Posterior-mean gap", "t", "squared distance", lines, log=True)],
        shown,
    )


def _one_step(case: Case, subject: Coded, t: Time) -> tuple[Tensor, dict[str, Tensor]]:
    """The pictures (N, C, S, S) to find, and those of x0_hat without the code and with it.

    To find are photographs; for a variational model that encodes them, what it noised.
    """
    model = case.model
    x_t, truth = model.noised(subject.states, model.noise(len(subject.z), case.seed), t)
    wanted = model.pictures(truth) if model.bundle.variational else subject.pictures
    return wanted, {
        name: model.pictures(predicted(subject, x_t, t, scale))
        for name, scale in (("without", 0.0), ("with", 1.0))
    }


def _row(pictures: Tensor) -> Tensor:
    """The first few side by side."""
    return torch.cat(list(pictures[:SHOWN]), dim=-1)
