"""Reconstruction as PDAE's and Diff-AE's scripts measure it, and by our exact inversion."""

import torch
from torch import Tensor

from training.evaluation.case import Case
from training.evaluation.distances import similarity, squared_error
from training.evaluation.model import Decoding
from training.evaluation.reconstruction import Coded, coded
from training.evaluation.table import Cell, Curve, Table, number, with_error

TITLE = "Reconstruction"
OF = "PDAE, Table 1; Diff-AE, Tables 1 and 2"

SHOWN = 6


def measure(case: Case) -> Table:
    """SSIM, LPIPS and MSE with inferred and random x_T, for each protocol and number of steps."""
    squares = case.held_out.spread(case.sizes.reconstructed)
    subject = coded(case.model, squares.pictures[:], case.codes_of(squares))
    rows, notes, shown = [], [], {}
    for protocol in (pdae, diffae, plain, exact, random):
        try:
            for steps, inverted, decoded in protocol(subject, case.sizes):
                name = protocol.__name__
                rows.append(_row(case, subject, (NAMES[name], inverted, steps), decoded))
                shown[NAMES[name], steps] = decoded[:SHOWN]
        except ValueError as error:
            notes.append(f"{NAMES[protocol.__name__]} is left out: {error}.")
    if subject.model.latent:
        back = subject.model.pictures(subject.states)
        rows.append(_row(case, subject, ("first stage alone", "", None), back))
    return Table(
        rows,
        [
            f"{len(subject.pictures)} held-out pictures; means and standard errors over pictures.",
            f"PDAE: inverted by {_most(subject, case.sizes.inversion)} DDIM steps, x0_hat clamped, "
            "decoded in the steps of the row. Diff-AE: inverted and decoded in the steps of the "
            "row, clamped. Ours, plain: the same on our grid, not clamped; exact: every step "
            "solved, its residual kept. Random: x_T drawn.",
            "MSE on [0, 1]; SSIM with a window of 11 x 11, sigma 1.5, (official) with black "
            "beyond the border as in the scripts of both papers, which lifts it a little."
            + (" LPIPS: AlexNet, on [-1, 1]." if case.tools.lpips else ""),
        ],
        notes + _missing(case, subject),
        [_curve(rows)],
        _pictures(subject, shown),
    )


def pdae(subject: Coded, sizes):
    """PDAE's script: one long inversion, decoded in few steps."""
    model, stepping = subject.model, subject.model.stepping("pdae")
    long = _most(subject, sizes.inversion)
    x_T = model.inverted(subject.states, subject.z, stepping, long)
    for steps in _possible(subject, sizes.steps):
        yield steps, f"inferred in {long}", model.decoded(subject.z, x_T, Decoding(stepping, steps))


def diffae(subject: Coded, sizes):
    """Diff-AE's script: as many steps there as back."""
    yield from _plain_ddim(subject, sizes, "diffae")


def plain(subject: Coded, sizes):
    """The same on our grid, which every process has."""
    yield from _plain_ddim(subject, sizes, "clean")


def _plain_ddim(subject: Coded, sizes, name: str):
    model, stepping = subject.model, subject.model.stepping(name)
    for steps in _possible(subject, sizes.steps):
        x_T = model.inverted(subject.states, subject.z, stepping, steps)
        decoded = model.decoded(subject.z, x_T, Decoding(stepping, steps))
        yield steps, f"inferred in {steps}", decoded


def exact(subject: Coded, sizes):
    """Ours: the inversion solved step by step."""
    model, stepping = subject.model, subject.model.stepping("quick")
    for steps in _possible(subject, sizes.exact):
        states = model.there_and_back(subject.states, subject.z, stepping, steps)
        yield steps, f"inferred in {steps}", model.pictures(states)


def random(subject: Coded, sizes):
    """What z alone holds."""
    model = subject.model
    x_T = model.noise(len(subject.pictures), 0)
    for steps in _possible(subject, sizes.steps):
        how = Decoding(model.own_stepping, steps, drawn=True)
        yield steps, "random", model.decoded(subject.z, x_T, how)


NAMES: dict[str, str] = {
    "pdae": "PDAE's",
    "diffae": "Diff-AE's",
    "plain": "ours, plain",
    "exact": "ours, exact",
    "random": "ours, random x_T",
}


def _most(subject: Coded, steps: int) -> int:
    return min(steps, subject.model.process.most_steps)


def _possible(subject: Coded, steps: tuple[int, ...]) -> list[int]:
    """Without those that the process has not, or all alike where it has few timesteps."""
    return sorted({_most(subject, count) for count in steps})


def _row(case: Case, subject: Coded, what: tuple, decoded: Tensor) -> dict[str, Cell]:
    protocol, noise, steps = what
    pictures = subject.pictures
    row: dict[str, Cell] = {"protocol": protocol, "x_T": noise, "T": steps}
    row["SSIM"] = with_error(similarity(decoded, pictures))
    row["SSIM (official)"] = with_error(similarity(decoded, pictures, zeros=True))
    if case.tools.lpips is not None:
        row["LPIPS"] = with_error(case.tools.lpips(decoded, pictures))
    return row | {"MSE": with_error(squared_error(decoded, pictures))}


def _missing(case: Case, subject: Coded) -> list[str]:
    notes = [] if case.tools.lpips else [case.tools.missing.get("lpips", "LPIPS is left out.")]
    if not subject.model.bundle.first_stage.clamped:
        notes.append("States of this model are no pictures: x0_hat is not clamped.")
    return notes


def _curve(rows: list[dict[str, Cell]]) -> Curve:
    lines: dict[str, list] = {}
    for row in rows:
        if row["T"] is not None:
            lines.setdefault(row["protocol"], []).append((row["T"], number(row["MSE"])))
    return Curve("Error by steps", "T", "MSE", lines, log=True)


def _pictures(subject: Coded, shown: dict) -> dict[str, Tensor]:
    """Photographs above what each protocol makes of them."""
    columns = {"photographs": subject.pictures[:SHOWN]}
    columns |= {f"{name}, T = {steps}": pictures for (name, steps), pictures in shown.items()}
    return {caption: torch.cat(list(pictures), dim=-1) for caption, pictures in columns.items()}
