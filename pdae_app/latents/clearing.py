"""Sides of sliders that clear away what stands in the photograph: thin frames, stubble, wrinkles.

A code hardly knows them. Its picture has none, with glasses as without, so that a draft of the edit
changes little where they stand, and the photograph's own detail would bring them back (see
`pdae_app.diffusion.coupled`). Where such a side is known to act, little change is enough.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdae_app.latents.directions import SMALLEST_CHANGE, LatentSpace
from pdae_app.latents.sides import check_sides
from pdae_app.region import Region
from pdae_app.typed_config import ConfigError

# Of the gap between an attribute's medians: a side that went so far begins to clear, and clears
# wholly at the second. Other sliders, which drag the logit along a little, clear nothing.
BEGINS, WHOLLY = 0.2, 0.5

MOST_READILY = 100.0


@dataclass(frozen=True)
class Clearing:
    """The side +1 of `attribute` (`up`), or -1, that clears in a region.

    A draft's changes count `readily` times there.
    """

    attribute: str
    up: bool
    readily: float
    region: Region

    def __post_init__(self):
        if not 1 <= self.readily <= MOST_READILY:
            raise ValueError(f"readily must be between 1 and {MOST_READILY:g}")

    def part(self, gone: Tensor) -> Tensor:
        """How far it clears, from 0 to 1, where a logit went so many gaps up."""
        gone = gone if self.up else -gone
        return ((gone - BEGINS) / (WHOLLY - BEGINS)).clamp(0, 1)


def readiness(
    clearings: Sequence[Clearing], space: LatentSpace, own: Tensor, codes: Tensor, size: int
) -> Tensor:
    """How many times a draft's changes count: (N, 1, S, S) of 1 or more, for states of `size`.

    Args:
        clearings: of attributes with medians.
        own: the code (D,) of the photograph.
        codes: changed ones (N, D).
    """
    times = torch.ones(len(codes), 1, size, size)
    gone = space.logits(codes) - space.logits(own)
    rows = {name: row for row, name in enumerate(space.names)}
    for clearing in clearings:
        row = rows[clearing.attribute]
        gap = space.attributes[row].gap
        if abs(gap) < SMALLEST_CHANGE:  # its slider does nothing
            continue
        part = clearing.part(gone[:, row] / gap)[:, None, None, None]
        area = clearing.region.of(times)
        area.copy_(torch.maximum(area, 1 + (clearing.readily - 1) * part))
    return times


def check_clearings(clearings: Sequence[Clearing], names: Collection[str], size: int) -> None:
    """Whether they go with attributes that have medians, and with states of `size` positions.

    Raises:
        ConfigError: see `check_sides`; a region below a position.
    """
    check_sides("clearings", clearings, names)
    positions = torch.empty(size, size, device="meta")
    for i, clearing in enumerate(clearings):
        try:
            clearing.region.of(positions)
        except ValueError as error:
            raise ConfigError(f"clearings[{i}].region: {error}") from error
