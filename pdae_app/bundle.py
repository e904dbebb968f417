"""The checkpoint folder: config.json and safetensors. Loading runs no code from a file.

config.json holds the architectures, the diffusion process, and provenance. Tensors lie in one
file a part: unet, encoder, shift, latents. Half-precision files are loaded as float32.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from pdae_app.diffusion.prediction import Diffusion
from pdae_app.latents.directions import Attribute, LatentSpace
from pdae_app.models.pdae import PDAE, PDAEConfig
from pdae_app.models.semantic import EncoderConfig
from pdae_app.models.unet import UNet, UNetConfig
from pdae_app.typed_config import ConfigError, build

FORMAT = 1


class BundleError(ValueError):
    """A bundle that cannot be loaded; the message lists what is wrong with which file."""


@dataclass
class Bundle:
    """A model as it lies on disk.

    `encoder`, `shift` and `latents` are absent from an unconditional model ("dpm").
    `info` is free: training data, licence, measured figures. `identity` names the exact files.
    """

    unet: UNet
    diffusion: Diffusion
    model: PDAE | None = None
    latents: LatentSpace | None = None
    info: dict = field(default_factory=dict)
    identity: str = "unsaved"

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The networks by the names of their files."""
        if self.model is None:
            return {"unet": self.unet}
        return {"unet": self.unet, "encoder": self.model.encoder, "shift": self.model.shift}


def save_bundle(bundle: Bundle, folder: str | Path, dtype: torch.dtype = torch.float16) -> None:
    """Write `bundle` to `folder`, whole or not at all. Files of other names in it are kept."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, module in bundle.parts.items():
            tensors = {
                k: v.detach().to("cpu", dtype).contiguous() for k, v in module.state_dict().items()
            }
            save_file(tensors, partial / f"{name}.safetensors")
        if bundle.latents is not None:
            save_file(bundle.latents.tensors(), partial / "latents.safetensors")
        (partial / "config.json").write_text(json.dumps(_config(bundle), indent=2) + "\n")
        _move_in(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move_in(partial: Path, folder: Path) -> None:
    """Bring the finished files into place: a rename where the folder is new, else file by file."""
    partial.chmod(0o755)
    if not folder.exists():
        os.replace(partial, folder)
        return
    for path in sorted(partial.iterdir(), key=lambda p: p.name == "config.json"):
        os.replace(path, folder / path.name)


def _config(bundle: Bundle) -> dict:
    config = {
        "format": FORMAT,
        "diffusion": dataclasses.asdict(bundle.diffusion),
        "unet": dataclasses.asdict(bundle.unet.config),
    }
    if bundle.model is not None:
        config["encoder"] = dataclasses.asdict(bundle.model.config.encoder)
        config["sketch"] = bundle.model.config.sketch
    if bundle.latents is not None:
        config["attributes"] = [dataclasses.asdict(a) for a in bundle.latents.attributes]
    return config | {"info": bundle.info}


def load_bundle(folder: str | Path, device: str | torch.device = "cpu") -> Bundle:
    """Read a bundle; networks in evaluation mode, float32.

    Raises:
        BundleError: a file or tensor is missing, misshapen, not finite or unknown; all are listed.
    """
    folder = Path(folder)
    config = _read_config(folder)
    try:
        bundle = _empty_bundle(config)
    except ConfigError as error:
        raise BundleError(f"{folder / 'config.json'}: {error}") from error
    problems = []
    for name, module in bundle.parts.items():
        problems += _fill(module, folder / f"{name}.safetensors")
    if "attributes" in config:
        bundle.latents, found = _load_latents(folder, config["attributes"], bundle.model)
        problems += found
    if problems:
        raise BundleError(f"{folder} cannot be loaded:\n  " + "\n  ".join(problems))
    bundle.identity = _identity(folder)
    whole = bundle.model or bundle.unet
    whole.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    return bundle


def _identity(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in (folder / "config.json", *sorted(folder.glob("*.safetensors"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _empty_bundle(config: dict) -> Bundle:
    """The configured networks without memory for their weights."""
    diffusion = build(Diffusion, config["diffusion"], "diffusion.")
    unet = build(UNetConfig, config["unet"], "unet.")
    info = config.get("info", {})
    with torch.device("meta"):
        if "encoder" not in config:
            return Bundle(UNet(unet), diffusion, info=info)
        encoder = build(EncoderConfig, config["encoder"], "encoder.")
        model = PDAE(PDAEConfig(unet, encoder, config.get("sketch") is True))
        return Bundle(model.unet, diffusion, model, info=info)


def _read_config(folder: Path) -> dict:
    path = folder / "config.json"
    if not path.is_file():
        raise BundleError(f"{folder} is not a bundle: it has no config.json")
    try:
        config = json.loads(path.read_text())
        version = config["format"]
        missing = [key for key in ("diffusion", "unet") if key not in config]
    except (ValueError, TypeError, KeyError) as error:
        raise BundleError(f"{path} is not a bundle's configuration: {error!r}") from error
    if version != FORMAT:
        raise BundleError(f"{path} has format {version!r}, this program reads {FORMAT}; update it")
    if missing:
        raise BundleError(f"{path} lacks {', '.join(missing)}")
    return config


def _read_tensors(path: Path, expected: dict[str, tuple[int, ...]]) -> tuple[dict, list[str]]:
    """The tensors of a file as float32, and what is wrong with them."""
    if not path.is_file():
        return {}, [f"{path.name} is missing"]
    try:
        with safe_open(path, "pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            problems = _compare(path.name, shapes, expected)
            if problems:
                return {}, problems
            tensors = {key: file.get_tensor(key).float() for key in shapes}
    except (SafetensorError, OSError) as error:
        return {}, [f"{path.name} is damaged ({error})"]
    bad = [key for key, tensor in tensors.items() if not tensor.isfinite().all()]
    return tensors, [f"{path.name}: {key} holds NaN or infinity" for key in bad]


def _compare(name: str, found: dict, expected: dict) -> list[str]:
    problems = [f"{name}: {key} is missing" for key in expected if key not in found]
    problems += [f"{name}: {key} is unknown" for key in found if key not in expected]
    return problems + [
        f"{name}: {key} has shape {found[key]}, expected {shape}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]


def _fill(module: nn.Module, path: Path) -> list[str]:
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    tensors, problems = _read_tensors(path, expected)
    if not problems:
        module.load_state_dict(tensors, assign=True)
    return problems


def _load_latents(folder: Path, attributes: list, model: PDAE | None):
    if model is None:
        return None, ["config.json lists attributes, but the bundle has no encoder"]
    count, dim = len(attributes), model.config.encoder.z_dim
    expected = {"mean": (dim,), "std": (dim,), "weights": (count, dim), "directions": (count, dim)}
    tensors, problems = _read_tensors(folder / "latents.safetensors", expected)
    if problems:
        return None, problems
    rows = tuple(build(Attribute, row, f"attributes[{i}].") for i, row in enumerate(attributes))
    return LatentSpace(**tensors, attributes=rows), []
