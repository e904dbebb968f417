"""A slider of one's own as a small file: safetensors, so that reading it runs nothing."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pdae_app.latents.directions import Attribute, LatentSpace
from pdae_app.latents.few_shot import FewShot
from pdae_app.typed_config import build

FORMAT = "pdae_app slider 1"
MOST_BYTES = 2_000_000


class SliderFileError(ValueError):
    """A file that holds no slider for this model; the message says why."""


def save_slider(fitted: FewShot, path: str | Path, space: LatentSpace, encoder: str) -> None:
    """Write the slider in terms of z itself, so that it fits whatever normalises the codes.

    Args:
        space: whose statistics the slider was fitted with.
        encoder: the identity of the encoder that made the codes.
    """
    mean, std = space.mean.double().numpy(), space.std.double().numpy()
    attribute = dataclasses.replace(
        fitted.attribute, bias=fitted.attribute.bias - float(fitted.weight / std @ mean)
    )
    facts = {
        "format": FORMAT,
        "encoder": encoder,
        "attribute": json.dumps(dataclasses.asdict(attribute)),
    }
    tensors = {"weight": fitted.weight / std, "direction": fitted.direction * std}
    save_file({name: torch.from_numpy(value) for name, value in tensors.items()}, path, facts)


def load_slider(path: str | Path, space: LatentSpace, encoder: str) -> FewShot:
    """Read a slider for a model with these statistics and this encoder.

    Raises:
        SliderFileError: no slider, a damaged one, or one of another model.
    """
    facts, tensors = _read(Path(path))
    if facts.get("encoder") != encoder:
        raise SliderFileError(
            "This slider was made with another model, whose codes mean something else. "
            "Make it again with this one."
        )
    mean, std = space.mean.double().numpy(), space.std.double().numpy()
    try:
        attribute = build(Attribute, json.loads(facts["attribute"]), "attribute.")
        if any(tensor.shape != mean.shape for tensor in tensors.values()):
            raise ValueError("its size is not that of the codes")
        weight, direction = tensors["weight"] * std, tensors["direction"] / std
        bias = attribute.bias + float(tensors["weight"] @ mean)
        attribute = dataclasses.replace(attribute, bias=bias)
    except (TypeError, ValueError, KeyError) as error:
        raise SliderFileError(f"This slider file is damaged ({error}).") from error
    if not (np.isfinite(weight).all() and np.isfinite(direction).all() and np.isfinite(bias)):
        raise SliderFileError("This slider file is damaged (it holds NaN or infinity).")
    return FewShot(attribute, weight, direction)


def _read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    no_slider = "This file is not a slider of this app. Download one from “Your own slider”."
    if not path.is_file():
        raise SliderFileError(f"There is no file {path}.")
    if path.stat().st_size > MOST_BYTES:
        raise SliderFileError(no_slider)
    try:
        with safe_open(path, "np") as file:
            facts = file.metadata() or {}
            if facts.get("format") != FORMAT or set(file.keys()) != {"weight", "direction"}:
                raise SliderFileError(no_slider)
            return facts, {name: file.get_tensor(name).astype(float) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise SliderFileError(no_slider) from error
