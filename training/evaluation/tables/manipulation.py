"""Edits by the sliders: how far they carry an independent judge, and what else moves."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pdae_app.engine import Editor
from training.evaluation.case import Case
from training.evaluation.edits import (
    RANDOM,
    Edited,
    Verdicts,
    curve,
    edited_people,
    judged,
    random_edits,
)
from training.evaluation.frechet import frechet
from training.evaluation.identity import yardsticks
from training.evaluation.people import chosen_people
from training.evaluation.subject import Subject
from training.evaluation.table import Cell, Curve, LeftOutError, Table, with_error
from training.pixel_classifier import label_table

TITLE = "Manipulation"
OF = "Diff-AE, Tables 9 and 10, Eq. 11; PDAE, Section 4.5"

# The judge's column of the table: its name, and that of `curve`.
MEASURES = {"efficacy": "carried", "leakage": "leak", "identity": "identity"}
SHOWN = 6


def measure(case: Case) -> Table:
    """Efficacy, leakage, identity and distances to real pictures of either kind, an attribute each.

    Raises:
        LeftOutError: no sliders, no judge, or none of the sliders is known to the judge.
    """
    subject, judge = _subject(case), case.tools.needed("judge")
    names = [name for name in subject.editor.attributes if name in judge.names]
    real = judge.real(subject.squares, subject.rows)
    span = real[1] - real[0]
    usable = [name for name in names if bool(span[judge.names.index(name)] > 0)]
    if not usable:
        raise LeftOutError("no slider is an attribute of which the labels show both kinds")
    embed = case.tools.embed if case.faces else None
    rows, curves, shown = [], [], {}
    for edited in edited_people(subject, usable, case.sizes.strengths):
        verdicts = judged(edited, judge, embed)
        found = curve(verdicts, judge.names, real)
        curves += found
        rows.append(_row(found) | _distances(case, subject, edited))
        shown[edited.name] = _sheet(subject, edited)
    by_chance = _random(case, subject, usable, (judge, real, embed))
    return Table(
        [*_mean(rows), *by_chance[-1:], *rows],
        _protocol(case, subject),
        _notes(case, subject, names, usable),
        _plots(curves, by_chance, case.sizes.strengths),
        shown,
    )


def _subject(case: Case) -> Subject:
    model = case.reading()
    if model.bundle.latents is None or not model.bundle.latents.names:
        raise LeftOutError(f"{model.name} has no sliders; run training/train_attributes.py")
    squares, rows = case.held_out.pictures, case.held_out.rows
    people = chosen_people(rows, squares, case.sizes.people)
    editor = Editor(model.bundle, model.name, model.device)
    steps = min(case.sizes.edit_steps, model.process.most_steps)
    return Subject(editor, squares, rows, people, steps)


def _row(found: list[dict]) -> dict[str, Cell]:
    """The row of strength 1, or the strongest."""
    row = next((row for row in found if row["strength"] == 1), found[-1])
    cells: dict[str, Cell] = {"attribute": row["attribute"], "strength": row["strength"]}
    for name, key in MEASURES.items():
        known = row[key] is not None
        cells[name] = {"mean": row[key], "error": row[f"{key}, standard error"]} if known else None
    return cells


def _distances(case: Case, subject: Subject, edited: Edited) -> dict[str, Cell]:
    """Of edits at the strongest values to real positives and negatives (Diff-AE, Table 9)."""
    features = case.tools.features
    if features is None or edited.pictures.shape[1] < 2:
        return {}
    labels = label_table(subject.rows, [edited.name])[:, 0]
    found = {}
    for kind, value, place in (("positives", 1, -1), ("negatives", 0, 0)):
        real = case.held_out.pictures.at((labels == value).nonzero()[:, 0].tolist())
        if len(real) > 1:
            distance = frechet(features(real), features(edited.pictures[place]))
            found[f"{features.title} to real {kind}"] = distance
    return found


def _mean(rows: list[dict[str, Cell]]) -> list[dict[str, Cell]]:
    """Over the attributes, with the standard error over them."""
    mean: dict[str, Cell] = {"attribute": "mean", "strength": rows[0]["strength"]}
    for name in MEASURES:
        known = [row[name]["mean"] for row in rows if row[name] is not None]
        mean[name] = with_error(known) if known else None
    return [mean]


def _random(case: Case, subject: Subject, names: Sequence[str], looks) -> list[dict[str, Cell]]:
    """A row a strength: what directions of equal length do that mean nothing."""
    judge, real, embed = looks
    found: dict[float, list[dict]] = {}
    count = case.sizes.random_directions
    for edited in random_edits(subject, names, count, case.sizes.strengths):
        verdicts = judged(edited, judge, embed)
        for row in _as_every(verdicts, judge.names, names, real):
            found.setdefault(row["strength"], []).append(row)
    rows = []
    for strength, here in sorted(found.items()):
        cells: dict[str, Cell] = {"attribute": RANDOM, "strength": strength}
        for name, key in MEASURES.items():
            known = [abs(row[key]) for row in here if row[key] is not None]
            cells[name] = with_error(known) if known else None
        rows.append(cells)
    return [row for row in rows if row["strength"] != 1] + [r for r in rows if r["strength"] == 1]


def _as_every(verdicts: Verdicts, known: list[str], names: Sequence[str], real: Tensor):
    """Rows of a random direction, taken for each of the attributes in turn."""
    for name in names:
        yield from curve(replace(verdicts, name=name), known, real)


def _sheet(subject: Subject, edited: Edited) -> Tensor:
    """Photographs, and below each of them the slider's values."""
    columns = torch.cat([subject.faces[None], edited.pictures])[:, :SHOWN]
    return torch.cat([torch.cat(list(row), dim=-1) for row in columns], dim=-2)


