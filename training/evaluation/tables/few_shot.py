"""New pictures with an attribute that a handful of pictures taught, by the papers' rule."""

import torch
from torch import Tensor

from pdae_app.latents.directions import LatentSpace
from pdae_app.latents.few_shot import fit_few_shot
from training.evaluation.case import Case
from training.evaluation.frechet import bias_note, frechet
from training.evaluation.model import Decoding
from training.evaluation.table import LeftOutError, Table, with_error
from training.pixel_classifier import label_table

TITLE = "Few-shot generation"
OF = "PDAE, Table 3; Diff-AE, Table 3"

# Candidates a picture, at most.
TRIES = 40
UNLABELLED = 512


def measure(case: Case) -> Table:
    """Distance to real positives: binary, positive-unlabelled, and any new pictures (naive).

    Raises:
        LeftOutError: no labels, no latent diffusion model, or too few positives.
    """
    features, squares = case.tools.needed("features"), case.real
    case.new_codes(1)
    names = _attributes(squares.rows, max(case.sizes.shots))
    if not names:
        raise LeftOutError("no attribute has enough labelled pictures of both kinds; give --labels")
    z, rows = case.reading().codes(squares.pictures), []
    for name in names:
        labels = label_table(squares.rows, [name])[:, 0]
        real = features(squares.pictures.at((labels == 1).nonzero()[:, 0].tolist()))
        for shots in case.sizes.shots:
            for kind in ("binary", "positive-unlabelled", "naive"):
                rows.append(_row(case, (name, kind, shots), (z, labels), real))
    return Table(
        rows,
        [
            f"Classifiers on so many codes of either kind (or of positives beside {UNLABELLED} new "
            "codes of which nothing is known); candidates of the latent diffusion model below 0.5 "
            "are rejected, others accepted with their probability. Naive: all are accepted. "
            f"{case.sizes.few_shot_drawn} pictures a seed, or as many as were "
            f"accepted (pictures: of the seed with fewest), T = {_steps(case)}, {case.sizes.seeds} "
            "seeds; against all real positives."
        ],
        bias_note(features.title, case.real_features, case.sizes.few_shot_drawn),
        people=False,
    )


def _steps(case: Case) -> int:
    return min(min(case.sizes.draw_steps), case.model.process.most_steps)


def _attributes(rows: list[dict], shots: int, most: int = 2) -> list[str]:
    """The first few labels with enough pictures of both kinds."""
    known = [c for c in rows[0] if {row[c] for row in rows} - {""} == {"0", "1"}]
    counts = {c: [sum(row[c] == v for row in rows) for v in ("0", "1")] for c in known}
    return [c for c in known if min(counts[c]) >= shots][:most]


def _row(case: Case, what: tuple[str, str, int], known: tuple[Tensor, Tensor], real: Tensor):
    name, kind, shots = what
    features, found, tried, counts = case.tools.needed("features"), [], [], []
    for seed in range(case.sizes.seeds):
        z, tries = _accepted(case, kind, _examples(known, shots, seed), seed)
        how = Decoding(case.model.own_stepping, _steps(case), unguided=0.3, drawn=True)
        made = case.drawn(z, len(z), how, seed + 1)
        found.append(frechet(real, features(made)))
        tried.append(tries)
        counts.append(len(made))
    row = {"attribute": name, "kind": kind, "shots": shots, "seeds": case.sizes.seeds}
    row["pictures"] = min(counts)
    return row | {features.title: with_error(found), "accepted": with_error(tried)}


def _examples(known: tuple[Tensor, Tensor], shots: int, seed: int) -> tuple[Tensor, Tensor]:
    """Codes of so many positives and negatives, drawn by a seed."""
    z, labels = known
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))
    return tuple(z[order[labels[order] == value][:shots]] for value in (1, 0))


def _accepted(case: Case, kind: str, examples, seed: int) -> tuple[Tensor, float]:
    """Codes that the rule accepts, and the part of the candidates that they are."""
    count = case.sizes.few_shot_drawn
    if kind == "naive":
        return case.new_codes(count, seed + 100), 1.0
    positives, negatives = examples
    unlabelled = kind == "positive-unlabelled"
    others = case.new_codes(UNLABELLED, seed + 200) if unlabelled else negatives
    space = case.model.bundle.latents
    plain = LatentSpace(space.mean, space.std, *torch.zeros(2, 0, len(space.mean)))
    fitted = fit_few_shot("wanted", positives, others, plain, unlabelled).added_to(plain)
    candidates = case.new_codes(TRIES * count, seed + 100)
    good = accepted(fitted.logits(candidates)[:, 0].sigmoid(), seed)
    if int(good.sum()) < 2:
        raise LeftOutError(f"of {len(candidates)} candidates fewer than two were accepted")
    # Fewer than `count`, where the rule accepts no more: the row says how many.
    return candidates[good][:count], float(good.float().mean())


def accepted(p: Tensor, seed: int) -> Tensor:
    """The rule (Diff-AE, Appendix A.2) on probabilities (N,): bool (N,)."""
    drawn = torch.rand(p.shape, generator=torch.Generator().manual_seed(seed))
    return (p >= 0.5) & (drawn < p)
