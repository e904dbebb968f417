"""A table as it is measured, kept as JSON, and written for people."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

# Decimal places beyond which an error is the computer's own.
ROUNDING = 12
# A cell: a word, a number, a number with its standard error, or nothing.
Cell = str | float | int | dict[str, float | None] | None


class LeftOutError(ValueError):
    """There is no such table of a model, or of pictures; the message says why."""


@dataclass(frozen=True)
class Curve:
    """Lines of a plot: names to points (x, y) or (x, y, standard error)."""

    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, ...]]]
    log: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of named cells, what is to be said of them, and what is drawn beside them.

    `protocol` says how it was measured, `notes` what to make of it; `pictures` are captions of
    images (C, H, W) in [-1, 1], of which `people` shows whether they are of real people.
    """

    rows: list[dict[str, Cell]]
    protocol: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    pictures: dict[str, Tensor] = field(default_factory=dict)
    people: bool = True


def with_error(values: Tensor | Iterable[float]) -> dict[str, float | None]:
    """The mean over (N,) with its standard error, which one value alone does not tell."""
    values = torch.as_tensor(list(values) if not isinstance(values, Tensor) else values).double()
    error = float(values.std() / len(values) ** 0.5) if len(values) > 1 else None
    return {"mean": float(values.mean()), "error": error}


def number(cell: Cell) -> float | None:
    """A cell's number, without its error; None where it is no number."""
    value = cell["mean"] if isinstance(cell, dict) else cell
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def written(cell: Cell) -> str:
    """A cell for people: three or four digits, the error with as many places as the mean."""
    if cell is None:
        return ""
    if isinstance(cell, dict):
        mean, error = written(cell["mean"]), cell["error"]
        return mean if error is None else f"{mean} ± {round(error, ROUNDING):.2g}"
    if isinstance(cell, bool) or not isinstance(cell, float):
        return str(cell)
    if cell == 0:
        return "0"
    if abs(cell) < 1e-3 or abs(cell) >= 1e5:
        return f"{cell:.2e}"
    return f"{cell:.4g}" if abs(cell) >= 1 else f"{cell:.4f}"
