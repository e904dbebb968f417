"""How far two sets of features are apart: torchmetrics' FID and KID, torch-fidelity's coverage."""

import torch
from torch import Tensor, nn
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from training.evaluation.features import FEW
from training.evaluation.table import LeftOutError

NEIGHBOURS = 3


class _AsTheyAre(nn.Identity):
    """Features are made already."""

    def __init__(self, count: int):
        super().__init__()
        self.num_features = count


def frechet(real: Tensor, made: Tensor) -> float:
    """Fréchet distance of normals fitted to features (N, D) and (M, D) (Heusel et al. 2017).

    Raises:
        LeftOutError: fewer than two of either.
    """
    _check(real, made)
    metric = FrechetInceptionDistance(_AsTheyAre(real.shape[1]), normalize=True)
    metric.update(real.double(), real=True)
    metric.update(made.double(), real=False)
    return max(0.0, float(metric.compute()))


def kernel(real: Tensor, made: Tensor) -> dict[str, float]:
    """Kernel distance (KID, Binkowski et al. 2018): unbiased, so also for few pictures.

    The error is the standard deviation over ten random halves.
    """
    _check(real, made)
    size = max(2, min(len(real), len(made)) // 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        metric = KernelInceptionDistance(
            _AsTheyAre(real.shape[1]), subsets=10, subset_size=size, normalize=True
        )
        metric.update(real.float(), real=True)
        metric.update(made.float(), real=False)
        mean, std = metric.compute()
    return {"mean": float(mean), "error": float(std)}


def precision_recall(real: Tensor, made: Tensor) -> tuple[float, float]:
    """Precision and recall by 3 nearest neighbours (Kynkäänniemi et al. 2019).

    Raises:
        LeftOutError: too few to have neighbours.
    """
    if min(len(real), len(made)) <= NEIGHBOURS:
        raise LeftOutError(f"precision and recall need more than {NEIGHBOURS} pictures of either")
    found = prc_features_to_metric(
        made,
        real,
        prc_neighborhood=NEIGHBOURS,
        prc_batch_size=10_000,
        save_cpu_ram=True,
        verbose=False,
    )
    return found["precision"], found["recall"]


def floor(real: Tensor, count: int) -> float | None:
    """The distance of two sets of `count` real pictures each; None where there are not so many.

    Whatever a model does, an estimate from so few pictures is hardly below that.
    """
    count = min(count, len(real) // 2)
    if count < 2:
        return None
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))
    return frechet(real[order[:count]], real[order[count : 2 * count]])


def bias_note(title: str, real: Tensor, count: int) -> list[str]:
    """What is to be said of an estimate from so few pictures; nothing where they are many."""
    if min(count, len(real)) >= FEW:
        return []
    least, halves = floor(real, count), min(count, len(real) // 2)
    known = (
        f" Two sets of {halves} real pictures are {least:.3g} apart, by the same bias."
        if least is not None
        else ""
    )
    return [
        f"{title} from {count} pictures against {len(real)}, fewer than {FEW:,}, is too high: "
        f"compare it only at equal numbers.{known}"
    ]


def _check(real: Tensor, made: Tensor) -> None:
    if min(len(real), len(made)) < 2:
        raise LeftOutError(
            f"a distance of sets needs two pictures of either, got {len(made)} and {len(real)}"
        )
