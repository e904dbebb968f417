"""Results as Markdown for people and JSON for programs.

python -m benchmarks.tables puts the tables of benchmarks/results together as benchmarks/README.md.
"""

import json
import platform
import sys
from pathlib import Path

import torch

from pdae_app.whole import whole_file
from training.markdown import table

RESULTS = Path(__file__).parent / "results"
INTRO = """# Benchmarks

A script an area. Each prints its table and leaves it in `results` as Markdown and JSON, with the
command and the machine; what is compared runs side by side in one process, medians after a warm-up.
`python -m benchmarks.tables` writes this page from them. `../shared/faces` is a folder of labelled
photographs; any folder with a `manifest.csv` of splits does. Tables of a shipped model are of
faces64, the one before faces128: 64 x 64 pixels, edited through x_T.
"""
# Name of the result: its title, and what it says.
SECTIONS = {
    "alignment": ("Where the eyes are", ""),
    "unseen": (
        "Ten photographs that nobody trained on, through the page",
        "By faces128. Made of pictures of the split `test`, as people bring them.",
    ),
    "reconstruction": (
        "Reconstruction against steps and evaluations",
        "Anderson with stored residuals is what ships: from (z, x_T) alone it is nearly exact "
        "at the fewest evaluations, and with the residuals exact. BDIA is exact with one "
        "evaluation a step, but only with its second state beside x_T; how edits fare in it was "
        "not measured.",
    ),
    "reconstruction_quick": ("The same on levels even in log SNR, which the app uses", ""),
    "reconstruction_faces32": ("The same with other weights: docs/claims.md, 32 px", ""),
    "edits": (
        "Edits from few exact steps",
        "Ten exact steps edit as 100 exact ones do. Of 100 + 100 plain ones, part of the effect is "
        "the inversion's own error: at equal sliders the judged attribute rises 7 % more and the "
        "others move 14 % more. With the sliders at 1.08, ten exact steps make it rise more than "
        "those, and the others still move less. x_T is far from normal in all of them, alike.",
    ),
    "solvers": (
        "Solvers for drawn noise",
        "DPM-Solver++(2M), its levels even in log SNR, is as near after 8 evaluations as DDIM "
        "after 100.",
    ),
    "slider_release": ("From a slider's release to the picture", ""),
    "network": (
        "One evaluation of the published architectures",
        "In float32 the convolutions leave little to gain; half precision doubles the speed on "
        "CPUs that compute in bfloat16 (this one does). It is a choice: `--precision half`.",
    ),
    "training_speed": (
        "Training, half precision",
        "The ratios vary from run to run on this machine: ours : plain was 1.24 to 1.35 in five "
        "runs, loader : memory 0.93 to 1.03.",
    ),
    "training_speed_compiled": ("Training, half precision and compiled", ""),
    "pdae_or_diffae": ("Training PDAE or Diff-AE", ""),
    "latent_base": (
        "PDAE at 256 px: a latent base against one on pixels",
        "Of equal depth and width, with random weights, in seconds of processor time; the latent "
        "one has ldm-celebahq-256's first stage.",
    ),
    "memory": ("Memory", ""),
    "threads": (
        "How torch's threads wait for each other, and how many there are",
        "Of faces128. By themselves they spin: best on a quiet machine, two to three times as slow "
        "as need be on a busy one. Where other programs need the cores, the app has fewer.",
    ),
    "load": ("Many clients at once", ""),
    "soak": (
        "What is left of visitors",
        "Of faces128, beside two trainings on the machine's two cores.",
    ),
    "request_memory": (
        "The most memory of any single request",
        "Beside what the app has with its model, some 1,000 MB.",
    ),
}


def publish(name: str, rows: list[dict], notes: str = "", folder: Path = RESULTS) -> None:
    """Write rows of equal keys to NAME.md and NAME.json, with the command that made them."""
    script = Path(sys.argv[0])
    command = " ".join(["python -m", f"benchmarks.{script.stem}", *sys.argv[1:]])
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    if torch.cuda.is_available():
        machine += f", {torch.cuda.get_device_name()}"
    facts = {"command": command, "machine": machine, "notes": notes, "rows": rows}
    with whole_file(folder / f"{name}.json") as partial:
        partial.write_text(json.dumps(facts, indent=2) + "\n")
    text = f"`{command}` ({machine})\n\n{markdown(rows)}\n" + (f"\n{notes}\n" if notes else "")
    with whole_file(folder / f"{name}.md") as partial:
        partial.write_text(text)
    print(text)


def markdown(rows: list[dict]) -> str:
    """A table of rows of equal keys."""
    return table(rows[0], ([_cell(value) for value in row.values()] for row in rows))


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}"


def main() -> None:
    """Write benchmarks/README.md."""
    parts = [INTRO]
    for name, (title, remark) in SECTIONS.items():
        table = (RESULTS / f"{name}.md").read_text()
        parts.append("\n\n".join(filter(None, [f"## {title}", remark, table])))
    (RESULTS.parent / "README.md").write_text("\n".join(parts))


if __name__ == "__main__":
    main()
