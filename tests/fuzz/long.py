"""Thousands of damaged files: `python -m tests.fuzz.long --pictures 500000 --others 20000`.

Prints how many could be read, how many were refused, and what went wrong with which seed; the exit
code is 1 where anything did. `--first` goes on where another run ended.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from pdae_app.bundle import save_bundle
from pdae_app.engine import Editor
from tests.fuzz import subjects
from tests.tiny import tiny_bundle

SHOWN = 20
# Seconds that no file may take.
SLOW = 10


def all_subjects(folder: Path) -> dict[str, subjects.Subject]:
    """Every kind by its name; what they write lies in `folder`."""
    save_bundle(tiny_bundle(), folder / "bundle")
    config = json.loads((folder / "bundle" / "config.json").read_text())
    editor = Editor.from_pretrained(folder / "bundle", device="cpu")
    return {
        "configurations": subjects.configurations(config, folder / "configurations"),
        "foreign": subjects.foreign_configurations(folder / "foreign"),
        "presets": subjects.presets(),
        "sliders": subjects.slider_files(editor, folder / "sliders"),
        "films": subjects.films(folder / "films"),
        "pictures": subjects.pictures(),
    }


def outcome(subject: subjects.Subject, seed: int) -> str:
    """What became of one damaged file."""
    start = time.process_time()
    try:
        read = subject.read(subject.make(random.Random(seed)))
    except Exception as error:  # whatever it is, it is a fault of ours
        return f"{type(error).__name__}: {str(error)[:80]}"
    if time.process_time() - start > SLOW:
        return "too slow"
    return "read" if read else "refused"


def tried(name: str, subject: subjects.Subject, numbers: range) -> int:
    """Read as many, and print what became of them; how many went wrong."""
    counts, faults = Counter(), []
    for seed in numbers:
        became = outcome(subject, seed)
        counts[became if became in ("read", "refused") else "wrong"] += 1
        if became not in ("read", "refused"):
            faults.append(f"  seed {seed}: {became}")
            print(faults[-1], flush=True)
        if (seed + 1) % 1000 == 0:
            print(f"  {name}: {told(counts)}", flush=True)
    print(f"{name}: {told(counts)}", flush=True)
    return len(faults)


def told(counts: Counter) -> str:
    """What became of how many, and the most memory until now."""
    parts = ", ".join(f"{counts[kind]} {kind}" for kind in ("read", "refused", "wrong"))
    return f"{sum(counts.values())} files, {parts}; peak {peak_mb():.0f} MB"


def peak_mb() -> float:
    """The most memory that this process has taken."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=500_000)
    parser.add_argument("--others", type=int, default=20_000, help="of each other kind")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow's, of damaged files
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, subject in all_subjects(Path(folder)).items():
            count = arguments.pictures if name == "pictures" else arguments.others
            wrong += tried(name, subject, range(arguments.first, arguments.first + count))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
