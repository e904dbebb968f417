"""What an operator allows, by environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from pdae_app.memory import give_back, resident_mb, usable_mb


class BusyError(RuntimeError):
    """A limit is reached; the message is for the person who has to wait."""


class LimitError(ValueError):
    """A limit that is no number above 0; the message names the variable."""


@dataclass(frozen=True)
class Limits:
    """How much at most: each is set by PDAE_ and its name in capitals.

    `megapixels` of a picture, decoded; `memory_mb` of the whole process, beyond which new work is
    refused, by default three quarters of the machine's or container's; `disk_mb` of all pictures of
    visitors; `upload_mb` of one upload, `in_flight_mb` of all at a time; `sessions` whose
    photographs and codes are remembered; `model_mb` of a model that a visitor names;
    `film_seconds` of a film, which the model works on for minutes; `live_seconds` for a frame of a
    webcam: where it takes longer, none is offered.
    """

    megapixels: float = 25
    memory_mb: float = field(default_factory=usable_mb)
    disk_mb: float = 4000
    upload_mb: float = 400
    in_flight_mb: float = 1000
    sessions: float = 200
    model_mb: float = 2000
    film_seconds: float = 10
    live_seconds: float = 0.5

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

    def check_memory(self, needed_mb: float = 0) -> None:
        """Whether there is memory for new work, which takes `needed_mb` in addition.

        Raises:
            BusyError: the process would take more than `memory_mb`.
        """
        if resident_mb() + needed_mb <= self.memory_mb:
            return
        give_back()
        if resident_mb() + needed_mb > self.memory_mb:
            raise BusyError("The app has no memory left at this moment. Try again in a minute.")

    def check_start(self) -> None:
        """Whether there is memory for any work at all, once the model is loaded.

        Raises:
            LimitError: the model takes it all.
        """
        if resident_mb() > self.memory_mb:
            raise LimitError(
                f"With its model the app takes {resident_mb():.0f} MB, and PDAE_MEMORY_MB allows "
                f"{self.memory_mb:.0f}. Raise it, or use a smaller model."
            )


def _positive(variable: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise LimitError(f"{variable} must be a number above 0, got {text!r}.")
    return value
