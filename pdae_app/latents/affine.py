"""Edits as affine maps of a code: the least change that makes it typical of one side.

A direction adds the same step to everybody. To bare a head, however, *this* head's hair has to go,
whatever it is like, and a step that is the same for all leaves half of it. Here codes are Gaussian,
in all pictures and in those of one side of an attribute, and the step d of a code w solves

    min over d:  (w + d - m)' Q (w + d - m)         be like the side, in what it has in common
               + goal (u . (w + d) + b - target)^2  reach its typical logit
               + elsewhere d' C d                   change the picture elsewhere as little as can be
               + others |U d|^2                     leave the other attributes' logits, the light
               + size |d|^2                         and go no further than that.

All is in codes that are white over all pictures. With S the side's covariance, drawn towards the
identity, Q = (S^-1 - 1)+ is how much better the side's Gaussian knows a code than everybody's does.
The solution is affine in w. This is our own; the closest in the papers is Diff-AE's Eq. 11.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pdae_app.typed_config import check_sizes

# Of the codes' variance, so much is looked at; the rest is rounding.
EXPLAINED = 0.998
# Matrices are kept as products of two of this rank.
RANK = 64
MOST_RANK = 512


@dataclass(frozen=True)
class AffineSide:
    """The side of a slider that an affine edit is for: +1 of `attribute` (`up`), or -1.

    `rank` is that of its matrix.
    """

    attribute: str
    up: bool
    rank: int = RANK

    def __post_init__(self):
        check_sizes(self, rank=MOST_RANK)

    def shapes(self, dim: int) -> dict[str, tuple[int, ...]]:
        """The shapes of an edit's tensors for codes of `dim` numbers, by their names in files."""
        shapes = {"left": (dim, self.rank), "right": (self.rank, dim), "offset": (dim,)}
        return {self._key(part): shape for part, shape in shapes.items()}

    def _key(self, part: str) -> str:
        return f"affine.{self.attribute}.{'up' if self.up else 'down'}.{part}"


@dataclass(frozen=True)
class AffineEdit:
    """What a slider's full unit adds to normalised codes.

    left (D, R), right (R, D), offset (D,).
    """

    side: AffineSide
    left: Tensor
    right: Tensor
    offset: Tensor

    def step(self, codes: Tensor) -> Tensor:
        """Normalised codes (..., D) -> what is added to them, (..., D)."""
        return codes @ self.right.T @ self.left.T + self.offset

    def tensors(self) -> dict[str, Tensor]:
        """What a bundle stores, in half precision."""
        parts = (self.left, self.right, self.offset)
        names = self.side.shapes(len(self.offset))
        return {n: t.half().contiguous() for n, t in zip(names, parts, strict=True)}

    @classmethod
    def of_tensors(cls, side: AffineSide, tensors: dict[str, Tensor]) -> "AffineEdit":
        """The edit among the tensors of a file, which are taken out."""
        dim = len(tensors["mean"])
        return cls(side, *(tensors.pop(name) for name in side.shapes(dim)))


@dataclass(frozen=True)
class AffineWeights:
    """The weights of the terms above; `shrinkage` of the side's covariance towards the identity."""

    goal: float = 20.0
    elsewhere: float = 0.02
    others: float = 30.0
    size: float = 0.2
    shrinkage: float = 0.3

    def __post_init__(self):
        if min(self.goal, self.elsewhere, self.others) < 0 or self.size <= 0:
            raise ValueError("goal, elsewhere and others must be 0 or more, size above 0")
        if not 0 < self.shrinkage <= 1:
            raise ValueError("shrinkage must be above 0, and 1 at most")


@dataclass(frozen=True)
class Whitening:
    """Normalised codes (N, D) to K numbers of unit variance and back: (codes - mean) @ inward."""

    mean: Tensor
    inward: Tensor
    outward: Tensor

    @classmethod
    def of(cls, codes: Tensor) -> "Whitening":
        """By the principal components that explain `EXPLAINED` of the variance of codes (N, D)."""
        variances, vectors = torch.linalg.eigh(torch.cov(codes.T))
        variances, vectors = variances.flip(0), vectors.flip(1)
        count = int((variances.cumsum(0) < EXPLAINED * variances.sum()).sum()) + 1
        variances, vectors = variances[:count], vectors[:, :count]
        return cls(codes.mean(0), vectors * variances.rsqrt(), (vectors * variances.sqrt()).T)

    def white(self, codes: Tensor) -> Tensor:
        """Codes (N, D) -> (N, K)."""
        return (codes - self.mean) @ self.inward


@dataclass(frozen=True)
class Aim:
    """What an edit goes to: like its `examples`, normalised codes (N, D) of this side, and to a
    logit; and what it leaves, other logits and the light. Each is in units of its own gap.

    weights (D,) on normalised codes, bias and target of the attribute; others (A, D).
    """

    examples: Tensor
    weights: Tensor
    bias: float
    target: float
    others: Tensor


def fit_affine_edit(
    side: AffineSide,
    whitening: Whitening,
    aim: Aim,
    elsewhere: Tensor,
    balance: AffineWeights,
) -> AffineEdit:
    """The edit whose step solves the problem above.

    Args:
        elsewhere: C (K, K) in white codes: d' C d is what d changes in the picture elsewhere.
    """
    own = whitening.white(aim.examples)
    typical, pull = own.mean(0), _pull(own, balance.shrinkage)
    u, others = whitening.outward @ aim.weights, aim.others @ whitening.outward.T
    cost = (
        pull
        + balance.goal * torch.outer(u, u)
        + balance.elsewhere * elsewhere
        + balance.others * others.T @ others
        + balance.size * torch.eye(len(u))
    )
    # The logit of white codes w: u . w + base.
    base = aim.bias + aim.weights @ whitening.mean
    gain = -torch.linalg.solve(cost, pull + balance.goal * torch.outer(u, u))
    still = torch.linalg.solve(cost, pull @ typical + balance.goal * (aim.target - base) * u)
    matrix = whitening.outward.T @ gain @ whitening.inward.T
    left, strengths, right = torch.linalg.svd(matrix)
    left, right = left[:, : side.rank] * strengths[: side.rank], right[: side.rank]
    offset = whitening.outward.T @ still - matrix @ whitening.mean
    return AffineEdit(side, left, right, offset)


def _pull(own: Tensor, shrinkage: float) -> Tensor:
    """Q (K, K) of a side's white codes (N, K)."""
    identity = torch.eye(own.shape[1])
    covariance = (1 - shrinkage) * torch.cov(own.T) + shrinkage * identity
    variances, vectors = torch.linalg.eigh(covariance)
    return (vectors * (1 / variances - 1).clamp(min=0)) @ vectors.T
