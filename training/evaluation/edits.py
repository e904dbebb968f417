"""Edits through the Editor, as users make them, before the judge.

For a slider and a strength s, with the judge's probability p:

- carried: (mean p at +s - mean p at -s) / (mean p of real positives - mean p of real negatives).
  At s = 1 sliders promise a typical positive and a typical negative, so 1 would be ideal.
- leak: mean |p(+s) - p(-s)| over the other attributes.
- identity: mean cosine of face embeddings of the edits at +s and -s with the reconstruction's.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdae_app.engine.code import Code
from pdae_app.engine.pictures import to_tensor
from pdae_app.latents.directions import Attribute
from pdae_app.latents.few_shot import FewShot
from training.evaluation.identity import cosines
from training.evaluation.judge import Judge
from training.evaluation.subject import Subject

STRENGTHS = (0.5, 1.0, 1.5)

# The name of a slider along a random direction.
RANDOM = "random direction"


def slider_values(strengths: Sequence[float]) -> tuple[float, ...]:
    """A slider's values: the strengths either way, and 0 between."""
    return (*(-s for s in reversed(strengths)), 0.0, *strengths)


VALUES = slider_values(STRENGTHS)


@dataclass(frozen=True)
class Edited:
    """One slider at `values`, of all people: pictures (V, P, 3, S, S) in [-1, 1]."""

    name: str
    pictures: Tensor
    values: tuple[float, ...] = VALUES


@dataclass(frozen=True)
class Verdicts:
    """What is seen in the pictures of one slider.

    p (V, P, A): probabilities of the judge's attributes; likeness (V, P): cosines with the
    reconstruction, None where no faces can be compared.
    """

    name: str
    p: Tensor
    likeness: Tensor | None
    values: tuple[float, ...] = VALUES

    def place(self, value: float) -> int:
        """Where a slider's value stands in the rows."""
        return self.values.index(value)

    @property
    def strengths(self) -> tuple[float, ...]:
        """The values above 0."""
        return tuple(value for value in self.values if value > 0)


def reconstructed(subject: Subject) -> Tensor:
    """The pictures (P, 3, S, S) that all sliders at 0 make."""
    return torch.cat([to_tensor(subject.editor.decode(code), 3) for code in subject.codes])


def edited_people(
    subject: Subject, names: Sequence[str], strengths: Sequence[float] = STRENGTHS
) -> Iterator[Edited]:
    """Every slider's pictures; the reconstructions, which all share, are made once."""
    plain, values = reconstructed(subject), slider_values(strengths)
    moving = [value for value in values if value]
    for name in names:
        strips = [_strip(subject.editor.strip(code, name, moving)) for code in subject.codes]
        yield _with_zero(name, strips, plain, values)


def random_edits(
    subject: Subject, names: Sequence[str], count: int, strengths: Sequence[float] = STRENGTHS
) -> Iterator[Edited]:
    """Edits along random directions, each as long as that of one of the sliders, in turn."""
    plain, values = reconstructed(subject), slider_values(strengths)
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        name = names[number % len(names)]
        direction = torch.randn(len(subject.codes[0].z), generator=generator)
        strips = [
            _randomly(subject, code, name, direction / direction.norm(), values)
            for code in subject.codes
        ]
        yield _with_zero(RANDOM, strips, plain, values)


def _randomly(subject: Subject, code: Code, name: str, direction: Tensor, values) -> Tensor:
    """Edits (V, 3, S, S) of one person along `direction` (D,), a unit vector of normalised z."""
    editor, space = subject.editor, subject.editor.bundle.latents

    def length(value: float) -> float:
        moved = editor.moved(code, {name: value}).z
        return float((space.normalize(moved) - space.normalize(code.z)).norm())

    unit = max(length(1.0), 1e-6)
    # Of a unit vector's weight the direction is itself: a step of 1 raises the logit by 1.
    vector = direction.double().numpy()
    slider = FewShot(Attribute(RANDOM, 0.0, unit=unit), vector, vector)
    asked = [float(np.sign(value)) * length(value) / unit for value in values if value]
    return _strip(editor.with_attributes(slider).strip(code, RANDOM, asked))


