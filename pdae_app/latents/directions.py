"""Attribute directions in z-space: logistic regressions on normalised codes, and sliders of them.

Diff-AE (Preechakul et al., CVPR 2022, Section 5.1 and Eq. 11); PDAE, Section 4.5.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor

from pdae_app.latents.affine import AffineEdit

# A picture that already lies at or beyond the typical positive (negative) still moves when its
# slider is dragged: by at least this part of the way between the two medians.
SMALLEST_STEP = 0.25
# One that lies far beyond the opposite median moves by at most this part: longer steps leave what
# the model has seen, and come as blotches (teeth taken from a broad smile, beards on women).
LARGEST_STEP = 1.25
# Of a logit; below it, a step says nothing of its own way.
SMALLEST_CHANGE = 1e-4
# Beside other sliders, a slider goes this much further than alone at most. Those that contradict
# one another (bald, and long hair) would else drive one another on until no face is left.
LARGEST_SHARE = 1.25
# Of coordinate descent; sliders that are nearly one another's opposites take a few dozen.
SWEEPS = 100
# Beyond this condition number, sliders are told apart by rounding errors alone.
LARGEST_CONDITION = 1e4

MOST_GAIN = 10.0

# Of a score on codes left out: of pairs, of numbers, of directions that nothing names.
MEASURES = ("cosine", "pearson r", "explained variance")

# As far as the page's sliders go.
FARTHEST = 2.0

# No classifier is so certain; beyond, sums of float32 lose what is small.
LARGEST_LOGIT = 1e6


@dataclass(frozen=True)
class Attribute:
    """One slider's facts.

    `positive_logit` and `negative_logit` are the medians over the real positives and negatives of
    the training pictures; where they are unknown (foreign checkpoints), `unit` is the change of
    logit that a slider's 1 makes, whatever the picture. `auroc` was measured on held-out people;
    where there are no two kinds of pictures, `score` is, by a `measure` of `MEASURES`.
    `gain` multiplies a slider's steps: pictures follow their codes only in part (see
    `training/calibrate_sliders.py`). `at_two` is how many full units a slider at 2 goes: below 2,
    where pictures wear out soon after 1.
    """

    name: str
    bias: float
    positive_logit: float | None = None
    negative_logit: float | None = None
    auroc: float | None = None
    positives: int = 0
    negatives: int = 0
    unit: float | None = None
    gain: float = 1.0
    at_two: float = FARTHEST
    score: float | None = None
    measure: str = ""

    def __post_init__(self):
        if not 0 < self.gain <= MOST_GAIN:
            raise ValueError(f"an attribute's gain must be between 0 and {MOST_GAIN:g}")
        if not 1 < self.at_two <= FARTHEST:
            raise ValueError(f"at_two must be above 1, and {FARTHEST:g} at most")
        if self.unit is None and None in (self.positive_logit, self.negative_logit):
            raise ValueError("an attribute needs positive_logit and negative_logit, or unit")
        for name in ("bias", "positive_logit", "negative_logit", "unit"):
            if abs(getattr(self, name) or 0.0) > LARGEST_LOGIT:
                raise ValueError(f"{name} must be between -{LARGEST_LOGIT:g} and {LARGEST_LOGIT:g}")
        if self.auroc is not None and not 0 <= self.auroc <= 1:
            raise ValueError("auroc must be between 0 and 1")
        if self.score is not None and not (abs(self.score) <= 1 and self.measure in MEASURES):
            raise ValueError(f"a score is between -1 and 1, measured by {', '.join(MEASURES)}")

    def facts(self) -> dict:
        """What files say of it; earlier versions of this program do not know scores."""
        left_out = ("score", "measure") if self.score is None else ()
        left_out += ("at_two",) if self.at_two == FARTHEST else ()
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    def units(self, strength: float) -> float:
        """How many full units a strength goes: beyond 1, in steps that `at_two` shortens."""
        beyond = max(abs(strength) - 1, 0.0)
        return math.copysign(min(abs(strength), 1) + beyond * (self.at_two - 1), strength)

    def strength(self, units: float) -> float:
        """The slider's strength that goes so many full units."""
        beyond = max(abs(units) - 1, 0.0)
        return math.copysign(min(abs(units), 1) + beyond / (self.at_two - 1), units)

    @property
    def gap(self) -> float | None:
        """Between the medians; None where they are unknown."""
        return None if self.unit is not None else self.positive_logit - self.negative_logit

    def standing(self, logit: float) -> float | None:
        """-1 at the typical negative, +1 at the typical positive; None where they are unknown, or
        one and the same.
        """
        return 2 * (logit - self.negative_logit) / self.gap - 1 if self.gap else None


