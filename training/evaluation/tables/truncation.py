"""What a stronger or weaker shift does to new pictures: quality against variety."""

from training.evaluation.case import Case
from training.evaluation.frechet import bias_note, frechet, precision_recall
from training.evaluation.model import Decoding
from training.evaluation.table import Curve, LeftOutError, Table

TITLE = "Truncation by the guidance scale"
OF = "PDAE, Figure 9"

SHOWN = 8


def measure(case: Case) -> Table:
    """Distance, precision and recall over the scale.

    Raises:
        LeftOutError: the model's guidance has no scale.
    """
    model, features = case.model, case.tools.needed("features")
    if not model.family.has_codes or not model.family.guides:
        raise LeftOutError(f"the guidance of {model.name} has no scale")
    z = _codes(case)
    steps = min(min(case.sizes.draw_steps), model.process.most_steps)
    rows, shown = [], {}
    for scale in case.sizes.scales:
        how = Decoding(model.own_stepping, steps, scale, drawn=True)
        made = case.drawn(z, len(z), how, case.seed + 1)
        found = features(made)
        precision, recall = precision_recall(case.real_features, found)
        row = {"scale": scale, features.title: frechet(case.real_features, found)}
        rows.append(row | {"precision": precision, "recall": recall})
        shown[f"scale {scale:g}"] = made[:SHOWN].permute(1, 2, 0, 3).flatten(2)
    lines = {name: [(row["scale"], row[name]) for row in rows] for name in ("precision", "recall")}
    distance = {features.title: [(row["scale"], row[features.title]) for row in rows]}
    return Table(
        rows,
        [
            f"{len(z)} pictures of {'classes in turn' if model.bundle.classes else 'new codes'}, "
            f"T = {steps}, the same noise at every scale; precision and recall by 3 nearest "
            "neighbours in the same features."
        ],
        bias_note(features.title, case.real_features, len(z)),
        [
            Curve("Precision and recall", "scale", "part", lines),
            Curve(features.title, "scale", features.title, distance),
        ],
        shown,
        people=bool(model.family.reads_pictures and model.bundle.prior is None),
    )


def _codes(case: Case):
    """New codes, or where the model cannot make any, those of held-out pictures."""
    count = max(4, case.sizes.drawn)
    try:
        return case.new_codes(count, case.seed)
    except LeftOutError:
        return case.true_codes(count)[0]
