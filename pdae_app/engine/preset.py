"""Presets: how the sliders stand, as a small JSON file for any photograph."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pdae_app.engine.checks import by_known_names, check_strength, is_number
from pdae_app.engine.code import EditError
from pdae_app.private_folder import missing
from pdae_app.typed_config import short

FORMAT = "pdae_app preset 1"
# A preset has a line an attribute; what is larger is none.
MOST_BYTES = 100_000


@dataclass(frozen=True)
class Preset:
    """Attribute strengths and the guidance scale; `model` says where they come from."""

    sliders: dict[str, float] = field(default_factory=dict)
    scale: float = 1.0
    model: str = ""

    def to_json(self) -> str:
        """The text of the file."""
        facts = {"format": FORMAT, "model": self.model, "scale": self.scale}
        return json.dumps(facts | {"sliders": self.sliders}, indent=2) + "\n"


def read_preset(path: str | Path, known: Sequence[str]) -> Preset:
    """The preset in a file, for a model with the `known` attributes.

    Raises:
        EditError: no such file, or see `parse_preset`.
    """
    try:
        with open(path, "rb") as file:
            return parse_preset(file.read(MOST_BYTES + 1), known)
    except FileNotFoundError as error:
        raise EditError(missing(path)) from error


def parse_preset(text: str | bytes, known: Sequence[str]) -> Preset:
    """The preset in a file's text, for a model with the `known` attributes.

    Raises:
        EditError: no preset, a value that cannot be used, or attributes that this model lacks.
    """
    values = _json(text)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise EditError("This file is not a preset of this app. Save one with “Save preset”.")
    sliders = parse_sliders(values.get("sliders", {}), known)
    scale, model = values.get("scale", 1.0), values.get("model", "")
    if not is_number(scale) or not 0 <= scale <= 10:
        raise EditError(f"The preset's guidance scale {short(scale)} is not between 0 and 10.")
    return Preset(sliders, float(scale), model if isinstance(model, str) else "")


def parse_sliders(values: object, known: Sequence[str]) -> dict[str, float]:
    """Attribute strengths from parsed JSON, or from its text; every name and number checked.

    Raises:
        EditError: the message names the first thing that is wrong.
    """
    if isinstance(values, str | bytes):
        values = _json(values)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise EditError('Give the attributes as a JSON object, such as {"Smiling": 1.0}.')
    values = by_known_names(values, known)
    for name, strength in values.items():
        check_strength(name, strength)
    return {name: float(strength) for name, strength in values.items()}


def _json(text: str | bytes) -> object:
    if len(text) > MOST_BYTES:
        raise EditError(f"This is too long for a preset: {len(text)} characters.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EditError(f"This is not valid JSON ({str(error)[:80]}).") from error
