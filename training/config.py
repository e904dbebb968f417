"""Training configurations: YAML files and `key=value` overrides into typed dataclasses."""

import argparse
import dataclasses
import json
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
            level = _inner(level, parent, key)
        level[last] = yaml.safe_load(text)
    return build(cls, values)


def _inner(level: dict, parent: str, key: str) -> dict:
    """The mapping below `parent`; null is an empty one."""
    if level.get(parent) is None:
        level[parent] = {}
    if not isinstance(level[parent], dict):
        raise ConfigError(f"{key}: there is nothing below {parent}, which is {level[parent]!r}")
    return level[parent]


def parse(cls: type, description: str) -> typing.Any:
    """The configuration from the command line; `--help` lists the keys and their defaults."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="keys:\n" + "\n".join(describe(cls)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", help="YAML file; see training/configs")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. loop.batch_size=64")
    flags = _loop_flags(parser) if "loop" in typing.get_type_hints(cls) else ()
    arguments = parser.parse_intermixed_args()
    chosen = [f"loop.{name}={value}" for name in flags if (value := getattr(arguments, name))]
    try:
        config = load(cls, arguments.config, [*arguments.overrides, *chosen])
    except ConfigError as error:
        parser.exit(2, f"error: {error}\n")
    if "dry_run" in flags and arguments.dry_run:
        print(yaml.safe_dump(_plain(config), sort_keys=False))
    return config


def _loop_flags(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    """Flags for settings of the loop that are chosen run by run."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    parser.add_argument("--export", action="store_true", help="write the bundle of the checkpoint")
    parser.add_argument("--push-to-hub", metavar="OWNER/NAME", help="upload the bundle at the end")
    return "dry_run", "export", "push_to_hub"


def _plain(config: typing.Any) -> dict:
    """Nested mappings and lists, as YAML writes them."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


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
