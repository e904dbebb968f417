"""The official tiny networks, as files of the official layouts: every tensor follows from its name.

`write_*` make what the official code would have saved; the converter makes bundles of them.
"""

import hashlib
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import torch
from torch import Tensor

FIXTURES = Path(__file__).parent / "fixtures"


def manifest(name: str) -> dict:
    """A list of the names and shapes in official files."""
    return json.loads((FIXTURES / f"{name}.json").read_text())


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers seeded by sha256("0:name"), scaled by fan-in; norms near 1, biases near 0."""
    # In the latent MLPs one layer has two names.
    name = name.replace(".cond_layers.1.", ".linear_emb.")
    seed = np.frombuffer(hashlib.sha256(f"0:{name}".encode()).digest(), "<u4")
    values = np.asarray(np.random.RandomState(seed).standard_normal(size=tuple(shape)))
    if len(shape) >= 2:
        values = values / np.sqrt(float(np.prod(shape[1:])))
    else:
        values = 0.1 * values + (1.0 if name.endswith("weight") else 0.0)
    return values.astype(np.float32)


def filled(keys: dict, prefix: str = "") -> dict[str, Tensor]:
    """A state dict of the manifest's `keys`: name to [shape, dtype]."""
    return {prefix + name: torch.from_numpy(fill(name, shape)) for name, (shape, _) in keys.items()}


def arrays(name: str = "pdae_tiny32") -> dict[str, Tensor]:
    """The oracle's arrays as tensors; text arrays stay numpy."""
    with np.load(FIXTURES / f"{name}.npz") as archive:
        return {
            key: archive[key] if archive[key].dtype.kind in "US" else torch.from_numpy(archive[key])
            for key in archive.files
        }


def write_pdae(folder: Path, model: str = "tiny32") -> dict[str, Path]:
    """Official PDAE files, by the names of the converter's flags (and "checkpoint", the DPM)."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = manifest("pdae_manifest_models")[model]
    oracle = arrays()
    parts = {
        part: filled(keys[part]["keys"])
        for part in ("encoder", "decoder", "unet", "latent", "classifier")
    }
    rest = {"step": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]}, "scaler": {}}
    contents = {
        "autoencoder": {
            **{name: parts[name] for name in ("encoder", "decoder")},
            **{f"ema_{name}": parts[name] for name in ("encoder", "decoder")},
            **rest,
        },
        "checkpoint": {"denoise_fn": parts["unet"], "ema_denoise_fn": parts["unet"], **rest},
        "latents": {"mean": oracle["in_latents_mean"], "std": oracle["in_latents_std"]},
        "classifier": {"ema_classifier": parts["classifier"], **rest},
        "latent_dpm": {"ema_latent_denoise_fn": parts["latent"], **rest},
    }
    return _written(folder, contents, ".pt")


def write_diffae(folder: Path) -> dict[str, Path]:
    """Official Diff-AE files, by the names of the converter's flags."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = manifest("diffae_tiny32_keys")["keys"]
    oracle = arrays("diffae_tiny32")
    own = {name: value for name, value in keys.items() if not name.startswith("latent_net.")}
    statistics = {
        "conds_mean": oracle["in_latents_mean"][None],
        "conds_std": oracle["in_latents_std"][None],
    }
    classifier = filled({"classifier.weight": [(40, 64), ""], "classifier.bias": [(40,), ""]})
    contents = {
        "autoencoder": {"x_T": oracle["in_xT"], **_twice(own)},
        "latent": {"x_T": oracle["in_xT"], **_twice(keys), **statistics},
        "classifier": statistics | classifier,
    }
    with lightning_class() as callback:
        paths = _written(
            folder,
            {
                name: {"epoch": 1, "callbacks": {callback: {"best": None}}, "state_dict": state}
                for name, state in contents.items()
            },
            ".ckpt",
        )
    latents = {"conds": torch.zeros(3, 64), **statistics}
    return paths | _written(folder, {"latents": latents}, ".pkl")


def _twice(keys: dict) -> dict[str, Tensor]:
    return filled(keys, "model.") | filled(keys, "ema_model.")


def _written(folder: Path, contents: dict[str, dict], suffix: str) -> dict[str, Path]:
    paths = {name: folder / f"{name}{suffix}" for name in contents}
    for name, path in paths.items():
        torch.save(contents[name], path)
    return paths


@contextmanager
def lightning_class():
    """The class that keys a Lightning 1.4 checkpoint's callbacks; gone again afterwards."""
    path = "pytorch_lightning.callbacks.model_checkpoint"
    names = [path.rsplit(".", i)[0] for i in (2, 1, 0)]
    modules = {name: ModuleType(name) for name in names}
    callback = type("ModelCheckpoint", (), {"__module__": path})
    modules[path].ModelCheckpoint = callback
    with mock.patch.dict(sys.modules, modules):
        yield callback


def flags(paths: dict[str, Path], *names: str) -> list[str]:
    """The converter's flags for these files."""
    return [x for name in names for x in (f"--{name.replace('_', '-')}", str(paths[name]))]
