"""A small attribute classifier on pixels: an independent judge of edits. It never sees a code z."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn


@dataclass(frozen=True)
class ClassifierConfig:
    """How the judge is trained."""

    epochs: int = 24
    batch_size: int = 64
    learning_rate: float = 1e-3
    seed: int = 0


def small_cnn(outputs: int) -> nn.Sequential:
    """(N, 3, S, S) in [-1, 1] -> (N, outputs) logits."""
    layers, widths = [], (3, 32, 64, 128, 192)
    for a, b in pairwise(widths):
        layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.SiLU()]
        layers += [nn.Conv2d(b, b, 3, padding=1), nn.BatchNorm2d(b), nn.SiLU()]
    layers += [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(widths[-1], outputs),
    ]
    return nn.Sequential(*layers)


def train_classifier(squares: Tensor, labels: Tensor, config: ClassifierConfig) -> nn.Module:
    """Fit the judge to squares (N, 3, S, S) and 0/1 labels (N, A); evaluation mode."""
    torch.manual_seed(config.seed)
    model = small_cnn(labels.shape[1]).to(memory_format=torch.channels_last)
    steps = config.epochs * (len(squares) // config.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate * 3, steps)
    for _ in range(config.epochs):
        order = torch.randperm(len(squares))
        for batch in order.split(config.batch_size)[: len(squares) // config.batch_size]:
            loss = F.binary_cross_entropy_with_logits(model(_varied(squares[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval().requires_grad_(False)


def _varied(x: Tensor) -> Tensor:
    """Mirrored half the time, moved by up to 3 pixels, brightness and contrast varied."""
    if torch.rand(()) < 0.5:
        x = x.flip(-1)
    dy, dx = torch.randint(-3, 4, (2,)).tolist()
    x = F.pad(x, (3, 3, 3, 3), mode="replicate")[
        :, :, 3 + dy : 3 + dy + x.shape[2], 3 + dx : 3 + dx + x.shape[3]
    ]
    gain = 1 + 0.15 * torch.randn(len(x), 1, 1, 1)
    return gain * x + 0.1 * torch.randn(len(x), 1, 1, 1)


def aurocs(model: nn.Module, squares: Tensor, labels: Tensor, names: list[str]) -> dict[str, float]:
    """The judge's own score on held-out people, an attribute each."""
    probabilities = torch.cat([model(batch).sigmoid() for batch in squares.split(128)]).numpy()
    truth = labels.numpy().astype(np.int64)
    return {n: float(roc_auc_score(truth[:, i], probabilities[:, i])) for i, n in enumerate(names)}
