"""Whether a classifier that is trained for it tells made pictures from real ones."""

import torch
from torch import Tensor

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
            "0.7 to train on, 0.2 to test, 0.1 kept to choose the epoch; means over three "
            "partings. 0.5 is chance. Edited: reconstructed from x_T with a random tenth of the "
            "code's spread added."
        ],
        people=False,
    )


def edited(case: Case, pictures: Tensor) -> Tensor:
    """The pictures with a small random change of their codes, through the inferred x_T."""
    model, steps = case.model, min(20, case.model.process.most_steps)
    z, way = model.codes(pictures), model.stepping("clean")
    x_T = model.inverted(model.states(pictures), z, way, steps)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(case.seed))
    return model.decoded(z + 0.1 * z.std(dim=0) * noise, x_T, Decoding(way, steps))


def detected(real: Tensor, fake: Tensor, config: ClassifierConfig) -> dict:
    """Accuracy on pictures left out, over several partings of (N, C, S, S) and (N, C, S, S)."""
    count = min(len(real), len(fake))
    squares = torch.cat([real[:count], fake[:count]]).expand(-1, 3, -1, -1)
    squares, labels = to_size(squares, SIZE), torch.arange(2 * count) >= count
    scores = [_one_parting(squares, labels.float(), count, config, seed) for seed in range(ROUNDS)]
    return {"accuracy": with_error(scores)}


def _one_parting(squares, labels: Tensor, count: int, config: ClassifierConfig, seed: int) -> float:
    """Accuracy by the epochs that are best on the part that is kept to choose them."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    ends = [round(sum(PARTS[: i + 1]) * count) for i in range(3)]
    ends = [ends[0], min(max(ends[1], ends[0] + 1), count - 1), count]
    parts = [torch.cat([p, p + count]) for p in order.tensor_split(ends[:2])]
    best = (-1.0, 0.0)
    for epochs in sorted({max(1, config.epochs // 2), config.epochs}):
        trained = ClassifierConfig(epochs=epochs, seed=config.seed, batch_size=16)
        network = train_classifier(squares[parts[0]], labels[parts[0]][:, None], trained)
        chosen, tested = (_accuracy(network, squares[p], labels[p]) for p in (parts[2], parts[1]))
        best = max(best, (chosen, tested), key=lambda pair: pair[0])
    return best[1]


@torch.inference_mode()
def _accuracy(network, squares: Tensor, labels: Tensor) -> float:
    logits = torch.cat([network(part)[:, 0] for part in squares.split(64)])
    return float(((logits > 0) == (labels > 0.5)).float().mean())
