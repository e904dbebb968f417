"""What codes and noise maps of pictures that the model does not know look like."""

from collections.abc import Callable

import torch
from torch import Tensor

from pdae_app.latents.typical import noise_structure
from training.evaluation.case import Case
from training.evaluation.distances import squared_error
from training.evaluation.model import Decoding
from training.evaluation.table import Table, with_error

TITLE = "Out of distribution"
OF = "Diff-AE, Appendix K"

STEPS = 20


def measure(case: Case) -> Table:
    """Statistics of x_T and z for held-out pictures, the same ones changed, and other things."""
    model = case.reading()
    familiar = case.held_out.spread(case.sizes.unfamiliar).pictures[:]
    kinds = {name: change(familiar) for name, change in CHANGES.items()}
    kinds["checkerboards"] = checkerboards(familiar)
    if case.others is not None:
        kinds["other pictures"] = case.others.spread(case.sizes.unfamiliar).pictures[:]
    mean, std = case.codes.mean(dim=0), case.codes.std(dim=0).clamp(min=1e-6)
    rows = [{"pictures": name} | _row(case, p, (mean, std)) for name, p in kinds.items()]
    shown = {name: p[:6].permute(1, 2, 0, 3).flatten(2) for name, p in kinds.items()}
    return Table(
        rows,
        [
            f"{len(familiar)} pictures a row, {min(STEPS, model.process.most_steps)} plain steps "
            "there and back. Of a familiar picture x_T has standard deviation and coarse structure "
            "near 1, and z a root mean square near 1, normalised by all held-out pictures."
        ],
        [] if case.others else ["Other things than these: --others FOLDER."],
        pictures=shown,
    )


def _row(case: Case, pictures: Tensor, statistics: tuple[Tensor, Tensor]) -> dict:
    model, steps = case.model, min(STEPS, case.model.process.most_steps)
    z, stepping = model.codes(pictures), model.stepping("clean")
    x_T = model.inverted(model.states(pictures), z, stepping, steps)
    back = model.decoded(z, x_T, Decoding(stepping, steps))
    z_n = (z - statistics[0]) / statistics[1]
    return {
        "x_T, standard deviation": with_error(x_T.flatten(1).std(dim=1)),
        "x_T, coarse structure": with_error([noise_structure(x) for x in x_T]),
        "z, root mean square": with_error(z_n.square().mean(dim=1).sqrt()),
        "MSE of the reconstruction": with_error(squared_error(back, pictures)),
    }


def shifted(pictures: Tensor, part: float) -> Tensor:
    """Moved to the right and down by a part of the side, the border going on."""
    side = pictures.shape[-1]
    by = round(part * side)
    grown = torch.nn.functional.pad(pictures, [by, 0, by, 0], mode="replicate")
    return grown[..., :side, :side]


def checkerboards(like: Tensor) -> Tensor:
    """Squares of random colours, as many and as large as `like` (N, C, S, S)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(*like.shape[:2], 8, 8, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=like.shape[-2:])


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "held out": lambda p: p,
    "shifted by an eighth": lambda p: shifted(p, 1 / 8),
    "shifted by a quarter": lambda p: shifted(p, 1 / 4),
    "upside down": lambda p: p.flip(-2),
    "colours inverted": lambda p: -p,
}
