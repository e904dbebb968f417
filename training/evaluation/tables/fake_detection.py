"""Whether a classifier that is trained for it tells made pictures from real ones."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from training.evaluation.albums import Album, drawn_album
from training.evaluation.case import Case
from training.evaluation.judge import reduced
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
    both, config = real.spread(2 * count).pictures, case.classifier(case.sizes.detector_epochs)
    genuine, others = both.at(slice(0, None, 2)), both.at(slice(1, None, 2))
    rows = []
    for name, steps, fake in [("real against real", None, others), *_fakes(case, genuine)]:
        found = detected(genuine, fake, config)
        rows.append({"fakes": name, "T": steps, "pictures of each": len(fake)} | found)
    return Table(
        rows,
        [
            f"A small residual network at {SIZE} pixels, as many real as made pictures, "
            "0.7 to train on, 0.2 to test, 0.1 to choose the threshold; means over three "
            "partings. 0.5 is chance. Edited: T plain steps there and back, a random tenth of the "
            "code's spread added."
        ],
        people=False,
    )


def _fakes(case: Case, genuine: Album) -> Iterator[tuple[str, int, Album]]:
    """Made pictures by their kind and number of steps."""
    every = sorted({min(s, case.model.process.most_steps) for s in case.sizes.draw_steps})
    for steps in every:
        yield "generated", steps, case.new_pictures(steps, len(genuine))
    for steps in every if case.model.family.reads_pictures else ():
        yield "edited", steps, edited(case, genuine, steps)


def edited(case: Case, pictures: Album, steps: int) -> Album:
    """The pictures with a small random change of their codes, through the inferred x_T."""
    model, spread = case.model, 0.1 * case.codes.std(dim=0)
    how = Decoding(model.stepping("clean"), steps)

    def draw(places: range) -> Tensor:
        some = pictures[places]
        z = model.codes(some)
        x_T = model.inverted(model.states(some), z, how.stepping, steps)
        generator = torch.Generator().manual_seed(case.seed + places.start)
        return model.decoded(z + spread * torch.randn(z.shape, generator=generator), x_T, how)

    shape = pictures[:1].shape[1:]
    return drawn_album(len(pictures), tuple(shape), draw, f"{model.name}: editing in {steps}")


def detected(
    real: Album | Tensor,
    fake: Album | Tensor,
    config: ClassifierConfig,
    size: int = SIZE,
    rounds: int = ROUNDS,
) -> dict:
    """Accuracy on pictures left out, over several partings of (N, C, S, S) and (N, C, S, S)."""
    count = min(len(real), len(fake))
    squares = torch.cat([reduced(part, size)[:count] for part in (real, fake)])
    labels = (torch.arange(2 * count) >= count).float()
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
