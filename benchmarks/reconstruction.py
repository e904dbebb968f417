"""Reconstruction error against steps and evaluations: plain inversion and ways of an exact one.

python -m benchmarks.reconstruction --model checkpoints/faces128 --data ../shared/faces --people 16

- plain: PDAE's Eq. 8, one evaluation a step.
- fixed point: the step's equation iterated as it stands, so many evaluations a step.
- Anderson: the same iteration, accelerated (`pdae_app.diffusion.inversion`, the one that ships).
- BDIA: the two-step integrator that is its own inverse (Zhang et al. 2023, "Exact Diffusion
  Inversion via Bi-directional Integration Approximation", gamma 1); its code is two states.
- residuals: Anderson, and what each step leaves stored beside x_T (Direct Inversion).
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.tables import publish
from pdae_app.bundle import load_bundle
from pdae_app.diffusion.grids import STEPPINGS
from pdae_app.diffusion.inversion import ddim_coefficients, exact_states
from pdae_app.diffusion.schedule import Schedule
from pdae_app.diffusion.solvers import Denoiser, ddim_states
from training.data import DataConfig, load_pictures, plain_squares
from training.evaluation.reconstruction import compare

STEPS = (5, 10, 20, 50, 100)


class Counted:
    """A denoiser that counts its evaluations."""

    def __init__(self, denoiser: Denoiser):
        self.denoiser, self.count = denoiser, 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.count += 1
        return self.denoiser(x, t)


def decoded(denoiser: Denoiser, x_T: Tensor, schedule: Schedule, levels, residuals=None) -> Tensor:
    """DDIM down the levels."""
    *_, last = ddim_states(denoiser, x_T, schedule, levels[::-1], residuals=residuals)
    return last.x


def plain(denoiser: Counted, x_0: Tensor, schedule: Schedule, levels: list[int]) -> Tensor:
    """Eq. 8 and back."""
    *_, last = ddim_states(denoiser, x_0, schedule, levels)
    return decoded(denoiser.denoiser, last.x, schedule, levels)


def solved(iterations: int, memory: int, stored: bool = False):
    """The step's equation solved, with so many iterates mixed (1: none)."""

    def way(denoiser: Counted, x_0: Tensor, schedule: Schedule, levels: list[int]) -> Tensor:
        states = exact_states(denoiser, x_0, schedule, levels, iterations=iterations, memory=memory)
        *_, last = states
        residuals = last.residuals if stored else None
        return decoded(denoiser.denoiser, last.x, schedule, levels, residuals)

    return way


def bdia(denoiser: Counted, x_0: Tensor, schedule: Schedule, levels: list[int]) -> Tensor:
    """Up the levels by x_{i+1} = x_{i-1} - down(x_i) + up(x_i), and down by its mirror image."""

    def stepped(run: Denoiser, x: Tensor, i: int, places: tuple[int, ...]) -> list[Tensor]:
        eps = run(x, schedule.asked(levels[i], x))
        steps = (ddim_coefficients(schedule, levels[i], levels[k]) for k in places)
        return [a * x + b * eps for a, b in steps]

    below, here = x_0, stepped(denoiser, x_0, 0, (1,))[0]
    for i in range(1, len(levels) - 1):
        down, up = stepped(denoiser, here, i, (i - 1, i + 1))
        below, here = here, below - down + up
    above, here = here, below
    for i in reversed(range(1, len(levels) - 1)):
        down, up = stepped(denoiser.denoiser, here, i, (i - 1, i + 1))
        above, here = here, above + down - up
    return here


WAYS = {
    "plain": plain,
    "fixed point, 5 a step": solved(5, memory=1),
    "Anderson, ≤ 3 a step": solved(3, memory=3),
    "Anderson, ≤ 5 a step": solved(5, memory=3),
    "BDIA, two states": bdia,
    "Anderson, ≤ 3 a step, residuals stored": solved(3, memory=3, stored=True),
}


def row(denoiser: Denoiser, x_0: Tensor, schedule: Schedule, stepping: str, steps: int, name: str):
    """One line of the table."""
    counted = Counted(denoiser)
    levels = STEPPINGS[stepping].levels(schedule, steps, inverting=True)
    back = WAYS[name](counted, x_0, schedule, levels)
    return {
        "levels": stepping,
        "steps": steps,
        "inversion": name,
        "its evaluations": counted.count,
        "evaluations in all": counted.count + steps,
        "MSE": float((back - x_0).square().mean()) / 4,
        "SSIM": compare(back, x_0)["SSIM"],
    }


@torch.inference_mode()
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="checkpoints/faces128")
    parser.add_argument("--data", default="../shared/faces", help="folder with manifest.csv")
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--stepping", nargs="+", default=["clean", "quick"])
    parser.add_argument("--name", default="reconstruction", help="of the files in results")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.model)
    data = DataConfig(
        arguments.data, labels=str(Path(arguments.data, "manifest.csv")), split="test"
    )
    size = bundle.unet.config.image_size
    x_0 = plain_squares(load_pictures(data, size), size, slice(arguments.people))
    x_0 = x_0.to(memory_format=torch.channels_last)
    denoiser = bundle.family.denoiser(bundle.codes(x_0))
    rows = [
        row(denoiser, x_0, bundle.process, stepping, steps=steps, name=name)
        for stepping in arguments.stepping
        for steps in arguments.steps
        for name in WAYS
    ]
    publish(arguments.name, rows, f"{len(x_0)} people of the test split; MSE on [0, 1].")


if __name__ == "__main__":
    main()
