"""Whether new pictures are training pictures again: nearest ones, against held-out ones."""

from collections.abc import Callable

import torch
from scipy.stats import binomtest
from torch import Tensor

from training.evaluation.albums import Album, pieces
from training.evaluation.case import Case
from training.evaluation.table import LeftOutError, Table, with_error
from training.sources import spread_places

TITLE = "Memorisation"
OF = "Diff-AE, Appendix C"

CERTAIN = 0.01
SHOWN = 6

# Pictures (N, C, S, S) to vectors (N, D) whose distances are taken.
Vectors = Callable[[Tensor], Tensor]


def measure(case: Case) -> Table:
    """How near new pictures are to training and held-out ones: by pixels, LPIPS, features, codes.

    Raises:
        LeftOutError: no training pictures to be memorised.
    """
    if case.training is None:
        raise LeftOutError("memorisation needs the training pictures; name their part by --train")
    steps = min(max(case.sizes.draw_steps), case.model.process.most_steps)
    made = case.new_pictures(steps, min(case.sizes.memorised, case.sizes.drawn))
    train, held_out = case.training.pictures, case.held_out.pictures
    rows, shown = [], {}
    for name, vectors in _distances(case).items():
        row, places = verdict((made, train, held_out), vectors)
        rows.append({"by": name} | row)
        pairs = torch.stack([made[:SHOWN], train[places[:SHOWN]]])
        shown[f"new pictures above the nearest training pictures, by {name}"] = torch.cat(
            [row.permute(1, 2, 0, 3).flatten(2) for row in pairs], dim=1
        )
    lpips = case.tools.lpips
    return Table(
        rows,
        [
            f"{len(made)} new pictures, T = {steps}, against {len(train)} training and "
            f"{len(held_out)} held-out pictures. A model that has memorised nothing lies "
            "nearer to a training picture as often as there are more of them (expected); flagged: "
            f"so much oftener that chance does it in less than {CERTAIN:.0%}. Distances are "
            "Euclidean; LPIPS is the square of one between its layers' weighted unit features."
        ],
        [] if lpips else [case.tools.missing["lpips"]],
        pictures=shown,
    )


def verdict(
    sets: tuple[Album | Tensor, Album | Tensor, Album | Tensor], vectors: Vectors
) -> tuple[dict, list[int]]:
    """How often new pictures lie nearer to training ones than to held-out ones.

    Args:
        sets: new, training and held-out pictures (N, C, S, S), of which the latter two are gone
            through piece by piece.

    Returns:
        A row of the table, and the place of the training picture that is nearest to each new one.
    """
    new, train, held_out = sets
    found = torch.cat([vectors(part) for part in pieces(new)])
    (near, places), (far, _) = (nearest(found, known, vectors) for known in (train, held_out))
    nearer, expected = int((near < far).sum()), len(train) / (len(train) + len(held_out))
    p_value = float(binomtest(nearer, len(new), expected, alternative="greater").pvalue)
    some = spread_places(len(held_out), len(new))
    real = torch.cat([vectors(part) for part in pieces(held_out[some])])
    row = {
        "to training": with_error(near),
        "to held-out": with_error(far),
        "held-out to training": with_error(nearest(real, train, vectors)[0]),
        "nearer to training": nearer / len(new),
        "expected": expected,
        "by chance": p_value,
        "flagged": "yes" if p_value < CERTAIN else "no",
    }
    return row, places.tolist()


def nearest(found: Tensor, known: Album | Tensor, vectors: Vectors) -> tuple[Tensor, Tensor]:
    """Distance (N,) and place (N,) of the picture that is nearest to each vector (N, D)."""
    best, places, start = torch.full((len(found),), torch.inf), torch.zeros(len(found)).long(), 0
    for part in pieces(known):
        distances, here = torch.cdist(found, vectors(part)).min(dim=1)
        places = torch.where(distances < best, start + here, places)
        best, start = torch.minimum(distances, best), start + len(part)
    return best, places


def _distances(case: Case) -> dict[str, Vectors]:
    vectors: dict[str, Vectors] = {"pixels": lambda p: p.flatten(1)}
    lpips, features = case.tools.lpips, case.tools.features
    if lpips is not None and lpips.vectors is not None:
        vectors["LPIPS (root)"] = lpips.vectors
    if features is not None:
        vectors[f"{features.name}'s features"] = lambda p: features(p).float()
    if case.model.family.reads_pictures:
        vectors["z"] = lambda p: _normalised(case, case.model.codes(p))
    return vectors


def _normalised(case: Case, z: Tensor) -> Tensor:
    return (z - case.codes.mean(dim=0)) / case.codes.std(dim=0).clamp(min=1e-6)
