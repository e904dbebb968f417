"""Thousands of damaged files: `python -m tests.fuzz.long --pictures 500000 --others 20000`.

Prints how many could be read, how many were refused, and what went wrong with which seed; the exit
code is 1 where anything did. `--first` goes on where another run ended. Every kind is read in a
process of its own, whose peak of memory is told: that of pictures has no torch in it.
"""

import argparse
import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from tests.fuzz.subject import Subject

# Seconds that no file may take.
SLOW = 10
KINDS = ("pictures", "configurations", "foreign", "presets", "sliders", "films")


def subject_of(kind: str, folder: Path) -> Subject:
    """One kind by its name; what it writes lies in `folder`."""
    if kind == "pictures":
        from tests.fuzz.pictures import pictures

        return pictures()
    from tests.fuzz import subjects

    if kind == "presets":
        return subjects.presets()
    if kind == "films":
        return subjects.films(folder)
    if kind == "foreign":
        return subjects.foreign_configurations(folder)
    return _of_a_bundle(kind, folder)


def _of_a_bundle(kind: str, folder: Path) -> Subject:
    """A kind that belongs to a model."""
    from pdae_app.bundle import save_bundle
    from pdae_app.engine import Editor
    from tests.fuzz import subjects
    from tests.tiny import tiny_bundle

    bundle = folder / "bundle"
    save_bundle(tiny_bundle(), bundle)
    if kind == "configurations":
        config = json.loads((bundle / "config.json").read_text())
        return subjects.configurations(config, folder / kind)
    return subjects.slider_files(Editor.from_pretrained(bundle, device="cpu"), folder / kind)


def outcome(subject: Subject, seed: int) -> str:
    """What became of one damaged file."""
    start = time.process_time()
    try:
        read = subject.read(subject.make(random.Random(seed)))
    except Exception as error:  # whatever it is, it is a fault of ours
        return f"{type(error).__name__}: {str(error)[:80]}"
    if time.process_time() - start > SLOW:
        return "too slow"
    return "read" if read else "refused"


def tried(kind: str, numbers: range) -> None:
    """Read as many, and print what became of them; the exit code is 1 where any went wrong."""
    warnings.simplefilter("ignore")  # Pillow's, of damaged files
    counts = Counter()
    with tempfile.TemporaryDirectory() as folder:
        subject = subject_of(kind, Path(folder))
        for done, seed in enumerate(numbers, 1):
            became = outcome(subject, seed)
            counts[became if became in ("read", "refused") else "wrong"] += 1
            if became not in ("read", "refused"):
                print(f"  seed {seed}: {became}", flush=True)
            if done % 1000 == 0:
                print(f"  {kind}: {told(counts)}", flush=True)
    print(f"{kind}: {told(counts)}", flush=True)
    if counts["wrong"]:
        sys.exit(1)


def told(counts: Counter) -> str:
    """What became of how many, the processor's time, and the most memory until now."""
    parts = ", ".join(f"{counts[kind]} {kind}" for kind in ("read", "refused", "wrong"))
    return f"{sum(counts.values())} files, {parts}; {time.process_time():.0f} s, {peak_mb():.0f} MB"


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
    anew, failed = multiprocessing.get_context("spawn"), False
    for kind in KINDS:
        count = arguments.pictures if kind == "pictures" else arguments.others
        if not count:
            continue
        numbers = range(arguments.first, arguments.first + count)
        process = anew.Process(target=tried, args=(kind, numbers))
        process.start()
        process.join()
        failed = failed or process.exitcode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