@dataclass(frozen=True)
class LatentSpace:
    """Statistics of z and the attributes' directions.

    mean, std (D,); weights (A, D): regression weights on normalised z; directions (A, D): the ways
    along which a slider moves normalised z, scaled so that weights[i] . directions[i] = 1.
    `affine` are sides of sliders that go each person's own way instead.
    """

    mean: Tensor
    std: Tensor
    weights: Tensor
    directions: Tensor
    attributes: tuple[Attribute, ...] = field(default_factory=tuple)
    affine: tuple[AffineEdit, ...] = ()

    @property
    def names(self) -> list[str]:
        """The attributes' names, in the order of the rows."""
        return [attribute.name for attribute in self.attributes]

    def tensors(self) -> dict[str, Tensor]:
        """What a bundle stores beside the attributes' facts."""
        stored = {
            name: getattr(self, name).float().contiguous()
            for name in ("mean", "std", "weights", "directions")
        }
        for edit in self.affine:
            stored |= edit.tensors()
        return stored

    def normalize(self, z: Tensor) -> Tensor:
        """Z (..., D) to zero mean and unit variance."""
        return (z - self.mean) / self.std

    def logits(self, z: Tensor) -> Tensor:
        """The classifiers' logits of codes z (..., D): (..., A)."""
        bias = torch.tensor([attribute.bias for attribute in self.attributes])
        return self.normalize(z) @ self.weights.T + bias

    def move(self, z: Tensor, sliders: dict[str, float]) -> Tensor:
        """The code with its attributes changed.

        A slider at 0 changes nothing; at +1 it carries this picture's logit to the median of the
        real positives (Diff-AE Eq. 11), at -1 to that of the negatives, further in proportion;
        the step is bounded by `SMALLEST_STEP` and `LARGEST_STEP`, beyond 1 by `at_two`.
        Several sliders are solved for together, so that each reaches its own logit whatever the
        others do; of those that contradict one another, each comes as near as its bounds allow.

        Args:
            z: a code (D,).
            sliders: attribute names to strengths.

        Raises:
            KeyError: an unknown attribute.
        """
        active = {name: strength for name, strength in sliders.items() if strength != 0}
        if not active:
            return z
        rows = [self._row(name) for name in active]
        asked = list(zip(rows, active.values(), strict=True))
        units = [self.attributes[row].units(strength) for row, strength in asked]
        steps = [self._full_step(z, row, strength > 0) for row, strength in asked]
        directions = torch.stack([direction for direction, _ in steps])
        sizes = torch.tensor([size or 1.0 for _, size in steps])
        change = torch.tensor(units) * torch.tensor([size for _, size in steps])
        # directions^T a with weights . (directions^T a) = change, each in its slider's full units
        matrix = self.weights[rows] @ directions.T
        amounts = sizes * bounded_solution(matrix * sizes / sizes[:, None], change / sizes)
        return z + amounts @ directions * self.std

    def reached(self, z: Tensor, sliders: Mapping[str, float]) -> dict[str, float]:
        """Of a code z (D,): by what part each slider goes its own way when all go together.

        1 as it would alone, below 0 the other way; sliders that do nothing alone are left out.

        Raises:
            KeyError: an unknown attribute.
        """
        before, together = self.logits(z), self.logits(self.move(z, dict(sliders)))
        parts = {}
        for name, strength in sliders.items():
            row = self._row(name)
            alone = float(self.logits(self.move(z, {name: strength}))[row] - before[row])
            if abs(alone) >= SMALLEST_CHANGE:
                parts[name] = float(together[row] - before[row]) / alone
        return parts

    def sliders_to(
        self, z: Tensor, logits: Mapping[str, float], farthest: float = FARTHEST
    ) -> dict[str, float]:
        """The sliders that carry a code z (D,) to these logits, each alone, and all together as
        near as `move` can; none is beyond `farthest`.

        An attribute that stands there already has no slider.

        Raises:
            KeyError: an unknown attribute.
        """
        here, found = self.logits(z), {}
        for name, wanted in logits.items():
            row = self._row(name)
            gap = wanted - float(here[row])
            _, step = self._full_step(z, row, gap > 0)
            units = gap / step if step else 0.0  # of one whose medians are one and the same
            strength = self.attributes[row].strength(units)
            found[name] = round(max(-farthest, min(farthest, strength)), 2)
        return {name: strength for name, strength in found.items() if strength}

    def _full_step(self, z: Tensor, row: int, up: bool) -> tuple[Tensor, float]:
        """The way (D,) that a slider goes on this side, scaled so that a step of 1 raises the logit
        by 1, and by how much a slider's full unit changes the logit.
        """
        attribute = self.attributes[row]
        change = abs(step_to(attribute, float(self.logits(z)[row]), up))
        for edit in self.affine:
            if (edit.side.attribute, edit.side.up) == (attribute.name, up):
                return self._own_way(edit, z, row)
        return self.directions[row], change

    def _own_way(self, edit: AffineEdit, z: Tensor, row: int) -> tuple[Tensor, float]:
        """That of an affine edit; where it hardly moves, the direction adds `SMALLEST_STEP`."""
        attribute, sign = self.attributes[row], 1 if edit.side.up else -1
        least = SMALLEST_STEP * attribute.gap
        step = edit.step(self.normalize(z))
        reached = sign * float(self.weights[row] @ step)
        if reached < least:
            step = step + sign * (least - reached) * self.directions[row]
        change = max(reached, least)
        if change < SMALLEST_CHANGE:  # of one whose medians are one and the same
            return self.directions[row], 0.0
        return sign * step / change, attribute.gain * change

    def _row(self, name: str) -> int:
        if name not in self.names:
            raise KeyError(f"there is no attribute {name!r}; known: {', '.join(self.names)}")
        return self.names.index(name)


