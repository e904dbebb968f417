"""How smoothly pictures go over into each other, and how linear in z the shift is."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pdae_app.diffusion.denoisers import Mix, slerp
from training.evaluation.case import Case
from training.evaluation.distances import Distance
from training.evaluation.model import Decoding, Model
from training.evaluation.table import Cell, LeftOutError, Table, with_error

TITLE = "Interpolation: path length, and linearity of the shift"
OF = "Diff-AE, Appendix F; PDAE, Section 4.4"

EPSILON = 1e-4
PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)
SHOWN = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Ends:
    """Pairs of pictures: codes (2, N, D) and noise (2, N, C, S, S)."""

    z: Tensor
    x_T: Tensor

    def at(self, weights: Tensor, mode: str) -> tuple[Mix, Tensor]:
        """Codes and noise at weights (N,) of the second ends."""
        both = zip(*self.x_T, weights.tolist(), strict=True)
        x_T = torch.stack([slerp(a, b, weight) for a, b, weight in both])
        if mode == "code":
            return Mix.of(torch.lerp(*self.z, weights[:, None])), x_T
        weights = weights[:, None, None, None]
        return Mix(((self.z[0], 1 - weights), (self.z[1], weights))), x_T


def path_length(
    picture_at: Callable[[Tensor], Tensor], weights: Tensor, distance: Distance
) -> Tensor:
    """d(G(t), G(t + eps)) / eps^2 at weights t (N,) (Karras et al. 2019, Section 4.1): (N,).

    torchmetrics has the same for a generator of codes, but at t = 0 only, and without x_T.
    """
    ends = (picture_at(weights), picture_at(weights + EPSILON))
    return distance(*ends) / EPSILON**2


def measure(case: Case) -> Table:
    """Path lengths by code and by trajectory, and what the shift at half way lacks of linear.

    Raises:
        LeftOutError: fewer than two pictures.
    """
    model = case.model
    count = min(case.sizes.pairs, len(case.held_out) // 2)
    if count < 1:
        raise LeftOutError("an interpolation needs two pictures")
    z, places = case.true_codes(2 * count)
    states = model.states(case.held_out.pictures[places])
    steps = min(case.sizes.path_steps, model.process.most_steps)
    stepping = model.stepping("clean")
    ends = Ends(z.unflatten(0, (2, count)), _noise(model, states, z, steps).unflatten(0, (2, -1)))
    weights = torch.rand(count, generator=torch.Generator().manual_seed(case.seed)) * (1 - EPSILON)
    rows: list[dict[str, Cell]] = []
    for mode in ("code", "trajectory"):

        def picture_at(at: Tensor, mode: str = mode) -> Tensor:
            return _decoded(model, ends, at, mode, Decoding(stepping, steps))

        lengths = path_length(picture_at, weights, case.tools.distance)
        rows.append({"what": f"path length by {mode}", "value": with_error(lengths)})
    if model.family.guides:
        rows += [
            {"what": f"deviation from linear, of {part}", "value": with_error(values)}
            for part, values in linearity(model, states[:count], ends.z).items()
        ]
    return Table(
        rows,
        [
            f"{count} pairs of held-out pictures, {steps} plain steps there and back, eps = 1e-4; "
            f"distance: {case.tools.distance.name}. Lower is smoother; lengths under different "
            "distances do not compare.",
            "Linear: the norm of the shift of the middle code minus the mean of the ends' shifts, "
            "by the norm of the shift, and by that of half the ends' difference; mean over five "
            "times. 0 would make both ways of interpolating the same.",
        ],
        pictures=_shown(model, ends, Decoding(stepping, steps)),
    )


def _noise(model: Model, states: Tensor, z: Tensor, steps: int) -> Tensor:
    return model.inverted(states, z, model.stepping("clean"), steps)


def _decoded(model: Model, ends: Ends, at: Tensor, mode: str, how: Decoding) -> Tensor:
    """Pictures at weights, a batch at a time."""
    found = []
    for part in torch.arange(len(at)).split(model.batch_size):
        some = Ends(ends.z[:, part], ends.x_T[:, part])
        found.append(model.decoded_mix(*some.at(at[part], mode), how))
    return torch.cat(found)


def linearity(model: Model, states: Tensor, z: Tensor) -> dict[str, Tensor]:
    """What the shift of the mean code lacks of the mean of two codes' shifts, by its size.

    Args:
        states: (N, C, S, S), noised at five times; z: (2, N, D).
    """
    ratios: dict[str, list[Tensor]] = {"the shift": [], "its change": []}
    noise = model.noise(len(states), 0)
    for t in (model.process.at(place) for place in PLACES):
        x_t, _ = model.noised(states, noise, t)
        a, b, middle = (_shift(model, x_t, code, t) for code in (*z, z.mean(dim=0)))
        lacks = _norm(middle - (a + b) / 2)
        ratios["the shift"].append(lacks / _norm(middle).clamp(min=1e-12))
        ratios["its change"].append(lacks / _norm((a - b) / 2).clamp(min=1e-12))
    return {name: torch.stack(values).mean(dim=0) for name, values in ratios.items()}


def _shift(model: Model, x_t: Tensor, z: Tensor, t) -> Tensor:
    """What the code adds to eps."""

    def run(x: Tensor, z: Tensor) -> Tensor:
        times = model.process.asked(t, x)
        return model.denoiser(z)(x, times) - model.denoiser(z, 0.0)(x, times)

    return model.batched(f"shift at {t}", run, x_t, z)


def _norm(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)


def _shown(model: Model, ends: Ends, how: Decoding) -> dict[str, Tensor]:
    """One pair, both ways."""
    first = Ends(
        ends.z[:, :1].expand(-1, len(SHOWN), -1), ends.x_T[:, :1].expand(-1, 5, -1, -1, -1)
    )
    return {
        f"by {mode}": torch.cat(list(_decoded(model, first, torch.tensor(SHOWN), mode, how)), -1)
        for mode in ("code", "trajectory")
    }
