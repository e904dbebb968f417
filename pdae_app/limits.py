"""What an operator allows, by environment variables; the defaults suit two cores and 4 GB."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields


class LimitError(ValueError):
    """A limit that is no number above 0; the message names the variable."""


@dataclass(frozen=True)
class Limits:
    """`megapixels` of a picture, decoded."""

    megapixels: float = 25

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Limits":
        """From variables named PDAE_MEGAPIXELS and so on.

        Raises:
            LimitError: a value that is no number above 0.
        """
        given = {field.name: f"PDAE_{field.name.upper()}" for field in fields(cls)}
        return cls(
            **{
                name: _positive(variable, environment[variable])
                for name, variable in given.items()
                if environment.get(variable)
            }
        )

    @property
    def pixels(self) -> int:
        """The most pixels of a decoded picture."""
        return int(self.megapixels * 1_000_000)


def _positive(variable: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise LimitError(f"{variable} must be a number above 0, got {text!r}.")
    return value
