"""Whether new pictures are training pictures again: nearest ones, against held-out ones."""

from collections.abc import Callable

import torch
from scipy.stats import binomtest
from torch import Tensor

from training.evaluation.case import Case
from training.evaluation.table import LeftOutError, Table, with_error

TITLE = "Memorisation"
OF = "Diff-AE, Appendix C"

CERTAIN = 0.01
SHOWN = 6

# Pictures (N, C, S, S) to vectors (N, D) whose distances are taken.
Vectors = Callable[[Tensor], Tensor]


def measure(case: Case) -> Table:
    """For pixels, features and codes: how near new pictures are to training and to held-out ones.

    Raises:
        LeftOutError: no training pictures to be memorised.
    """
    if case.training is None:
        raise LeftOutError("memorisation needs the training pictures; name their part by --train")
    steps = min(max(case.sizes.draw_steps), case.model.process.most_steps)
    made = case.new_pictures(steps, case.sizes.drawn)
    rows, shown = [], {}
    for name, vectors in _ways(case).items():
        train, held_out, new = (
            vectors(p) for p in (case.training.pictures, case.held_out.pictures, made)
        )
        rows.append({"by": name} | verdict(new, train, held_out))
        places = torch.cdist(new, train).argmin(dim=1)[:SHOWN]
        pairs = torch.stack([made[:SHOWN], case.training.pictures[places]])
        shown[f"new pictures above the nearest training pictures, by {name}"] = torch.cat(
            [row.permute(1, 2, 0, 3).flatten(2) for row in pairs], dim=1
        )
    return Table(
        rows,
        [
            f"{len(made)} new pictures, T = {steps}, against {len(case.training)} training and "
            f"{len(case.held_out)} held-out pictures. A model that has memorised nothing lies "
            "nearer to a training picture as often as there are more of them (expected); flagged: "
            f"so much oftener that chance does it in less than {CERTAIN:.0%}."
        ],
        ["Distances are Euclidean. The paper's LPIPS is not measured here."],
        pictures=shown,
    )


def verdict(new: Tensor, train: Tensor, held_out: Tensor) -> dict:
    """How often new vectors (N, D) lie nearer to training ones than to held-out ones.

    Args:
        train: (M, D); held_out: (K, D).
    """
    near, far = (torch.cdist(new, known).min(dim=1).values for known in (train, held_out))
    nearer, expected = int((near < far).sum()), len(train) / (len(train) + len(held_out))
    p_value = float(binomtest(nearer, len(new), expected, alternative="greater").pvalue)
    usual = torch.cdist(held_out, train).min(dim=1).values
    return {
        "to training": with_error(near),
        "to held-out": with_error(far),
        "held-out to training": with_error(usual),
        "nearer to training": nearer / len(new),
        "expected": expected,
        "by chance": p_value,
        "flagged": "yes" if p_value < CERTAIN else "no",
    }


def _ways(case: Case) -> dict[str, Vectors]:
    ways: dict[str, Vectors] = {"pixels": lambda p: p.flatten(1)}
    features = case.tools.features
    if features is not None:
        ways[f"{features.name}'s features"] = lambda p: features(p).float()
    if case.model.family.reads_pictures:
        ways["z"] = lambda p: _normalised(case, case.model.codes(p))
    return ways


def _normalised(case: Case, z: Tensor) -> Tensor:
    return (z - case.codes.mean(dim=0)) / case.codes.std(dim=0).clamp(min=1e-6)
