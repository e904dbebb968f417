"""New pictures against real ones: the unconditional model, new codes, and codes of pictures."""

from torch import Tensor

from training.evaluation.albums import Album
from training.evaluation.case import Case
from training.evaluation.frechet import bias_note, frechet, kernel
from training.evaluation.model import Decoding
from training.evaluation.table import Curve, LeftOutError, Table

TITLE = "New pictures"
OF = "PDAE, Table 2; Diff-AE, Table 4"

# The last part of the steps that the frozen model does alone (PDAE, Section 4.8).
UNGUIDED = 0.3
SHOWN = 8


def measure(case: Case) -> Table:
    """Distances of sets by way and number of steps.

    Raises:
        LeftOutError: no features, or too few pictures.
    """
    features, count = case.tools.needed("features"), case.sizes.drawn
    if len(case.real) < 2:
        raise LeftOutError("a distance of sets needs two real pictures")
    rows, notes, lines, shown = [], [], {}, {}
    for draw in (alone, with_new_codes, with_true_codes):
        for steps in sorted({min(s, case.model.process.most_steps) for s in case.sizes.draw_steps}):
            try:
                made = draw(case, steps, count)
            except ValueError as reason:
                notes.append(f"{NAMES[draw.__name__]}: left out, {reason}.")
                break
            found = features(made)
            distance = frechet(case.real_features, found)
            name = NAMES[draw.__name__]
            row = {"way": name, "T": steps, "pictures": len(made), features.title: distance}
            rows.append(row | {"kernel distance": kernel(case.real_features, found)})
            lines.setdefault(name, []).append((steps, distance))
            if draw is not with_true_codes:
                shown[f"{name}, T = {steps}"] = made[:SHOWN]
    if not rows:
        raise LeftOutError(" ".join(notes))
    return Table(
        rows,
        [
            f"{count} pictures against {len(case.real_features)} real "
            f"{'training' if case.training else 'held-out'} pictures (papers: 50,000). The last "
            "30 % of the steps go unguided with codes, where the model can. The error of the "
            "kernel distance is over random halves."
        ],
        notes + bias_note(features.title, case.real_features, count),
        [Curve(features.title, "T", features.title, lines)],
        {name: _row(pictures) for name, pictures in shown.items()},
        people=False,
    )


def alone(case: Case, steps: int, count: int) -> Album:
    """The unconditional model; told classes in turn where it knows them."""
    how = Decoding(case.model.own_stepping, steps, drawn=True)
    return case.drawn(None, count, how, case.seed + 1)


def with_new_codes(case: Case, steps: int, count: int) -> Album:
    """Codes of the latent diffusion model, or of classes."""
    if not case.model.family.has_codes:
        raise LeftOutError("the model has no codes")
    return case.new_pictures(steps, count)


def with_true_codes(case: Case, steps: int, count: int) -> Album:
    """Codes of real pictures, x_T drawn: what a perfect prior would give."""
    model = case.reading()
    z = model.codes(case.real.spread(count).pictures)
    how = Decoding(model.own_stepping, steps, unguided=UNGUIDED, drawn=True)
    return case.drawn(z, len(z), how, case.seed + 1)


NAMES = {
    "alone": "DPM alone",
    "with_new_codes": "with new codes",
    "with_true_codes": "with true codes",
}


def _row(pictures: Tensor) -> Tensor:
    """Side by side."""
    return pictures.permute(1, 2, 0, 3).flatten(2)
