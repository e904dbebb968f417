"""Edits through the Editor, as users make them, before the judge.

For a slider and a strength s, with the judge's probability p:

- carried: (mean p at +s - mean p at -s) / (mean p of real positives - mean p of real negatives).
  At s = 1 sliders promise a typical positive and a typical negative, so 1 would be ideal.
- leak: mean |p(+s) - p(-s)| over the other attributes.
- identity: mean cosine of face embeddings of the edits at +s and -s with the reconstruction's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdae_app.engine.pictures import to_tensor
from training.evaluation.identity import FaceEmbedder, cosines
from training.evaluation.judge import Judge
from training.evaluation.subject import Subject

STRENGTHS = (0.5, 1.0, 1.5)
VALUES = (*(-s for s in reversed(STRENGTHS)), 0.0, *STRENGTHS)


@dataclass(frozen=True)
class Edited:
    """One slider at `VALUES`, of all people: pictures (V, P, 3, S, S) in [-1, 1]."""

    name: str
    pictures: Tensor


@dataclass(frozen=True)
class Verdicts:
    """What is seen in the pictures of one slider.

    p (V, P, A): probabilities of the judge's attributes; likeness (V, P): cosines with the
    reconstruction, None where no faces can be compared.
    """

    name: str
    p: Tensor
    likeness: Tensor | None


def edited_people(subject: Subject, names: Sequence[str]) -> Iterator[Edited]:
    """Every slider's pictures; the reconstructions, which all share, are made once."""
    editor, codes = subject.editor, subject.codes
    plain = torch.cat([to_tensor(editor.decode(code), 3) for code in codes])
    moving = [value for value in VALUES if value]
    zero = VALUES.index(0.0)
    for name in names:
        strips = [_strip(editor.strip(code, name, moving)) for code in codes]
        moved = torch.stack(strips, dim=1)
        yield Edited(name, torch.cat([moved[:zero], plain[None], moved[zero:]]))


def _strip(images) -> Tensor:
    """(V, 3, S, S) in [-1, 1]."""
    return torch.cat([to_tensor(image, 3) for image in images])


def judged(edited: Edited, judge: Judge, embed: FaceEmbedder | None) -> Verdicts:
    """The judge's and the embedder's view of one slider."""
    values, people = edited.pictures.shape[:2]
    flat = edited.pictures.flatten(0, 1)
    p = judge(flat).unflatten(0, (values, people))
    if embed is None:
        return Verdicts(edited.name, p, None)
    vectors = embed(flat).unflatten(0, (values, people))
    return Verdicts(edited.name, p, cosines(vectors, vectors[VALUES.index(0.0)]))


def curve(verdicts: Verdicts, names: list[str], real: Tensor) -> list[dict]:
    """One row a strength; `real` (2, A) are mean p of photographs of negatives and positives."""
    own = names.index(verdicts.name)
    others = [i for i in range(len(names)) if i != own]
    span, rows = float(real[1, own] - real[0, own]), []
    for strength in STRENGTHS:
        low, high = (VALUES.index(sign * strength) for sign in (-1, 1))
        change = verdicts.p[high] - verdicts.p[low]
        rise, likeness = change[:, own], verdicts.likeness
        rows.append(
            {
                "attribute": verdicts.name,
                "strength": strength,
                "carried": float(rise.mean()) / span,
                "carried, standard error": float(rise.std()) / len(rise) ** 0.5 / span,
                "leak": float(change[:, others].abs().mean()) if others else 0.0,
                "identity": None if likeness is None else float(likeness[[low, high]].mean()),
            }
        )
    return rows


def at_one(verdicts: Verdicts, names: list[str], real: Tensor) -> dict:
    """What a slider's full range does: its row of the curve, and how the others move with it."""
    own = names.index(verdicts.name)
    low, high = (verdicts.p[VALUES.index(value)] for value in (-1.0, 1.0))
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
    for strength in STRENGTHS:
        here = [row for row in rows if row["strength"] == strength]
        columns = {key: [row[key] for row in here] for key in ("carried", "leak", "identity")}
        known = {key: sum(c) / len(c) if None not in c else None for key, c in columns.items()}
        means.append({"attribute": "mean", "strength": strength} | known)
    return means
