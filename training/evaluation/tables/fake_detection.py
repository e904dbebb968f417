"""Whether a classifier that is trained for it tells made pictures from real ones."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from training.evaluation.case import Case
from training.evaluation.judge import to_size
from training.evaluation.model import Decoding
from training.evaluation.table import LeftOutError, Table, with_error
from training.pixel_classifier import ClassifierConfig, train_classifier

TITLE = "Detecting made pictures"
OF = "Diff-AE, Appendix L"

PARTS = (0.7, 0.2, 0.1)
SIZE = 64
ROUNDS = 3
FEWEST = 10
BATCH = 16
LEAST_STEPS = 60


def measure(case: Case) -> Table:
    """Accuracy on generated and on edited pictures, by steps; and on real ones called fake.

    Raises:
        LeftOutError: too few pictures to train on.
    """
    real = case.real
    count = min(case.sizes.detected, len(real) // 2)
    if count < FEWEST:
        raise LeftOutError(f"a detector needs {2 * FEWEST} real pictures, got {len(real)}")
    genuine, config = real.spread(2 * count).pictures, case.classifier(case.sizes.detector_epochs)
    fakes = {("real against real", None): genuine[1::2]}
    for steps in sorted({min(s, case.model.process.most_steps) for s in case.sizes.draw_steps}):
        fakes["generated", steps] = case.new_pictures(steps, count)
    if case.model.family.reads_pictures:
        fakes["edited", 20] = edited(case, genuine[::2])
    rows = []
    for (name, steps), fake in fakes.items():
        found = detected(genuine[::2], fake, config)
        rows.append({"fakes": name, "T": steps, "pictures of each": len(fake)} | found)
    return Table(
        rows,
        [
            f"A small residual network at {SIZE} pixels, as many real as made pictures, "
            "0.7 to train on, 0.2 to test, 0.1 to choose the threshold; means over three "
            "partings. 0.5 is chance. Edited: reconstructed from x_T with a random tenth of the "
            "code's spread added."
        ],
        people=False,
    )


def edited(case: Case, pictures: Tensor) -> Tensor:
    """The pictures with a small random change of their codes, through the inferred x_T."""
    model, steps = case.model, min(20, case.model.process.most_steps)
    z, stepping = model.codes(pictures), model.stepping("clean")
    x_T = model.inverted(model.states(pictures), z, stepping, steps)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(case.seed))
    return model.decoded(z + 0.1 * z.std(dim=0) * noise, x_T, Decoding(stepping, steps))


def detected(
    real: Tensor, fake: Tensor, config: ClassifierConfig, size: int = SIZE, rounds: int = ROUNDS
) -> dict:
    """Accuracy on pictures left out, over several partings of (N, C, S, S) and (N, C, S, S)."""
    count = min(len(real), len(fake))
    squares = torch.cat([real[:count], fake[:count]]).expand(-1, 3, -1, -1)
    squares, labels = to_size(squares, size), (torch.arange(2 * count) >= count).float()
    scores = [_one_parting(squares, labels, config, seed) for seed in range(rounds)]
    return {"accuracy": with_error(scores)}


def _one_parting(squares: Tensor, labels: Tensor, config: ClassifierConfig, seed: int) -> float:
    """Accuracy with the threshold that parts best what is kept to choose it."""
    count = len(labels) // 2
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    ends = [round(PARTS[0] * count), round((PARTS[0] + PARTS[1]) * count)]
    train, test, kept = (torch.cat([p, p + count]) for p in order.tensor_split(ends))
    least = math.ceil(LEAST_STEPS * BATCH / len(train))
    config = replace(config, batch_size=BATCH, epochs=max(config.epochs, least))
    network = train_classifier(squares[train], labels[train][:, None], config)
    logits = _logits(network, squares[kept])
    # Whatever the threshold, ties at chance go to the smallest change of the decision at 0.
    chosen = max(
        torch.cat([torch.zeros(1), logits]).tolist(),
        key=lambda edge: (_accuracy(logits, labels[kept], edge), -abs(edge)),
    )
    return _accuracy(_logits(network, squares[test]), labels[test], chosen)


@torch.inference_mode()
def _logits(network: nn.Module, squares: Tensor) -> Tensor:
    return torch.cat([network(part)[:, 0] for part in squares.split(64)])


def _accuracy(logits: Tensor, labels: Tensor, edge: float) -> float:
    return float(((logits > edge) == (labels > 0.5)).float().mean())
