"""Whether a slider at -1 takes away what is there: on people who have its attribute."""

from dataclasses import replace

import torch

from pdae_app.engine.pictures import to_tensor
from training.evaluation.albums import Album
from training.evaluation.edits import reconstructed
from training.evaluation.judge import Judge
from training.evaluation.people import chosen_people
from training.evaluation.subject import Subject


def having(subject: Subject, name: str, count: int) -> Subject:
    """The same with up to `count` people who have an attribute, as different as can be."""
    places = [i for i, row in enumerate(subject.rows) if row.get(name) == "1"]
    squares, rows = subject.squares, [subject.rows[i] for i in places]
    theirs = squares.at(places) if isinstance(squares, Album) else squares[places]
    chosen = chosen_people(rows, theirs, count)
    return replace(subject, people=[places[i] for i in chosen])


def taken_away(subject: Subject, judge: Judge, name: str, real: torch.Tensor) -> dict:
    """The judge's mean probability of an attribute before, and with its slider at -1.

    `part` is how far that goes of the distance between real positives and negatives: 1 or more
    where nothing is left to be seen.

    Args:
        subject: with people who have it.
        real: (2, A), mean probabilities of photographs of negatives and positives.
    """
    own, before = judge.names.index(name), reconstructed(subject)
    edited = [subject.editor.edit(code, {name: -1.0}, subject.steps) for code in subject.codes]
    after = torch.cat([to_tensor(picture, 3) for picture in edited])
    had, has = (float(judge(pictures)[:, own].mean()) for pictures in (before, after))
    span = float(real[1, own] - real[0, own])
    return {"people": len(subject.people), "before": had, "after": has, "part": (had - has) / span}
