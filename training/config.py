"""Training configurations: YAML files and `key=value` overrides into typed dataclasses."""

import argparse
import dataclasses
import typing
from pathlib import Path

import yaml

from pdae_app.typed_config import ConfigError, build


def load(cls: type, path: str | Path | None, overrides: list[str] = ()) -> typing.Any:
    """The configuration `cls` from a YAML file and `a.b=value` overrides (values are YAML)."""
    values = {}
    if path:
        if not Path(path).is_file():
            raise ConfigError(f"there is no configuration file {path}")
        values = yaml.safe_load(Path(path).read_text()) or {}
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise ConfigError(f"overrides are written key=value, got {override!r}")
        *parents, last = key.split(".")
        level = values
        for parent in parents:
            level = level.setdefault(parent, {})
        level[last] = yaml.safe_load(text)
    return build(cls, values)


def parse(cls: type, description: str) -> typing.Any:
    """The configuration from the command line; `--help` lists the keys and their defaults."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="keys:\n" + "\n".join(describe(cls)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", help="YAML file; see training/configs")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. loop.batch_size=64")
    arguments = parser.parse_args()
    try:
        return load(cls, arguments.config, arguments.overrides)
    except ConfigError as error:
        parser.exit(2, f"error: {error}\n")


def describe(cls: type, where: str = "") -> list[str]:
    """One line a key: its path and default."""
    lines, hints = [], typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            lines += describe(kind, f"{where}{field.name}.")
        else:
            default = "" if field.default is dataclasses.MISSING else f" = {field.default!r}"
            lines.append(f"  {where}{field.name}{default}")
    return lines
