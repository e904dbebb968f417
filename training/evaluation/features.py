"""Features of pictures, in which Fréchet and other distances are measured; chosen by name.

What was made of Inception's features is called FID. Any other features give a Fréchet distance
that is named after them, because the two cannot be compared.
"""

import importlib
import socket
import urllib.error
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdae_app.convert.errors import ConvertError
from pdae_app.convert.reading import read_checkpoint
from training.evaluation.albums import Album, grey_levels, pieces
from training.evaluation.judge import Judge, to_size

# Below so many pictures an FID is mostly bias (2,048 is the number of Inception's features).
FEW = 2048
PATIENCE = 10  # seconds that a download may be silent

INSTEAD = (
    "give by --inception the file of pytorch-fid, torch-fidelity or StyleGAN, or measure without "
    "it by --features judge"
)


@dataclass(frozen=True)
class Features:
    """What `run` makes of pictures (N, 3, S, S) in [-1, 1]: (N, D), by a name.

    `levels` says that it looks at 256 grey levels: differences below one are lost on it.
    """

    name: str
    run: Callable[[Tensor], Tensor]
    batch_size: int = 64
    levels: bool = False

    @torch.inference_mode()
    def __call__(self, pictures: Album | Tensor) -> Tensor:
        """(N, C, S, S) in [-1, 1], grey ones as colours without colour -> (N, D) float64."""
        parts = (part.expand(-1, 3, -1, -1) for part in pieces(pictures, self.batch_size))
        return torch.cat([self.run(part) for part in parts]).double()

    @property
    def title(self) -> str:
        """The name of the Fréchet distance in these features."""
        return "FID" if self.name == "Inception" else f"Fréchet distance ({self.name})"


def judge_features(judge: Judge) -> Features:
    """The pooled features that the judge decides by."""
    *body, _ = judge.network.children()
    trunk = nn.Sequential(*body).eval()
    return Features("judge", lambda pictures: trunk(to_size(pictures, judge.size)))


def inception(file: str | None = None) -> Features:
    """Inception-v3 of the original FID, by torch-fidelity, its 2,048 pooled features.

    Args:
        file: its weights: a state dictionary as torch-fidelity and pytorch-fid have it (.pth), the
            same as safetensors, or StyleGAN's TorchScript (.pt). None downloads them.

    Raises:
        ValueError: no such file, another network, or no network to download from.
    """
    script = None if file is None else _torchscript(file)
    if script is not None:
        return _levelled(lambda x: script(x, return_features=True))
    network = _inception(None if file is None else given_weights(file, INSTEAD))
    return _levelled(lambda x: network(x)[0])


def _levelled(run: Callable[[Tensor], Tensor]) -> Features:
    return Features("Inception", lambda x: run(grey_levels(x)), 16, levels=True)


def _torchscript(file: str) -> Callable | None:
    """A TorchScript of Inception; None of a file of tensors."""
    try:
        script = torch.jit.load(file, map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError):
        return None
    try:
        script(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), return_features=True)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1][:120]
        raise ValueError(
            f"{file} is a program other than Inception ({reason}); {INSTEAD}"
        ) from error
    return script


def given_weights(file: str, instead: str) -> dict[str, Tensor]:
    """The tensors of a file; nothing that it says is run.

    Raises:
        ValueError: no such file, or none of weights; the sentence ends with `instead`.
    """
    try:
        return read_checkpoint(file)
    except ConvertError as error:
        raise ValueError(f"{error}; {instead}") from error


def _inception(state: dict[str, Tensor] | None) -> nn.Module:
    """The network filled with `state`, or with what torch-fidelity downloads."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with downloads("Inception's weights", "--inception FILE"):
        if state is None:
            return FeatureExtractorInceptionV3("inception", ["2048"])
        with _given(state) as path:
            try:
                return FeatureExtractorInceptionV3("inception", ["2048"], str(path))
            except (RuntimeError, AttributeError, TypeError) as error:
                reason = " ".join(str(error).split())[:200]
                raise ValueError(
                    "these are not the weights of FID's Inception (torchvision's own Inception is "
                    f"another network): {reason}; {INSTEAD}"
                ) from error


@contextmanager
def _given(state: dict[str, Tensor]):
    """A file of tensors alone, for torch-fidelity, which would unpickle anything."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inception.pth"
        torch.save(state, path)
        yield path


@contextmanager
def downloads(what: str, instead: str):
    """Turns a failed download into a sentence; waits no longer than `PATIENCE` for an answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise ValueError(
            f"{what} cannot be downloaded here ({error}); give them by {instead}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def dinov2() -> Features:
    """DINOv2 ViT-B/14 (Oquab et al. 2023) through torch.hub, at 224 pixels."""
    with downloads("DINOv2", "another --features"):
        network = torch.hub.load("facebookresearch/dinov2", "dinov2_vitb14").eval()
    mean, std = (
        torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )

    def run(x: Tensor) -> Tensor:
        x = F.interpolate(x, size=224, mode="bicubic", antialias=True)
        return network(((x + 1) / 2 - mean) / std)

    return Features("DINOv2", run, 16)


def named(path: str) -> Callable:
    """What a dotted name `package.module:function` stands for.

    Raises:
        ValueError: nothing.
    """
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no {path!r} to import: {error}") from error


def load_features(name: str, judge: Judge | None, inception_file: str | None = None) -> Features:
    """Features by name: "inception", "dinov2", "judge", or a dotted name of one's own.

    Raises:
        ValueError: they cannot be had; the sentence says what to do.
    """
    if name == "inception":
        return inception(inception_file)
    if name == "dinov2":
        return dinov2()
    if name == "judge":
        if judge is None:
            raise ValueError("without labels there is no judge to take features from")
        return judge_features(judge)
    return Features(name.rpartition(".")[2], named(name))
