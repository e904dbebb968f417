"""What every way in asks of the values that it is given: scripts, presets, the endpoints."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from pdae_app.engine.code import EditError
from pdae_app.typed_config import short

Value = TypeVar("Value")

STRONGEST = 5.0
LARGEST_SCALE = 10.0


def is_number(value: object) -> bool:
    """A finite number, and not a yes or no."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def check_known(names: Iterable[str], known: Sequence[str]) -> None:
    """Whether a model has these attributes.

    Raises:
        EditError: it lacks some; the first is named.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise EditError(
            f"This model has no attribute {short(unknown[0])}{more}. "
            f"It has: {', '.join(known) or 'none'}."
        )


def by_known_names(values: Mapping[str, Value], known: Sequence[str]) -> dict[str, Value]:
    """The values by a model's own names: `gray hair` and `Gray Hair` are its `Gray_Hair`.

    Raises:
        EditError: it lacks an attribute, or one is named twice.
    """
    spelled = {_spelled(name): name for name in known}
    named = {name: name if name in known else spelled.get(_spelled(name), name) for name in values}
    check_known(named.values(), known)
    if len(set(named.values())) < len(named):
        raise EditError("One attribute is named twice. Give each a single value.")
    return {named[name]: value for name, value in values.items()}


def _spelled(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def check_strength(name: str, strength: object) -> None:
    """Whether a slider can stand there.

    Raises:
        EditError: no number, or beyond +-`STRONGEST`.
    """
    if not is_number(strength) or abs(strength) > STRONGEST:
        raise EditError(
            f"{name} = {short(strength)} is out of range: use a number from -{STRONGEST:g} to "
            f"{STRONGEST:g}."
        )


def check_scale(scale: float) -> None:
    """Whether a guidance scale can be used.

    Raises:
        EditError: it cannot.
    """
    if not math.isfinite(scale) or not 0 <= scale <= LARGEST_SCALE:
        raise EditError(f"The guidance scale must be between 0 and {LARGEST_SCALE:g}, got {scale}.")


def check_part(name: str, part: float) -> None:
    """Whether something is a part of a whole.

    Raises:
        EditError: it is below 0 or above 1.
    """
    if not 0 <= part <= 1:
        raise EditError(f"The {name} part must be between 0 and 1, got {part}.")
