"""First stages in diffusers' layout: a folder with config.json and weights."""

from pathlib import Path

import torch
from torch import Tensor

from pdae_app.convert.diffusers import read_weights
from pdae_app.convert.errors import ConvertError
from pdae_app.convert.filling import fill
from pdae_app.convert.hints import Hints
from pdae_app.convert.previews import with_preview
from pdae_app.convert.reading import read_settings
from pdae_app.models.published_stage import ENCODED, PublishedStage, PublishedStageConfig
from pdae_app.typed_config import ConfigError

# Names of attention before diffusers 0.17, and since.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
# Where config.json does not say it. A VQ model of before diffusers 0.19 says nothing, and its
# diffusion model was trained on latents as they are, though the library's default is 0.18215 now.
SCALINGS = {
    "VQModel": 1.0,
    "AutoencoderKL": 0.18215,
    "AutoencoderTiny": 1.0,
    "AutoencoderDC": 1.0,
}
# Settings that shift states in ways that are not known here.
UNKNOWN_SHIFTS = ("latents_mean", "latents_std")


def read_first_stage(folder: Path, hints: Hints) -> PublishedStage:
    """The first stage of a folder, its preview not yet fitted.

    Raises:
        ConvertError: it cannot be used; the message says why.
    """
    settings = read_settings(folder / "config.json")
    kind = settings.get("_class_name")
    if kind not in ENCODED:
        raise ConvertError(
            f"the first stage in {folder} is a {kind}; known are {', '.join(ENCODED)}"
        )
    shifts = [name for name in UNKNOWN_SHIFTS if settings.get(name) is not None]
    if shifts:
        raise ConvertError(f"the first stage has {' and '.join(shifts)}, which is not supported")
    return stage_from(kind, settings, read_weights(folder), hints, str(folder))


def stage_from(
    kind: str, settings: dict, tensors: dict[str, Tensor], hints: Hints, where: str
) -> PublishedStage:
    """A first stage of these settings and tensors, under diffusers' names.

    Raises:
        ConvertError: they make none, or do not fit together.
    """
    scaling = _scaling(kind, settings, hints)
    shift = settings.get("shift_factor") or 0.0
    kept = {n: v for n, v in settings.items() if not n.startswith("_") and v is not None}
    try:
        config = PublishedStageConfig(kind, kept, scaling, float(shift))
        with torch.device("meta"):
            stage = PublishedStage(config)
    except (ConfigError, ValueError, TypeError) as error:
        raise ConvertError(f"the first stage: {error}") from error
    tensors, network = _modern(tensors), stage.network
    names = {name: name for name in network.state_dict()}
    hints.say(f"first stage: {kind}, {len(names)} tensors, scaling factor {scaling:g}")
    fill(network, names, tensors, f"the first stage of {where}")
    return stage.eval().requires_grad_(False)


def fitted(stage: PublishedStage, size: int, hints: Hints) -> PublishedStage:
    """The stage with its preview, for pictures of `size` pixels a side."""
    hints.say("fitting the preview of states")
    return with_preview(stage, size)


def _scaling(kind: str, settings: dict, hints: Hints) -> float:
    if hints.scaling_factor is not None:
        return hints.scaling_factor
    value = settings.get("scaling_factor")
    if value is None:
        return hints.known("scaling_factor", SCALINGS[kind], "not in the first stage's config.json")
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ConvertError(f"the first stage's scaling_factor must be a number, got {value!r}")
    return float(value)


def _modern(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Under the names since diffusers 0.17, attention's 1x1 convolutions as matrices."""
    renamed = {}
    for name, tensor in tensors.items():
        for old, new in OLD_ATTENTION.items():
            name = name.replace(f".{old}.", f".{new}.")
        if ".attentions." in name and tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
            tensor = tensor[:, :, 0, 0]
        renamed[name] = tensor
    return renamed
