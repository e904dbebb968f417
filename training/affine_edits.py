"""Affine edits for a bundle's sliders, by what its sketch draws of codes (`latents/affine.py`)."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pdae_app.latents.affine import (
    AffineEdit,
    AffineSide,
    AffineWeights,
    Aim,
    Whitening,
    fit_affine_edit,
)
from pdae_app.latents.directions import LatentSpace
from pdae_app.models.unet import Sketch
from pdae_app.region import Region
from training.config import ConfigError

# So many codes are moved to see where a slider changes the picture, and so many are the points at
# which the sketch is taken for linear.
MOVED = 64
POINTS = 4
# Where a picture changes as much as in the strongest twentieth of its positions, all may change.
STRONGEST = 0.95
# Of a state's mean over people; what varies less is no light.
SMALLEST_SPREAD = 1e-3


@dataclass(frozen=True)
class AffineConfig:
    """Which sides of sliders go each person's own way, and how.

    `sides` are attributes with a sign before them, "+Bald"; none names all. `along` are, for an
    attribute, others that may change with it (who is bald has no hair colour). `light` is a region
    whose mean every edit leaves, such as the cheeks: else skin pales or tans with the rest.
    """

    sides: tuple[str, ...] = ()
    along: dict[str, tuple[str, ...]] = field(default_factory=dict)
    light: Region | None = None
    weights: AffineWeights = field(default_factory=AffineWeights)

    def of(self, space: LatentSpace) -> list[AffineSide]:
        """The sides, of the attributes of a space.

        Raises:
            ConfigError: one that there is not.
        """
        known = {
            sign + name: AffineSide(name, sign == "+") for name in space.names for sign in "-+"
        }
        named = [*self.along, *(name for names in self.along.values() for name in names)]
        unknown = [s for s in self.sides if s not in known]
        unknown += [name for name in named if name not in space.names]
        if unknown:
            raise ConfigError(f"affine names {unknown[0]!r}; known: {', '.join(known)}")
        return [known[side] for side in self.sides or known]


def fit_affine_edits(
    space: LatentSpace, sketch: Sketch, z: Tensor, labels: dict[str, np.ndarray], how: AffineConfig
) -> tuple[AffineEdit, ...]:
    """An edit for every side that `how` names, from codes z (N, D) with their labels (N,).

    `space` has directions alone: along them it is seen where a slider changes a picture.
    """
    codes = space.normalize(z)
    whitening = Whitening.of(codes)
    jacobians = _jacobians(space, sketch, whitening, codes[:: max(1, len(codes) // POINTS)])
    shown = z[:: max(1, len(z) // MOVED)]
    lights = _lights(whitening, jacobians, how.light)
    edits = []
    for side in tqdm(how.of(space), desc="affine edits"):
        still = 1 - changed_positions(space, sketch, shown, side)
        elsewhere = sum((j * still.flatten()).flatten(1) @ j.flatten(1).T for j in jacobians)
        examples = codes[torch.from_numpy(labels[side.attribute] == int(side.up))]
        aim = _aim(space, side, examples, how.along.get(side.attribute, ()))
        aim = replace(aim, others=torch.cat([aim.others, lights]))
        weights, cost = how.weights, elsewhere / len(jacobians)
        edits.append(fit_affine_edit(side, whitening, aim, cost, weights))
    return tuple(edits)


@torch.inference_mode()
def changed_positions(space: LatentSpace, sketch: Sketch, z: Tensor, side: AffineSide) -> Tensor:
    """Where the sketches of codes z (N, D) change along a direction: (S, S) of 0 to 1.

    Mirror images change alike.
    """
    slider = {side.attribute: 1.0 if side.up else -1.0}
    moved = torch.stack([space.move(code, slider) for code in z])
    change = (sketch(moved) - sketch(z)).square().mean((0, 1)).sqrt()
    part = (change / change.quantile(STRONGEST)).clamp(max=1)
    return torch.maximum(part, part.flip(-1)).square()


def _aim(space: LatentSpace, side: AffineSide, examples: Tensor, along: tuple[str, ...]) -> Aim:
    gaps = torch.tensor([a.positive_logit - a.negative_logit for a in space.attributes])
    row, weights = space.names.index(side.attribute), space.weights / gaps[:, None]
    attribute, gap = space.attributes[row], float(gaps[row])
    target = attribute.positive_logit if side.up else attribute.negative_logit
    held = [i for i, name in enumerate(space.names) if i != row and name not in along]
    return Aim(examples, weights[row], attribute.bias / gap, target / gap, weights[held])


def _lights(whitening: Whitening, jacobians: list[Tensor], region: Region | None) -> Tensor:
    """What of normalised codes sets the region's mean in each of a state's C channels: (C, D).

    A unit is, as with attributes, the gap between the kinds: two standard deviations.
    """
    if region is None:
        return whitening.outward[:0]
    maps = torch.stack(jacobians).mean(0)
    side = round(maps.shape[-1] ** 0.5)
    try:
        means = region.of(maps.unflatten(-1, (side, side))).mean((-2, -1))
    except ValueError as error:
        raise ConfigError(f"affine.light: {error}") from error
    return (whitening.inward @ means / (2 * means.norm(dim=0)).clamp(min=SMALLEST_SPREAD)).T


def _jacobians(
    space: LatentSpace, sketch: Sketch, whitening: Whitening, points: Tensor
) -> list[Tensor]:
    """How sketches change with white codes, at each of some normalised codes: (K, C, S * S)."""

    def drawn(white: Tensor) -> Tensor:
        codes = white @ whitening.outward + whitening.mean
        return sketch((codes * space.std + space.mean)[None])[0].flatten(1)

    def at(point: Tensor) -> Tensor:
        along = torch.func.vmap(
            lambda axis: torch.func.jvp(drawn, (point,), (axis,))[1], chunk_size=64
        )
        return along(torch.eye(len(point)))

    with torch.no_grad():
        return [at(point) for point in whitening.white(points)[:POINTS]]
