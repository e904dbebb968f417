"""Time from a slider's release to the first preview and the final picture, by the app's API.

python benchmarks/slider_release.py --model checkpoints/faces64 --out runs/slider_release
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from gradio_client import Client, handle_file

from pdae_app.engine import Editor
from pdae_app.ui.app import build, launch
from pdae_app.ui.edit_tab import QUALITY
from pdae_app.ui.events import ModelThread
from pdae_app.ui.session import EXAMPLES


def one_release(client: Client, sliders: int, strength: float) -> tuple[float, float]:
    """Seconds to the first preview and to the final picture."""
    values = [strength] + [0.0] * (sliders - 1)
    start, first = time.perf_counter(), None
    for _ in client.submit("Add the change", 1.0, *values, api_name="/edit"):
        first = first or time.perf_counter() - start
    return first, time.perf_counter() - start


def measure(address: str, sliders: int, quality: str, repeats: int) -> dict[str, float]:
    """Medians over `repeats` releases, after one that warms up."""
    client = Client(address, verbose=False)
    photo = handle_file(EXAMPLES[0])
    client.predict(photo, api_name="/choose")
    client.predict(photo, "Face 1", quality, api_name="/open")
    times = [one_release(client, sliders, 0.1 * i) for i in range(repeats + 1)][1:]
    first, final = (statistics.median(column) for column in zip(*times, strict=True))
    return {"first preview": round(first, 3), "final": round(final, 3)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="checkpoints/faces64")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", default="runs/slider_release")
    arguments = parser.parse_args()
    model = ModelThread()
    editor = model.call(Editor.from_pretrained, arguments.model)
    page = build(editor, model)
    _, address, _ = launch(page, prevent_thread_lock=True, quiet=True)
    rows = {
        quality: measure(address, len(editor.attributes), quality, arguments.repeats)
        for quality in QUALITY
    }
    page.close()
    report = {
        "device": str(editor.device),
        "threads": torch.get_num_threads(),
        "seconds, median": rows,
    }
    lines = ["| quality | first preview (s) | final (s) |", "|---|---|---|"]
    lines += [f"| {q} | {r['first preview']} | {r['final']} |" for q, r in rows.items()]
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    (out / "report.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
