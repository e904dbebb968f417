"""The figures of `evaluate.py` as Markdown tables, for README and model cards.

python training/report.py runs/faces64-evaluation/figures.json
"""

import json
import sys
from pathlib import Path


def row(*cells: object) -> str:
    """One line of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def head(*cells: object) -> list[str]:
    """A table's first two lines."""
    return [row(*cells), "|" + "---|" * len(cells)]


def reconstruction(figures: dict) -> list[str]:
    """MSE and SSIM with inferred and random x_T."""
    steps = figures["steps"]
    lines = head("", "MSE on [0, 1]", "SSIM")
    for name, values in figures["reconstruction"].items():
        way = f"{steps} + {steps} plain DDIM steps" if "inferred" in name else f"{steps} steps"
        lines.append(
            row(f"reconstruction, {name}, {way}", f"{values['MSE']:.2g}", f"{values['SSIM']:.4f}")
        )
    return lines


def attributes(figures: dict) -> list[str]:
    """AUROC, and what the pixel classifier says of edits."""
    lines = head(
        "attribute",
        "AUROC of the direction on z",
        "AUROC of a CNN on pixels",
        "edits: the CNN's probability rises from -1 to +1 for",
        "its mean at -1",
        "at +1",
    )
    ours, judge = figures["AUROC of z"], figures["AUROC of the judge"]
    for name in ours:
        edit, cells = figures["edits"].get(name), ["", "", ""]
        if edit:
            cells = [
                f"{edit['rises for']:.0%}",
                *(f"{edit[f'mean at {v}']:.2f}" for v in ("-1", "+1")),
            ]
        scores = f"{ours[name]:.3f}", f"{judge[name]:.3f}"
        lines.append(row(name.replace("_", " "), *scores, *cells))
    means = (f"{sum(scores.values()) / len(scores):.3f}" for scores in (ours, judge))
    return [*lines, row("mean", *means, "", "", "")]


def gap(figures: dict) -> list[str]:
    """The posterior-mean gap by timestep."""
    rows = figures["gap"]
    lines = head("t", *(r["t"] for r in rows))
    for name in ("without", "with"):
        lines.append(row(name, *(f"{r[name]:.1e}" for r in rows)))
    return [*lines, row("filled", *(f"{r['filled']:.0%}" for r in rows))]


def main(path: str) -> None:
    """The command line."""
    figures = json.loads(Path(path).read_text())
    std = figures["reconstruction"]["inferred x_T"]["x_T std"]
    print(f"On {figures['pictures']} held-out people of the test split:\n")
    print("\n".join(reconstruction(figures)))
    print(f"\nThe inferred x_T has a standard deviation of {std:.2f} (1 would be ideal).\n")
    print("\n".join(attributes(figures)))
    print("\nThe posterior-mean gap (mean squared error per pixel), without and with the shift:\n")
    print("\n".join(gap(figures)))


if __name__ == "__main__":
    main(*sys.argv[1:])
