"""Resident memory over 20 photographs, 200 edits and 5 galleries in a row.

python -m benchmarks.memory --model checkpoints/faces128
"""

import argparse
import os
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.tables import RESULTS, publish
from pdae_app.engine import Editor
from pdae_app.ui.session import EXAMPLES

PHOTOGRAPHS, EDITS, GALLERIES = 20, 200, 5


def resident() -> float:
    """Megabytes of this process in memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def requests(editor: Editor, steps: int):
    """Do the work piece by piece, yielding a name after each."""
    codes = []
    for number in range(PHOTOGRAPHS):
        codes.append(editor.encode(EXAMPLES[number % len(EXAMPLES)], steps))
        codes = codes[-2:]
        for edit in range(EDITS // PHOTOGRAPHS):
            name = editor.attributes[edit % len(editor.attributes)]
            editor.edit(codes[-1], {name: 1.0})
            yield "edit"
        if number % (PHOTOGRAPHS // GALLERIES) == 1:
            editor.interpolate(*codes, frames=7)
            yield "gallery"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="checkpoints/faces128")
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()
    editor = Editor.from_pretrained(arguments.model)
    curve = [resident()]
    curve += [resident() for _ in requests(editor, arguments.steps)]
    marks = (0, 10, 50, 100, len(curve) - 1)
    rows = [{"requests": mark, "resident (MB)": round(curve[mark])} for mark in marks]
    grown = curve[-1] - curve[20]
    notes = f"Grown by {grown:.0f} MB from the 20th request to the last."
    publish("memory", rows, f"{notes}\n\n![curve](results/memory.svg)")
    figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
    axes.plot(curve)
    axes.set(xlabel="requests", ylabel="resident memory (MB)", ylim=(0, None))
    figure.savefig(RESULTS / "memory.svg")


if __name__ == "__main__":
    main()
