"""Distance to the 1000-step ODE solution against evaluations: DDIM and DPM-Solver++(2M).

python -m benchmarks.solvers --model checkpoints/faces128

Noise is drawn, codes come from the bundle's latent diffusion model; the distance is the root mean
square over pixels of [-1, 1].
"""

import argparse

import torch
from torch import Tensor

from benchmarks.tables import publish
from pdae_app.diffusion.grids import spaced_levels
from pdae_app.diffusion.process import CLEAN
from pdae_app.diffusion.solvers import ddim_states, dpm_solver_states
from pdae_app.engine import Editor

RUNS = (
    ("DDIM", ddim_states, "clean", (10, 20, 25, 50, 100)),
    ("DDIM", ddim_states, "log_snr", (10, 20, 25, 50)),
    ("DPM-Solver++(2M)", dpm_solver_states, "clean", (10, 20, 25)),
    ("DPM-Solver++(2M)", dpm_solver_states, "log_snr", (5, 8, 10, 15, 20, 25)),
)


def distance(a: Tensor, b: Tensor) -> float:
    """Root mean square of the difference."""
    return float((a - b).square().mean().sqrt())


@torch.inference_mode()
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="checkpoints/faces128")
    parser.add_argument("--pictures", type=int, default=8)
    arguments = parser.parse_args()
    editor = Editor.from_pretrained(arguments.model)
    codes = [editor.draw(seed).code for seed in range(arguments.pictures)]
    z, x_T = (torch.stack([getattr(c, n) for c in codes]).to(editor.device) for n in ("z", "x_T"))
    schedule = editor.bundle.process
    denoiser = editor.sampler.exact.denoiser(z)

    def end(solver, levels: list[int]) -> Tensor:
        *_, last = solver(denoiser, x_T.to(memory_format=torch.channels_last), schedule, levels)
        return last.x

    truth = end(ddim_states, [*reversed(range(schedule.timesteps)), CLEAN])
    rows = [
        {
            "solver": name,
            "levels": grid,
            "evaluations": steps,
            "distance": distance(end(solver, spaced_levels(schedule, steps, grid)[::-1]), truth),
        }
        for name, solver, grid, counts in RUNS
        for steps in counts
    ]
    publish("solvers", rows, f"{len(codes)} generated codes.")


if __name__ == "__main__":
    main()
