"""A slider of one's own as a small file: safetensors, so that reading it runs nothing."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pdae_app.latents.directions import Attribute, LatentSpace
from pdae_app.latents.few_shot import FewShot
from pdae_app.private_folder import missing
from pdae_app.typed_config import build, short

FORMAT = "pdae_app slider 1"
MOST_BYTES = 2_000_000

LONGEST_NAME = 40
NAME = re.compile(rf"\w[\w -]{{0,{LONGEST_NAME - 1}}}")

# Of a direction's own rise, which is 1: files hold float32.
TOLERANCE = 1e-2
# A slider at 1 moves normalised codes by less than one standard deviation a number, in the mean.
FARTHEST = 3.0


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
        "attribute": json.dumps(attribute.facts()),
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
        attribute = _attribute(facts)
        if any(tensor.shape != mean.shape for tensor in tensors.values()):
            raise ValueError("its size is not that of the codes")
        weight, direction = tensors["weight"] * std, tensors["direction"] / std
        bias = attribute.bias + float(tensors["weight"] @ mean)
        attribute = dataclasses.replace(attribute, bias=bias)
        _check_direction(attribute, weight, direction)
    except (ValueError, KeyError, RecursionError) as error:
        raise SliderFileError(f"This slider file is damaged ({error}).") from error
    return FewShot(attribute, weight, direction)


def _attribute(facts: dict[str, str]) -> Attribute:
    attribute = build(Attribute, json.loads(facts["attribute"]))
    if not NAME.fullmatch(attribute.name):
        raise ValueError(f"{short(attribute.name)} is no name of letters, digits and spaces")
    return attribute


def _check_direction(attribute: Attribute, weight: np.ndarray, direction: np.ndarray) -> None:
    """Whether a slider at 1 leads somewhere: not to NaN, and not away from all codes.

    Raises:
        ValueError: it does not.
    """
    with np.errstate(all="ignore"):
        rise, length = float(weight @ direction), float(np.sqrt(np.mean(direction**2)))
    if not (np.isfinite(rise) and np.isfinite(length)):
        raise ValueError("it holds NaN or infinity")
    if abs(rise - 1) > TOLERANCE:
        raise ValueError("its direction does not raise its own logit by 1")
    if attribute.unit is not None:
        steps = [attribute.unit]
    else:  # from the mean code, whose logit is the bias
        medians = attribute.positive_logit, attribute.negative_logit
        steps = [medians[0] - medians[1], *(median - attribute.bias for median in medians)]
    if max(map(abs, steps)) * length > FARTHEST:
        raise ValueError("its direction leads away from all codes")


def _read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    no_slider = "This file is not a slider of this app. Download one from “Your own slider”."
    if not path.is_file():
        raise SliderFileError(missing(path))
    if path.stat().st_size > MOST_BYTES:
        raise SliderFileError(no_slider)
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            if facts.get("format") != FORMAT or set(file.keys()) != {"weight", "direction"}:
                raise SliderFileError(no_slider)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, AttributeError, TypeError) as error:  # of unknown dtypes
        raise SliderFileError(no_slider) from error
    if any(tensor.is_complex() for tensor in tensors.values()):
        raise SliderFileError(no_slider)
    return facts, {name: tensor.double().numpy() for name, tensor in tensors.items()}
