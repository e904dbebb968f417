"""Held-out figures of several runs against the pictures that they saw: a table and a drawing.

python training/curves.py --figure random_x_T_mse --out docs/claims/weighting \\
    "paper's weighting=runs/faces32-pdae-0,runs/faces32-pdae-1" \\
    "constant=runs/faces32-pdae_constant-0,runs/faces32-pdae_constant-1"

Each NAME=RUN,RUN is one line of the table and one colour; runs of a name differ in their seeds.
"""

import argparse
import json
from pathlib import Path

import matplotlib

from pdae_app.whole import whole_file

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from training import markdown
from training.loop import run_script

Curve = dict[int, float]


def curve(run: str, figure: str) -> Curve:
    """Pictures seen to the figure; a resumed run's later lines stand for the earlier ones."""
    path = Path(run) / "validation.jsonl"
    if not path.is_file():
        raise ValueError(f"{run} has no validation.jsonl; train it with data.held_out=SPLIT")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    if figure not in lines[0]:
        known = ", ".join(key for key in lines[0] if key not in ("step", "pictures"))
        raise ValueError(f"{run} has no figure {figure!r}; known: {known}")
    return {line["pictures"]: line[figure] for line in lines}


def table(groups: dict[str, list[Curve]]) -> str:
    """Means over the seeds at every second interval, as Markdown."""
    marks = sorted(set.intersection(*(set(c) for curves in groups.values() for c in curves)))
    marks = marks[1::2]
    rows = []
    for name, curves in groups.items():
        means = (sum(c[mark] for c in curves) / len(curves) for mark in marks)
        rows.append([name, *(f"{mean:.4f}" for mean in means)])
    return markdown.table(["pictures", *(f"{mark:,}" for mark in marks)], rows)


def draw(groups: dict[str, list[Curve]], figure: str, path: Path) -> None:
    """One line a run, one colour a name."""
    drawing, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for number, (name, curves) in enumerate(groups.items()):
        for i, values in enumerate(curves):
            label = name if i == 0 else None
            axes.plot(list(values), list(values.values()), color=f"C{number}", label=label)
    axes.set(xlabel="pictures seen", ylabel=figure.replace("_", " "))
    axes.legend()
    with whole_file(path) as partial:
        drawing.savefig(partial)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figure", required=True, help="a key of validation.jsonl")
    parser.add_argument("--out", required=True, help="path of the .svg, without the ending")
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN,RUN")
    arguments = parser.parse_args()
    groups = {}
    for given in arguments.runs:
        name, separator, runs = given.partition("=")
        if not separator:
            raise ValueError(f"runs are written NAME=RUN,RUN, got {given!r}")
        groups[name] = [curve(run, arguments.figure) for run in runs.split(",")]
    draw(groups, arguments.figure, Path(f"{arguments.out}.svg"))
    print(table(groups))


if __name__ == "__main__":
    run_script(main)