def _with_zero(name: str, strips: list[Tensor], plain: Tensor, values) -> Edited:
    moved, zero = torch.stack(strips, dim=1), values.index(0.0)
    return Edited(name, torch.cat([moved[:zero], plain[None], moved[zero:]]), values)


def _strip(images) -> Tensor:
    """(V, 3, S, S) in [-1, 1]."""
    return torch.cat([to_tensor(image, 3) for image in images])


def judged(edited: Edited, judge: Judge, embed: Callable[[Tensor], Tensor] | None) -> Verdicts:
    """The judge's and the embedder's view of one slider; `embed` gives unit vectors (N, D)."""
    values, people = edited.pictures.shape[:2]
    flat = edited.pictures.flatten(0, 1)
    p = judge(flat).unflatten(0, (values, people))
    if embed is None:
        return Verdicts(edited.name, p, None, edited.values)
    vectors = embed(flat).unflatten(0, (values, people))
    likeness = cosines(vectors, vectors[edited.values.index(0.0)])
    return Verdicts(edited.name, p, likeness, edited.values)


def curve(verdicts: Verdicts, names: list[str], real: Tensor) -> list[dict]:
    """One row a strength; `real` (2, A) are mean p of photographs of negatives and positives."""
    own = names.index(verdicts.name)
    others = [i for i in range(len(names)) if i != own]
    span, rows = float(real[1, own] - real[0, own]), []
    for strength in verdicts.strengths:
        low, high = (verdicts.place(sign * strength) for sign in (-1, 1))
        change = verdicts.p[high] - verdicts.p[low]
        rise, likeness = change[:, own], verdicts.likeness
        leaks = change[:, others].abs().mean(dim=1) if others else torch.zeros(len(change))
        row = {
            "attribute": verdicts.name,
            "strength": strength,
            "carried": float(rise.mean()) / span,
            "carried, standard error": standard_error(rise) / span,
            "leak": float(leaks.mean()),
            "leak, standard error": standard_error(leaks),
            "identity": None,
        }
        if likeness is not None:
            both = likeness[[low, high]].mean(dim=0)
            row |= {
                "identity": float(both.mean()),
                "identity, standard error": standard_error(both),
            }
        rows.append(row)
    return rows


def standard_error(values: Tensor) -> float:
    """Of the mean over (N,)."""
    return float(values.std()) / len(values) ** 0.5 if len(values) > 1 else 0.0


def at_one(verdicts: Verdicts, names: list[str], real: Tensor) -> dict:
    """What a slider's full range does: its row of the curve, and how the others move with it."""
    own = names.index(verdicts.name)
    low, high = (verdicts.p[verdicts.place(value)] for value in (-1.0, 1.0))
    row = next(row for row in curve(verdicts, names, real) if row["strength"] == 1)
    moves = dict(zip(names, (high - low).mean(dim=0).tolist(), strict=True))
    return {key: row[key] for key in row if key not in ("attribute", "strength")} | {
        "rises for": float((high > low)[:, own].float().mean()),
        "mean at -1": float(low[:, own].mean()),
        "mean at +1": float(high[:, own].mean()),
        "real negatives": float(real[0, own]),
        "real positives": float(real[1, own]),
        "others move": {name: moves[name] for name in names if name != verdicts.name},
    }


def mean_rows(rows: list[dict]) -> list[dict]:
    """The mean over attributes, a row a strength."""
    means = []
    for strength in sorted({row["strength"] for row in rows}):
        here = [row for row in rows if row["strength"] == strength]
        columns = {key: [row[key] for row in here] for key in ("carried", "leak", "identity")}
        known = {key: sum(c) / len(c) if None not in c else None for key, c in columns.items()}
        means.append({"attribute": "mean", "strength": strength} | known)
    return means
