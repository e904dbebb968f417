"""A small attribute classifier on pixels: an independent judge of edits. It never sees a code z."""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from tqdm import trange

WIDTHS = (32, 64, 128, 256)

# How far pictures are varied: standard deviations, of angles in radians, of scales, of places in
# halves of the side, of contrast and brightness.
TURN, SCALE, SHIFT, GAIN, BIAS = 0.06, 0.05, 0.04, 0.15, 0.1


@dataclass(frozen=True)
class ClassifierConfig:
    """How the judge is trained; `dropout` is that of the pooled features."""

    epochs: int = 24
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    dropout: float = 0.3
    seed: int = 0


class Block(nn.Module):
    """A residual block (He et al. 2016): (N, a, S, S) -> (N, b, S / stride, S / stride)."""

    def __init__(self, a: int, b: int, stride: int):
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv2d(a, b, 3, stride, 1, bias=False),
            nn.BatchNorm2d(b),
            nn.ReLU(inplace=True),
            nn.Conv2d(b, b, 3, padding=1, bias=False),
            nn.BatchNorm2d(b),
        )
        reduce = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.short = nn.Sequential(reduce, nn.Conv2d(a, b, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.change(x) + self.short(x))


def small_cnn(outputs: int, dropout: float = 0.3) -> nn.Sequential:
    """(N, 3, S, S) in [-1, 1], S even -> (N, outputs) logits."""
    return nn.Sequential(
        nn.PixelUnshuffle(2),
        nn.Conv2d(12, WIDTHS[0], 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(WIDTHS[0]),
        nn.ReLU(inplace=True),
        Block(WIDTHS[0], WIDTHS[0], 1),
        *(Block(a, b, 2) for a, b in pairwise(WIDTHS)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(WIDTHS[-1], outputs),
    )


def label_table(rows: list[dict[str, str]], names: list[str]) -> Tensor:
    """(N, A) of 0 and 1, NaN where a label is empty, that is unknown.

    Raises:
        ValueError: the rows have no such columns.
    """
    missing = [name for name in names if rows and name not in rows[0]]
    if missing:
        raise ValueError(f"the labels have no columns {', '.join(missing)}, which are asked for")
    return torch.tensor([[float(row[name] or "nan") for name in names] for row in rows])


def train_classifier(squares: Tensor, labels: Tensor, config: ClassifierConfig) -> nn.Module:
    """Fit the judge to squares (N, 3, S, S) and labels (N, A), NaN being unknown; evaluation mode.

    The caller's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = small_cnn(labels.shape[1], config.dropout).to(memory_format=torch.channels_last)
        _fit(model, squares, labels, config)
    return model.eval().requires_grad_(False)


def _fit(model: nn.Module, squares: Tensor, labels: Tensor, config: ClassifierConfig) -> None:
    size = min(config.batch_size, len(squares))
    steps, weights = len(squares) // size, class_weights(labels)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, config.epochs * steps
    )
    for _ in trange(config.epochs, desc="training the judge", leave=False, disable=None):
        # The last batch of an epoch is left out where it is a smaller one.
        for batch in torch.randperm(len(squares)).split(size)[:steps]:
            loss = masked_bce(model(varied(squares[batch])), labels[batch], weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def class_weights(labels: Tensor) -> Tensor:
    """(2, A): weights of negatives and positives with which either kind counts half."""
    part = labels.nanmean(dim=0).clamp(0.01, 0.99)
    return 0.5 / torch.stack([1 - part, part])


def masked_bce(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean binary cross-entropy of known labels (N, A), weighted by class (2, A)."""
    known = ~labels.isnan()
    truth = labels.nan_to_num()
    weight = torch.lerp(weights[0], weights[1], truth) * known
    losses = F.binary_cross_entropy_with_logits(logits, truth, weight, reduction="sum")
    return losses / known.sum().clamp(min=1)


def varied(x: Tensor) -> Tensor:
    """Pictures (N, 3, S, S) mirrored, moved, lit and blurred at random."""
    return _blurred(_lit(_moved(x)))


def _moved(x: Tensor) -> Tensor:
    """Half of them mirrored, all turned, scaled and shifted a little."""
    angle, scale, dx, dy = (
        torch.randn(4, len(x)) * torch.tensor([TURN, SCALE, SHIFT, SHIFT])[:, None]
    )
    mirror = torch.randint(0, 2, (len(x),)) * 2 - 1
    cos, sin = ((1 + scale) * f(angle) for f in (torch.cos, torch.sin))
    matrices = torch.stack([cos * mirror, -sin, dx, sin * mirror, cos, dy], dim=1)
    grid = F.affine_grid(matrices.view(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def _lit(x: Tensor) -> Tensor:
    """Contrast and brightness changed."""
    gain, bias = (torch.randn(len(x), 1, 1, 1) for _ in range(2))
    return (1 + GAIN * gain) * x + BIAS * bias


def _blurred(x: Tensor) -> Tensor:
    """Half of the batches reduced, by up to a half, and enlarged again.

    What a model paints is softer than photographs, and a judge that has seen only sharp ones takes
    softness for an attribute (no glasses, young skin).
    """
    size = x.shape[-1]
    if torch.rand(()) < 0.5:
        return x
    smaller = int(torch.randint(size // 2, size, ()))
    x = F.interpolate(x, size=smaller, mode="bilinear", antialias=True)
    return F.interpolate(x, size=size, mode="bilinear")


def aurocs(scores: Tensor, labels: Tensor, names: list[str]) -> dict[str, float]:
    """How well scores (N, A) tell known positives from negatives, an attribute each."""
    found = {}
    for name, score, truth in zip(names, scores.T, labels.T, strict=True):
        known = ~truth.isnan()
        found[name] = float(roc_auc_score(truth[known].numpy(), score[known].numpy()))
    return found
