"""What the commands of `python -m pdae_app` share."""

import argparse
from collections.abc import Callable
from pathlib import Path

from pdae_app.engine import EditError, Editor
from pdae_app.whole import whole_file


def command_of(commands, name: str, run: Callable, help: str) -> argparse.ArgumentParser:
    """A command with the options that all have."""
    command = commands.add_parser(name, help=help, description=help)
    command.set_defaults(run=run)
    command.add_argument("--model", help="a bundle: folder or owner/name (PDAE_MODEL)")
    command.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")
    return command


def editor_of(parsed: argparse.Namespace) -> Editor:
    """The editor of the model that a command names."""
    return Editor.from_pretrained(parsed.model, device=parsed.device)


def kind_of(path: Path, kinds: dict[str, str]) -> str:
    """The kind of a file by its suffix.

    Raises:
        EditError: a suffix that none of the kinds has.
    """
    if path.suffix.lower() not in kinds:
        raise EditError(f"{path} must end in one of {', '.join(kinds)}.")
    return kinds[path.suffix.lower()]


def write(path: Path, data: bytes) -> None:
    """A whole file, and its name on standard output."""
    with whole_file(path) as partial:
        partial.write_bytes(data)
    print(path)
