"""What stands for one side of an attribute's slider, +1 (`up`) or -1: once a side, where it can."""

from collections.abc import Collection, Sequence
from typing import Protocol

from pdae_app.typed_config import ConfigError, short


class Side(Protocol):
    """Anything that names a side."""

    attribute: str
    up: bool


def check_sides(key: str, sides: Sequence[Side], names: Collection[str]) -> None:
    """Whether what a configuration lists under a key fits `names`, attributes with medians.

    Raises:
        ConfigError: a side named twice, or an attribute that is not among them.
    """
    if len({(side.attribute, side.up) for side in sides}) < len(sides):
        raise ConfigError(f"{key} names one side of an attribute twice")
    for side in sides:
        if side.attribute not in names:
            raise ConfigError(f"{key} names {short(side.attribute)}, no attribute with medians")
