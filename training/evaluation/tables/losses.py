"""How much of the denoising loss a code, or a class, takes away."""

import torch
from torch import Tensor

from training.evaluation.case import Case
from training.evaluation.table import Curve, LeftOutError, Table, with_error

TITLE = "Conditional against unconditional loss"
OF = "PDAE, Figure 1"

PLACES = 10


def measure(case: Case) -> Table:
    """The mean squared error of eps at ten times, with what the model can be told and without.

    Raises:
        LeftOutError: the model is told nothing.
    """
    model, squares = case.model, case.held_out.spread(case.sizes.losses)
    states, runs = model.states(squares.pictures), _runs(case, squares)
    noise, rows = model.noise(len(states), case.seed), []
    for t in (model.process.at((i + 0.5) / PLACES) for i in range(PLACES)):
        x_t, _ = model.noised(states, noise, t)
        losses = {name: _loss(case, x_t, noise, t, run) for name, run in runs.items()}
        row = {"t": t} | {name: with_error(loss) for name, loss in losses.items()}
        if len(losses) == 2:
            before, after = losses.values()
            row["taken away"] = float(1 - after.mean() / before.mean())
        rows.append(row)
    lines = {name: [(row["t"], row[name]["mean"]) for row in rows] for name in runs}
    return Table(
        rows,
        [f"{len(squares)} held-out pictures, the same normal noise; a number of the state."],
        [] if len(runs) == 2 else ["Beside it, evaluate the unconditional model of the same data."],
        [Curve("Loss", "t", "mean squared error of eps", lines, log=True)],
        people=False,
    )


def _runs(case: Case, squares) -> dict:
    """Name to (denoiser of x and a condition (N, ...), that condition)."""
    model, family = case.model, case.model.family
    if family.has_codes:
        if not family.guides:
            raise LeftOutError(f"{model.name} has no average code to stand for none")
        z = case.codes_of(squares)
        return {
            "unconditional": (lambda z: model.denoiser(z, 0.0), z),
            "conditional": (lambda z: model.denoiser(z), z),
        }
    if model.bundle.classes:
        classes = case.class_numbers(squares)
        return {"conditional": (family.unconditional, classes)}
    nothing = torch.zeros(len(squares), 0)
    return {"unconditional": (lambda _: family.unconditional(), nothing)}


def _loss(case: Case, x_t: Tensor, noise: Tensor, t, run) -> Tensor:
    make, condition = run

    def run(x: Tensor, given: Tensor, eps: Tensor) -> Tensor:
        error = make(given)(x, case.model.process.asked(t, x)) - eps
        return error.flatten(1).square().mean(dim=1)

    return case.model.batched(f"loss at {t}", run, x_t, condition, noise)
