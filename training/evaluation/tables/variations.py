"""Pictures of one code under many noise maps: what z settles, and what it leaves to x_T."""

import torch

from training.evaluation.case import Case
from training.evaluation.distances import squared_error
from training.evaluation.model import Decoding
from training.evaluation.table import Table, with_error

TITLE = "Variations over x_T"
OF = "Diff-AE, Appendix D; PDAE, Figure 6"

SHOWN = 4


def measure(case: Case) -> Table:
    """How far pictures of one code are apart, and how near their mean is to the photograph."""
    model = case.model
    z, places = case.true_codes(case.sizes.varied)
    draws, steps = case.sizes.variations, min(20, model.process.most_steps)
    how = Decoding(model.own_stepping, steps, drawn=True)
    noise = model.noise(draws, case.seed)
    made = model.decoded(
        z.repeat_interleave(draws, dim=0), noise.repeat(len(z), 1, 1, 1), how
    ).unflatten(0, (len(z), draws))
    photographs = case.held_out.pictures[places]
    spread, mean = made.std(dim=1) / 2, made.mean(dim=1)
    rows = [
        {
            "codes": len(z),
            "noise maps": draws,
            "standard deviation of a pixel, on [0, 1]": with_error(spread.flatten(1).mean(dim=1)),
            "MSE of the mean": with_error(squared_error(mean, photographs)),
            "MSE of one": with_error(
                torch.stack([squared_error(one, photographs) for one in made.unbind(1)]).mean(0)
            ),
        }
    ]
    shown = {}
    for i in range(min(SHOWN, len(z))):
        deviation = 2 * spread[i] / spread[i].max().clamp(min=1e-6) - 1
        parts = [photographs[i], *made[i, :SHOWN], mean[i], deviation]
        shown[f"photograph, variations, mean, deviation ({i + 1})"] = torch.cat(parts, dim=-1)
    return Table(rows, [f"Held-out pictures, T = {steps}."], pictures=shown)
