"""Nested mappings (JSON, YAML) to frozen dataclasses: every key and type checked."""

import dataclasses
import difflib
import math
import types
import typing

LONGEST_SHOWN = 40
MOST_ENTRIES = 16


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key and what to write instead."""


def short(value: object) -> str:
    """A value for a message, however long it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, lists in lists
        return f"a {type(value).__name__} that is too long to show"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def check_sizes(config: typing.Any, least: int = 1, **most: int) -> None:
    """Whether whole numbers of a configuration lie between `least` and `most`, by their names.

    Of a tuple every entry is compared, and it may have at most 16. None is left out.

    Raises:
        ValueError: one does not; a network of such a size would take all memory, or for ever.
    """
    for name, largest in most.items():
        value = getattr(config, name)
        entries = value if isinstance(value, tuple) else () if value is None else (value,)
        if len(entries) > MOST_ENTRIES:
            raise ValueError(f"{name} may have {MOST_ENTRIES} entries, got {len(entries)}")
        if not all(least <= entry <= largest for entry in entries):
            raise ValueError(f"{name} must be between {least} and {largest}, got {short(value)}")


def build(cls: type, values: dict, where: str = "") -> typing.Any:
    """An instance of the dataclass `cls` from a nested mapping, every key and type checked."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where or 'the configuration'} must be a mapping, got {short(values)}")
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise ConfigError(_unknown(f"{where}{key}", key, hints))
    known = {key: _convert(hints[key], value, f"{where}{key}") for key, value in values.items()}
    missing = [
        f.name
        for f in dataclasses.fields(cls)
        if f.name not in known
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"missing: {', '.join(where + name for name in missing)}")
    try:
        return cls(**known)
    except ValueError as error:
        raise ConfigError(f"{where.rstrip('.') or cls.__name__}: {error}") from error


def _unknown(path: str, key: str, known: dict) -> str:
    near = difflib.get_close_matches(str(key)[:LONGEST_SHOWN], known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"unknown key {short(path)}; {hint}"


def _convert(kind: typing.Any, value: typing.Any, path: str) -> typing.Any:
    if dataclasses.is_dataclass(kind):
        return build(kind, value, f"{path}.")
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if type(None) in arguments:
        if value is None:
            return None
        arguments = tuple(a for a in arguments if a is not type(None))
        kind = arguments[0] if len(arguments) == 1 else _nearest(arguments, value)
        return _convert(kind, value, path)
    if origin is types.UnionType:
        return _convert(_nearest(arguments, value), value, path)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(arguments[0], item, path) for item in value)
    if origin is dict and isinstance(value, dict):
        return {str(k): _convert(arguments[1], item, path) for k, item in value.items()}
    if kind is float and isinstance(value, str | int | float) and not isinstance(value, bool):
        return _number(value, path)
    if origin is None and isinstance(value, kind) and not (kind is int and value in (True, False)):
        return value
    if kind is int and type(value) is int:
        return value
    name = kind.__name__ if origin is None else str(kind)
    raise ConfigError(f"{path} must be of type {name}, got {short(value)}")


def _nearest(kinds: tuple[type, ...], value: typing.Any) -> type:
    """The value's own kind; of several dataclasses, the one that has most of its keys."""
    if type(value) in kinds:
        return type(value)
    if float in kinds and isinstance(value, str | float):  # YAML reads 1e-4 as a string
        return float
    keys = value.keys() if isinstance(value, dict) else {}
    return max(kinds, key=lambda kind: sum(key in typing.get_type_hints(kind) for key in keys))


def _number(value: str | int | float, path: str) -> float:
    try:  # YAML reads 1e-4 as a string
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{path} must be a number, got {short(value)}") from error
    if not math.isfinite(number):
        raise ConfigError(f"{path} must be a finite number, got {short(value)}")
    return number
