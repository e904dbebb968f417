"""The judge: a classifier on pixels that says what an edit shows, whatever model made it.

It learns from photographs of the training people, never from a model, a code or an edit, and is
kept in a file: models that are compared have to stand before the very same judge.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pdae_app.bundle import resized
from pdae_app.whole import whole_file
from training.data import DataConfig, Pictures, load_pictures, open_source
from training.evaluation.albums import Album, album_of, mapped, pieces
from training.evaluation.overlap import hashes
from training.pixel_classifier import (
    ClassifierConfig,
    aurocs,
    label_table,
    small_cnn,
    train_classifier,
)


@dataclass(frozen=True)
class JudgeConfig:
    """How the judge is made, and the folder that it is kept in.

    It looks at `size` pixels a side, whatever a model's own size, and learns from squares of
    `picture_size` reduced to them. `attributes` are by default all that the labels tell of both
    training and held-out people.
    """

    folder: str = "runs/judge"
    size: int = 96
    picture_size: int = 128
    attributes: tuple[str, ...] | None = None
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)


@dataclass(frozen=True)
class Judge:
    """Probabilities of `names` in squares of any size.

    `seen` are the hashes of the pictures that it learned from; empty where they are not known.
    """

    network: nn.Module
    names: list[str]
    size: int
    seen: frozenset[str] = frozenset()

    @torch.inference_mode()
    def __call__(self, squares: Album | Tensor) -> Tensor:
        """(N, C, S, S) in [-1, 1] -> (N, A) in [0, 1], means over a square and its mirror image."""
        found = []
        for part in pieces(squares, 128):
            x = to_size(part.expand(-1, 3, -1, -1), self.size)
            found.append((self.network(x).sigmoid() + self.network(x.flip(-1)).sigmoid()) / 2)
        return torch.cat(found)

    def scores(self, squares: Album | Tensor, rows: list[dict[str, str]]) -> dict[str, float]:
        """Its AUROC on labelled people, an attribute each."""
        return aurocs(self(squares), label_table(rows, self.names), self.names)

    def real(self, squares: Album | Tensor, rows: list[dict[str, str]]) -> Tensor:
        """(2, A): its mean probability for photographs of negatives and of positives."""
        p, truth = self(squares), label_table(rows, self.names)
        return torch.stack([p.where(truth == value, torch.nan).nanmean(dim=0) for value in (0, 1)])


def to_size(squares: Tensor, size: int) -> Tensor:
    """Squares (N, C, S, S) at `size`: reduced by averages over areas, or enlarged."""
    if squares.shape[-1] >= size:
        return resized(squares, size)
    return F.interpolate(squares, size=size, mode="bilinear")


def load_judge(config: JudgeConfig, data: DataConfig, test_rows: list[dict[str, str]]) -> Judge:
    """The judge of these training pictures: from its file, or trained now and written there."""
    pictures = load_pictures(data, config.picture_size)
    names = list(config.attributes or common_columns(pictures.rows, test_rows))
    labels = label_table(pictures.rows, names)
    path = Path(config.folder) / f"judge-{identity(config, pictures, names, labels)}.safetensors"
    if path.exists():
        return read_judge(path)
    if not names:
        raise ValueError("the labels name no attribute of which both parts show both kinds")
    print(f"training a judge of {len(names)} attributes on {len(labels)} pictures")
    squares = reduced(album_of(pictures, config.picture_size, 3), config.size)
    network = train_classifier(squares, labels, config.classifier)
    seen = frozenset(hashes(open_source(data)))
    judge = Judge(network, names, config.size, seen)
    write_judge(judge, path)
    return judge


def common_columns(train: list[dict[str, str]], test: list[dict[str, str]]) -> list[str]:
    """The attributes of which both kinds occur among training and held-out people."""
    both = [
        {c for c in rows[0] if {row[c] for row in rows} - {""} == {"0", "1"}}
        for rows in (train, test)
    ]
    return [name for name in train[0] if name in both[0] & both[1]]


def identity(config: JudgeConfig, pictures: Pictures, names: list[str], labels: Tensor) -> str:
    """A hash of all that makes a judge what it is."""
    sizes = [config.size, config.picture_size]
    facts = [sizes, asdict(config.classifier), pictures.identity, names, labels.tolist()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def reduced(pictures: Album | Tensor, size: int) -> Tensor:
    """All pictures (N, 3, size, size) in [-1, 1], as a classifier is trained on them."""
    return mapped(pictures, lambda part: to_size(part.expand(-1, 3, -1, -1), size))


def write_judge(judge: Judge, path: Path) -> None:
    """One safetensors file, whole or absent; names and size in its metadata."""
    tensors = {k: v.contiguous() for k, v in judge.network.state_dict().items()}
    facts = {"names": json.dumps(judge.names), "size": str(judge.size)}
    facts["seen"] = " ".join(sorted(judge.seen))
    with whole_file(path) as partial:
        save_file(tensors, partial, facts)


def read_judge(path: Path) -> Judge:
    """A judge from its file.

    Raises:
        ValueError: it is no judge's file.
    """
    if not path.is_file():
        raise ValueError(f"there is no judge {path}")
    try:
        return _read_judge(path)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is no judge's file; training/train_judge.py makes one") from error


def _read_judge(path: Path) -> Judge:
    with safe_open(path, "pt") as file:
        facts = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    names = json.loads(facts["names"])
    network = small_cnn(len(names)).to(memory_format=torch.channels_last)
    network.load_state_dict(tensors)
    seen = frozenset(facts.get("seen", "").split())
    return Judge(network.eval().requires_grad_(False), names, int(facts["size"]), seen)


def check_unseen(judge: Judge, hashes: set[str]) -> None:
    """Whether a judge learned from none of the pictures that it is to judge.

    Raises:
        ValueError: it did.
    """
    known = len(judge.seen & hashes)
    if known:
        raise ValueError(
            f"the judge learned from {known} of the {len(hashes)} test pictures, and may not judge "
            "them: train one on other pictures (training/train_judge.py)"
        )
