"""Edits from exact codes of few steps, beside those of 100 + 100 plain steps.

python -m benchmarks.edits --model checkpoints/faces128 --data ../shared/faces --people 24

A classifier on pixels, trained here on the training pictures, judges: how its probability of an
attribute rises from slider -1 to +1, and how far those of the other attributes move from the
original's at +1 and -1 (mean absolute difference). x_T of a perfect inversion would be noise:
variance 1, kurtosis 3, no correlation of neighbours.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.tables import publish
from pdae_app.bundle import Bundle, load_bundle
from pdae_app.diffusion.grids import STEPPINGS
from pdae_app.diffusion.inversion import exact_states
from pdae_app.diffusion.solvers import ddim_states
from training.data import DataConfig, load_pictures, plain_squares
from training.pixel_classifier import ClassifierConfig, train_classifier

JUDGED = ("Smiling", "Eyeglasses", "Male", "Gray_Hair", "Young")


@dataclass(frozen=True)
class Way:
    """A stepping, its steps, and evaluations to solve each step of inversion (0: plain).

    Sliders stand at `strength` and its negative.
    """

    stepping: str
    steps: int
    iterations: int
    strength: float = 1.0

    @property
    def name(self) -> str:
        kind = f"exact, ≤ {self.iterations} a step" if self.iterations else "plain"
        strength = f", sliders at {self.strength:g}" if self.strength != 1 else ""
        return f"{self.stepping}, {self.steps} steps, {kind}{strength}"


WAYS = (
    Way("clean", 100, 0),
    Way("clean", 100, 5),
    Way("clean", 25, 0),
    Way("clean", 20, 5),
    Way("quick", 10, 5),
    Way("quick", 10, 5, strength=1.08),
    Way("quick", 10, 8),
    Way("quick", 20, 5),
)


class Codes:
    """The codes of test pictures, inverted one way."""

    def __init__(self, bundle: Bundle, squares: Tensor, way: Way):
        self.bundle, self.way, self.squares = bundle, way, squares
        self.z = bundle.model.encoder(squares)
        schedule, levels = bundle.process, self._levels(inverting=True)
        self.residuals, self.evaluations = None, way.steps
        if way.iterations:
            denoiser, most = bundle.family.denoiser(self.z), way.iterations
            *_, last = exact_states(denoiser, squares, schedule, levels, iterations=most)
            self.residuals, self.evaluations = last.residuals, last.evaluations
        else:
            *_, last = ddim_states(self.bundle.family.denoiser(self.z), squares, schedule, levels)
        self.x_T = last.x

    def _levels(self, inverting: bool = False) -> list[int]:
        schedule = self.bundle.process
        return STEPPINGS[self.way.stepping].levels(schedule, self.way.steps, inverting)

    def decoded(self, z: Tensor, with_residuals: bool = True) -> Tensor:
        """Pictures of codes z with these x_T."""
        schedule, residuals = self.bundle.process, self.residuals
        residuals = residuals if with_residuals else None
        states = ddim_states(
            self.bundle.family.denoiser(z), self.x_T, schedule, self._levels(), residuals=residuals
        )
        *_, last = states
        return last.x.clamp(-1, 1)

    def edited(self, name: str, strength: float) -> Tensor:
        """All pictures with one slider set."""
        space = self.bundle.latents
        return self.decoded(torch.stack([space.move(z, {name: strength}) for z in self.z]))


def measured(codes: Codes, judge: nn.Module, names: list[str]) -> dict:
    """One row of the table."""
    originals = judge(codes.squares).sigmoid()
    rises, others, changes = [], [], []
    for name in JUDGED:
        column = names.index(name)
        rest = [i for i in range(len(names)) if i != column]
        low, high = (codes.edited(name, sign * codes.way.strength) for sign in (-1, 1))
        p_low, p_high = judge(low).sigmoid(), judge(high).sigmoid()
        rises.append((p_high - p_low)[:, column])
        others += [(p - originals)[:, rest].abs().mean() for p in (p_low, p_high)]
        changes += [_mse(edit, codes.squares) for edit in (low, high)]
    rises = torch.stack(rises)
    return {
        "way": codes.way.name,
        "evaluations to invert": codes.evaluations,
        "MSE, sliders at 0": _mse(codes.decoded(codes.z), codes.squares),
        "from (z, x_T) alone": _mse(codes.decoded(codes.z, with_residuals=False), codes.squares),
        "rise": float(rises.mean()),
        "rises for": float((rises > 0).float().mean()),
        "others move": float(torch.stack(others).mean()),
        "MSE of edits to original": sum(changes) / len(changes),
    } | noise_figures(codes.x_T)


def _mse(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean()) / 4


def noise_figures(x_T: Tensor) -> dict[str, float]:
    """Mean, variance, kurtosis and correlation of neighbouring pixels; of noise 0, 1, 3 and 0."""
    centred = x_T - x_T.mean()
    variance = float(centred.square().mean())
    neighbours = float((centred[..., 1:] * centred[..., :-1]).mean()) / variance
    return {
        "x_T mean": float(x_T.mean()),
        "variance": variance,
        "kurtosis": float(centred.pow(4).mean()) / variance**2,
        "neighbours": neighbours,
    }


@torch.inference_mode()
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="checkpoints/faces128")
    parser.add_argument("--data", default="../shared/faces", help="folder with manifest.csv")
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--name", default="edits", help="of the files in benchmarks/results")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.model)
    size, names = bundle.unet.config.image_size, bundle.latents.names
    labels = str(Path(arguments.data, "manifest.csv"))
    parts = {
        split: load_pictures(DataConfig(arguments.data, labels=labels, split=split), size)
        for split in ("train", "test")
    }
    train, truth = plain_squares(parts["train"], size), parts["train"].rows
    truth = torch.tensor([[float(row[name]) for name in names] for row in truth])
    with torch.inference_mode(False):
        judge = train_classifier(train.clone(), truth, ClassifierConfig())
    squares = plain_squares(parts["test"], size, slice(arguments.people))
    squares = squares.to(memory_format=torch.channels_last)
    rows = [measured(Codes(bundle, squares, way), judge, names) for way in WAYS]
    publish(arguments.name, rows, f"{len(squares)} people of the test split.")


if __name__ == "__main__":
    main()
