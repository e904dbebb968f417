"""The official tiny network, rebuilt: every parameter follows from its official name and shape."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pdae_app.convert.names import (
    decoder_names,
    from_official,
    official_shape,
    semantic_names,
    unet_names,
)
from pdae_app.models.pdae import PDAE, PDAEConfig
from pdae_app.models.semantic import EncoderConfig
from pdae_app.models.unet import UNet, UNetConfig

FIXTURES = Path(__file__).parent / "fixtures"

TINY32 = PDAEConfig(
    UNetConfig(32, 32, (1, 2), res_blocks=2, attention_resolutions=(16,), heads=4, dropout=0.1),
    EncoderConfig(32, z_dim=64, channels=(32, 64, 64), attention_resolution=8, heads=4),
)


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers seeded by sha256("0:name"), scaled by fan-in; norms near 1, biases near 0."""
    seed = np.frombuffer(hashlib.sha256(f"0:{name}".encode()).digest(), "<u4")
    values = np.asarray(np.random.RandomState(seed).standard_normal(size=shape))
    if len(shape) >= 2:
        values = values / np.sqrt(float(np.prod(shape[1:])))
    else:
        values = 0.1 * values + (1.0 if name.endswith("weight") else 0.0)
    return values.astype(np.float32)


def _filled(module: torch.nn.Module, names: dict[str, str]) -> None:
    state = module.state_dict()
    assert names.keys() == state.keys()
    for ours, theirs in names.items():
        tensor = torch.from_numpy(fill(theirs, official_shape(ours, state[ours])))
        state[ours] = from_official(tensor, state[ours])
    module.load_state_dict(state)


def filled_pdae() -> PDAE:
    """The oracle's autoencoder, in evaluation mode."""
    model = PDAE(TINY32).eval()
    _filled(model, decoder_names(model) | semantic_names(model.encoder))
    return model


def filled_unet() -> UNet:
    """The oracle's unconditional network, in evaluation mode."""
    unet = UNet(TINY32.unet).eval()
    _filled(unet, unet_names(unet))
    return unet


def arrays(name: str = "pdae_tiny32") -> dict[str, Tensor]:
    """The oracle's arrays as tensors; text arrays stay numpy."""
    with np.load(FIXTURES / f"{name}.npz") as archive:
        return {
            key: archive[key] if archive[key].dtype.kind in "US" else torch.from_numpy(archive[key])
            for key in archive.files
        }
