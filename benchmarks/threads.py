"""How torch's threads should wait and how many there should be, on a quiet and on a busy machine.

python -m benchmarks.threads --model checkpoints/faces128

Every setting is a process of its own, as libgomp reads its environment once; they take turns, and
the medians over all turns are compared. Busy processes do nothing but compute.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from benchmarks.tables import publish
from pdae_app.engine import Editor
from pdae_app.threads import BRIEFLY
from pdae_app.ui.workers import Worker

ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "pdae_app" / "ui" / "examples"
BRIEF, PASSIVE = {"GOMP_SPINCOUNT": BRIEFLY}, {"OMP_WAIT_POLICY": "PASSIVE"}
# The environment, and whether there are fewer threads where other programs need the cores.
SETTINGS = {
    "all threads, spinning": ({}, False),
    "all threads, spinning briefly": (BRIEF, False),
    "spinning briefly, as many as there is room for (the app)": (BRIEF, True),
    "all threads, passive": (PASSIVE, False),
    "passive, as many as there is room for (a Space, the Dockerfile)": (PASSIVE, True),
    "one thread": ({"OMP_NUM_THREADS": "1"}, False),
}
READ = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT")


def timed(model: str, repeats: int, sharing: bool) -> None:
    """In a process of its own: print the median seconds of opening and of one edit."""
    editor, worker = Editor.from_pretrained(model), Worker()
    photo = Image.open(sorted(PHOTO.glob("*.jpg"))[0])

    def last(steps):
        return list(worker.iterate(steps) if sharing else steps)[-1]

    encode, edit = [], []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        _, code = last(editor.encode_steps(photo))
        encode.append(time.perf_counter() - start)
        start = time.perf_counter()
        last(editor.edit_steps(code, {editor.attributes[0]: 1.0}))
        edit.append(time.perf_counter() - start)
    print(statistics.median(encode[1:]), statistics.median(edit[1:]))


@contextmanager
def busy(count: int):
    """So many processes that compute, while the context lasts."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measured(setting: str, arguments: argparse.Namespace) -> list[float]:
    """Seconds of opening and edit under one setting."""
    clean = {key: value for key, value in os.environ.items() if key not in READ}
    command = [sys.executable, "-m", "benchmarks.threads", "--model", arguments.model]
    chosen, sharing = SETTINGS[setting]
    command += ["--repeats", str(arguments.repeats), "--alone"] + ["--sharing"] * sharing
    environment = clean | chosen
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(ROOT / "checkpoints" / "faces128"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--alone", action="store_true", help="one setting, that of this process")
    parser.add_argument("--sharing", action="store_true", help="by the app's worker")
    arguments = parser.parse_args()
    if arguments.alone:
        timed(arguments.model, arguments.repeats, arguments.sharing)
        return
    rows = []
    for count in arguments.busy:
        found = {setting: [] for setting in SETTINGS}
        with busy(count):
            for setting in [*SETTINGS] * arguments.turns:
                found[setting].append(measured(setting, arguments))
        for setting, times in found.items():
            encode, edit = (statistics.median(column) for column in zip(*times, strict=True))
            rows.append({"busy processes": count, "setting": setting, "open": encode, "edit": edit})
    publish("threads", rows, "Seconds, medians.")


if __name__ == "__main__":
    main()