def _plots(rows: list[dict], by_chance: list[dict], strengths: Sequence[float]) -> list[Curve]:
    """Every measure over the strength, means over the attributes with errors over them."""
    plots = []
    for name, key in MEASURES.items():
        points = []
        for strength in strengths:
            here = [r[key] for r in rows if r["strength"] == strength and r[key] is not None]
            if here:
                cell = with_error(here)
                points.append((strength, cell["mean"], cell["error"] or 0.0))
        baseline = sorted(
            (r["strength"], r[name]["mean"], r[name]["error"] or 0.0) for r in by_chance if r[name]
        )
        lines = {"sliders": points, "random directions": baseline}
        if points:
            plots.append(Curve(f"{name} by strength", "strength", name, lines))
    return plots


def _protocol(case: Case, subject: Subject) -> list[str]:
    return [
        f"{len(subject.people)} held-out people, one picture each, as different as labels tell, "
        f"edited by the Editor in {subject.steps} steps. Efficacy: how far -1 to +1 carries a "
        "judge that knows pixels only, as a share of the distance between real negatives and "
        "positives. Leakage: the mean change of its other attributes. Identity: cosine of face "
        "embeddings with the reconstruction. ±: standard error over people; in the rows of means, "
        f"over attributes. Random: {case.sizes.random_directions} directions, each as long as a "
        "slider's, absolute efficacy."
    ]


def _notes(case: Case, subject: Subject, names: list[str], usable: list[str]) -> list[str]:
    notes = [
        f"{name} is left out: the labels do not show both kinds, or the judge cannot tell them."
        for name in names
        if name not in usable
    ]
    embed = case.tools.embed if case.faces else None
    if embed is None:
        return [*notes, case.tools.missing.get("embed", "Pictures are no faces: no identity.")]
    known = yardsticks(embed, subject.squares, subject.rows)
    return notes + [
        f"Identity of {name}: {value:.3f}." for name, value in known.items() if value is not None
    ]
