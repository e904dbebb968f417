"""At which times guidance by a class decides what is drawn."""

import torch
from torch import Tensor

from pdae_app.diffusion.process import Time
from pdae_app.diffusion.solvers import Denoiser, ddim_states, last_x
from training.evaluation.case import Case
from training.evaluation.judge import reduced
from training.evaluation.table import Curve, LeftOutError, Table
from training.pixel_classifier import train_classifier

TITLE = "Critical stages of guidance"
OF = "PDAE, Figure 3"

SIZE = 32
STEPS = 50


def measure(case: Case) -> Table:
    """Accuracy of a classifier on pictures that are guided between t1 and t2 only, all pairs.

    Raises:
        LeftOutError: no classes, or no guidance.
    """
    model = case.with_classes()
    if not model.family.has_codes or not model.family.guides:
        raise LeftOutError(f"{model.name} is told its class at every time, and cannot go without")
    network = _classifier(case)
    classes = case.classes_in_turn(case.sizes.staged)
    marks = [model.process.at(i / case.sizes.stages) for i in range(case.sizes.stages + 1)]
    rows, lines = [], {}
    for i, low in enumerate(marks[:-1]):
        for high in marks[i + 1 :]:
            made = guided_between(case, classes, (low, high))
            accuracy = float((_decided(network, made) == classes).float().mean())
            rows.append({"t1": low, "t2": high, "accuracy": accuracy})
    length = marks[1]
    for row in rows:
        if row["t2"] - row["t1"] <= length:
            lines.setdefault("one stage only", []).append((row["t1"], row["accuracy"]))
    chance = 1 / len(model.bundle.classes)
    return Table(
        rows,
        [
            f"{len(classes)} pictures of the classes in turn, {_steps(case)} steps, guided while "
            f"t1 <= t < t2; a classifier trained on real pictures names the class "
            f"(chance {chance:.2g})."
        ],
        [],
        [Curve("Guided in one stage only", "t1", "accuracy", lines)],
        people=False,
    )


def _steps(case: Case) -> int:
    return min(STEPS, case.model.process.most_steps)


def _classifier(case: Case):
    """One logit a class, from pixels of real pictures."""
    squares = case.real
    truth = torch.nn.functional.one_hot(case.class_numbers(squares)).float()
    if truth.shape[1] < len(case.model.bundle.classes):
        raise LeftOutError("some classes have no real pictures to train a classifier on")
    return train_classifier(
        reduced(squares.pictures, SIZE), truth, case.classifier(case.sizes.judge_epochs)
    )


@torch.inference_mode()
def _decided(network, pictures: Tensor) -> Tensor:
    squares = reduced(pictures, SIZE)
    return torch.cat([network(part).argmax(dim=1) for part in squares.split(64)])


def guided_between(case: Case, classes: Tensor, times: tuple[Time, Time]) -> Tensor:
    """Pictures (N, C, S, S) of classes (N,), guided at low <= t < high only."""
    model, z = case.model, case.model.class_codes(classes)
    levels = model.stepping("clean").levels(model.process, _steps(case))

    def run(x: Tensor, z: Tensor) -> Tensor:
        denoiser = Staged(model.denoiser(z), model.denoiser(z, 0.0), times)
        return last_x(ddim_states(denoiser, x, model.process, levels))

    states = model.batched("guiding in a stage", run, model.noise(len(z), case.seed), z)
    return model.pictures(states)


class Staged:
    """One denoiser at low <= t < high, another at other times."""

    def __init__(self, inside: Denoiser, outside: Denoiser, times: tuple[Time, Time]):
        self.inside, self.outside, self.times = inside, outside, times

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        low, high = self.times
        return (self.inside if low <= float(t[0]) < high else self.outside)(x, t)
