"""Results as Markdown for people and JSON for programs."""

import json
import platform
import sys
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def publish(name: str, rows: list[dict], notes: str = "", folder: Path = RESULTS) -> None:
    """Write rows of equal keys to NAME.md and NAME.json, with the command that made them."""
    command = " ".join(["python", *sys.argv])
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    if torch.cuda.is_available():
        machine += f", {torch.cuda.get_device_name()}"
    facts = {"command": command, "machine": machine, "notes": notes, "rows": rows}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n")
    text = f"`{command}` ({machine})\n\n{markdown(rows)}\n" + (f"\n{notes}\n" if notes else "")
    (folder / f"{name}.md").write_text(text)
    print(text)


def markdown(rows: list[dict]) -> str:
    """A table of rows of equal keys."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([_cell(v) for v in r.values()] for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}"