def solved(matrix: Tensor, change: Tensor) -> Tensor:
    """The amounts (A,) with matrix (A, A) @ amounts = change.

    Where sliders are one and the same way under two names, the smallest amounts that come nearest.
    """
    if torch.linalg.cond(matrix) < LARGEST_CONDITION:
        return torch.linalg.solve(matrix, change)
    return torch.linalg.pinv(matrix, rtol=1 / LARGEST_CONDITION) @ change


def bounded_solution(matrix: Tensor, change: Tensor) -> Tensor:
    """As `solved`, with each amount between 0 and `LARGEST_SHARE` times its own change, so that
    none turns round or runs away; where that leaves something of change, the least squares.
    """
    amounts, farthest = solved(matrix, change), LARGEST_SHARE * change
    least, most = farthest.clamp(max=0), farthest.clamp(min=0)
    if ((least <= amounts) & (amounts <= most)).all():
        return amounts
    return nearest_within(matrix, change, least, most)


def nearest_within(matrix: Tensor, change: Tensor, least: Tensor, most: Tensor) -> Tensor:
    """The amounts (A,), each from `least` to `most`, whose matrix @ amounts is nearest to change.

    By coordinate descent, as the problem is convex and tiny (SciPy's import alone takes a second).
    No column of the matrix may be 0.
    """
    rows, wanted = matrix.double().numpy(), change.double().numpy()
    gram, pull = rows.T @ rows, rows.T @ wanted
    low, high = least.double().numpy(), most.double().numpy()
    amounts = np.zeros(len(wanted))
    for i in list(range(len(wanted))) * SWEEPS:
        step = (pull[i] - gram[i] @ amounts) / gram[i, i]
        amounts[i] = min(max(amounts[i] + step, low[i]), high[i])
    return torch.from_numpy(amounts).to(change.dtype)


def step_to(attribute: Attribute, logit: float, up: bool) -> float:
    """The signed change of logit that a full unit makes: never tiny, never huge."""
    if attribute.unit is not None:
        return attribute.gain * (attribute.unit if up else -attribute.unit)
    gap = attribute.gap
    distance = attribute.positive_logit - logit if up else logit - attribute.negative_logit
    step = min(max(distance, SMALLEST_STEP * gap), LARGEST_STEP * gap)
    return attribute.gain * (step if up else -step)
