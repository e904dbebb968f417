"""How far two pictures are apart: SSIM, MSE, LPIPS, and what stands in for LPIPS."""

import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure
from torchvision.models import alexnet

from training.evaluation.features import Features, downloads, given_weights

# Half of SSIM's window of 11 pixels (Wang et al. 2004), sigma 1.5.
RADIUS = 5

# torchvision's name of its AlexNet's file, which torch.hub looks for before it downloads.
ALEXNET = "alexnet-owt-7be5be79.pth"

INSTEAD = f"give by --lpips torchvision's {ALEXNET}, or go without by --lpips none"


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """MSE on [0, 1] of pictures (N, C, S, S) in [-1, 1]: (N,)."""
    return (a.clamp(-1, 1) - b.clamp(-1, 1)).flatten(1).square().mean(dim=1) / 4


def similarity(a: Tensor, b: Tensor, zeros: bool = False) -> Tensor:
    """SSIM, window 11 x 11, sigma 1.5, on [0, 1], of pictures in [-1, 1]: (N,).

    Where the window does not lie in the picture there is no value; with `zeros` the picture goes on
    as black, as in the script that PDAE and Diff-AE share.
    """
    a, b = ((x.clamp(-1, 1) + 1) / 2 for x in (a, b))
    if zeros:
        a, b = (F.pad(x, [RADIUS] * 4) for x in (a, b))
    _, everywhere = structural_similarity_index_measure(
        a, b, sigma=1.5, data_range=1.0, return_full_image=True
    )
    # torchmetrics mirrors the border; those places are left out.
    return everywhere[..., RADIUS:-RADIUS, RADIUS:-RADIUS].flatten(1).mean(dim=1)


@dataclass(frozen=True)
class Distance:
    """Distances (N,) of pictures (N, C, S, S) in [-1, 1], by a name.

    `vectors` makes of pictures (N, D) whose squared Euclidean distances are these, where it can.
    """

    name: str
    run: Callable[[Tensor, Tensor], Tensor]
    batch_size: int = 32
    vectors: Callable[[Tensor], Tensor] | None = None

    @torch.inference_mode()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        pairs = zip(a.split(self.batch_size), b.split(self.batch_size), strict=True)
        return torch.cat([self.run(p, q).reshape(-1) for p, q in pairs])


PIXELS = Distance("squared pixels", squared_error)


def feature_distance(features: Features) -> Distance:
    """Squared distance of unit features: how LPIPS compares, in one layer of another network."""

    def run(a: Tensor, b: Tensor) -> Tensor:
        p, q = (F.normalize(features(x), dim=1) for x in (a, b))
        return (p - q).square().sum(dim=1)

    return Distance(f"{features.name}'s features", run)


def lpips(file: str | None = None) -> Distance:
    """LPIPS with AlexNet on [-1, 1] (Zhang et al. 2018), by torchmetrics.

    Args:
        file: torchvision's AlexNet (the heads come with torchmetrics); None takes the usual
            download.

    Raises:
        ValueError: no weights.
    """
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    without = "--lpips FILE, or go without by --lpips none"
    with downloads("LPIPS's AlexNet", without), _alexnet_folder(file):
        metric = LearnedPerceptualImagePatchSimilarity(net_type="alex", reduction="mean")
    network = metric.net.eval()

    def run(a: Tensor, b: Tensor) -> Tensor:
        return network(*(_coloured(x) for x in (a, b)))

    return Distance("LPIPS", run, vectors=lambda x: _perceived(network, x))


def _coloured(x: Tensor) -> Tensor:
    return x.clamp(-1, 1).expand(-1, 3, -1, -1)


@torch.inference_mode()
def _perceived(network: nn.Module, x: Tensor) -> Tensor:
    """Vectors (N, D): every layer's unit features, each channel by the root of its weight."""
    layers = network.net(network.scaling_layer(_coloured(x)))
    found = []
    for layer, head in zip(layers, network.lins, strict=True):
        unit = layer / (layer.square().sum(dim=1, keepdim=True) + 1e-8).sqrt()
        (weight,) = head.parameters()
        found.append((unit * (weight / layer[0, 0].numel()).clamp(min=0).sqrt()).flatten(1))
    return torch.cat(found, dim=1)


@contextmanager
def _alexnet_folder(file: str | None):
    """Torch's folder of downloads, with this file in it as AlexNet's."""
    if file is None:
        yield
        return
    before, state = torch.hub.get_dir(), _alexnet(file)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "checkpoints").mkdir()
        torch.save(state, Path(folder) / "checkpoints" / ALEXNET)
        torch.hub.set_dir(folder)
        try:
            yield
        finally:
            torch.hub.set_dir(before)


def _alexnet(file: str) -> dict[str, Tensor]:
    """The weights of torchvision's AlexNet.

    Raises:
        ValueError: no such file, or another network's.
    """
    state = given_weights(file, INSTEAD)
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in alexnet(weights=None).state_dict().items()}
    if {name: getattr(tensor, "shape", None) for name, tensor in state.items()} != shapes:
        raise ValueError(f"{file} does not hold the weights of torchvision's AlexNet; {INSTEAD}")
    return state
