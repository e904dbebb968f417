"""CompVis' latent diffusion checkpoints: U-Net and first stage in one file, with their YAML.

Rombach et al., CVPR 2022, "High-Resolution Image Synthesis with Latent Diffusion Models": the
unconditional models (CelebA-HQ, FFHQ and bedrooms on VQ-f4, churches on KL-f8).
"""

import math
import re
from pathlib import Path

import torch
from torch import Tensor

from pdae_app.bundle import Bundle
from pdae_app.convert.diffusers import UNCONDITIONAL
from pdae_app.convert.errors import ConvertError
from pdae_app.convert.first_stages import fitted, stage_from
from pdae_app.convert.guided_diffusion import guided_unet
from pdae_app.convert.hints import Hints
from pdae_app.convert.reading import below, only_tensors
from pdae_app.diffusion.grids import SPACING
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.schedule import Schedule
from pdae_app.diffusion.spacing import Spacing
from pdae_app.models.published_stage import PublishedStage
from pdae_app.typed_config import short

UNET, STAGE, AVERAGE = "model.diffusion_model.", "first_stage_model.", "model_ema."
PREDICTIONS = {"eps": "eps", "v": "v", "x0": "x0"}
# Their names of schedules, and ours.
SCHEDULES = {"linear": "scaled_linear", "sqrt_linear": "linear", "cosine": "cosine"}
# The DDIM sampler there: every k-th timestep, one later, and at last to timestep 0.
STEPPING = Spacing("leading", offset=1, to_clean=False)
UNCONDITIONED = (None, "__is_unconditional__")

# Names in a first stage, theirs and diffusers', applied in this order.
THERE = (
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"^encoder\.down\.(\d+)\.", r"encoder.down_blocks.\1."),
    (r"\.block\.(\d+)\.", r".resnets.\1."),
    (r"\.attn\.(\d+)\.", r".attentions.\1."),
    (r"\.downsample\.", ".downsamplers.0."),
    (r"\.upsample\.", ".upsamplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"coder\.norm_out\.", "coder.conv_norm_out."),
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
    (r"(\.attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
)


def is_compvis(data: dict) -> bool:
    """Whether a file holds such a model."""
    state = data.get("state_dict", data)
    return isinstance(state, dict) and any(str(name).startswith(UNET) for name in state)


def convert_compvis(data: dict, path: Path, hints: Hints) -> Bundle:
    """A bundle of what a file holds; `hints.settings` is its YAML, where there is one.

    Raises:
        ConvertError: it cannot be used; the message says why.
    """
    state = only_tensors(data.get("state_dict", data), path)
    parameters = _parameters(hints)
    _refuse_conditional(state, parameters)
    unet = guided_unet(_unet_tensors(state, hints), hints, str(path))
    diffusion = _diffusion(state, parameters, hints)
    tensors = {n: t for n, t in below(state, STAGE).items() if not n.startswith("loss.")}
    if not tensors:
        raise ConvertError(f"{path} holds no first stage; its U-Net alone cannot be used")
    scale = _scale(state.get("scale_factor", parameters.get("scale_factor", 1.0)))
    stage = _first_stage(tensors, scale, hints, str(path))
    if stage.state_channels != unet.config.in_channels:
        raise ConvertError(
            f"the first stage's latents have {stage.state_channels} channels, the U-Net takes "
            f"{unet.config.in_channels}: they do not belong together"
        )
    return Bundle(
        unet,
        diffusion,
        stepping=SPACING,
        spacing=STEPPING,
        first_stage=fitted(stage, stage.factor * unet.config.image_size, hints),
        info={"converted_from": "CompVis latent diffusion", "files": [path.name]},
    )


def _scale(given: object) -> float:
    """What latents are multiplied by; of the file, or of the YAML."""
    try:
        scale = float(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConvertError(f"scale_factor must be one number, got {short(given)}") from error
    if not 0 < scale < math.inf:
        raise ConvertError(f"scale_factor must be a number above 0, got {scale}")
    return scale


def _parameters(hints: Hints) -> dict:
    """What the YAML says of the diffusion model."""
    model = (hints.settings or {}).get("model")
    parameters = model.get("params") if isinstance(model, dict) else None
    if parameters is None:
        hints.say("note: give the model's YAML by --config, if there is one")
    return parameters if isinstance(parameters, dict) else {}


def _refuse_conditional(state: dict[str, Tensor], parameters: dict) -> None:
    prompted = any("transformer_blocks" in n or n.startswith("cond_stage_model.") for n in state)
    if prompted or parameters.get("cond_stage_config") not in UNCONDITIONED:
        raise ConvertError(
            "this is a conditional model (text to image, or by class): its U-Net wants a prompt "
            f"with every picture. PDAE adapts unconditional models, such as {UNCONDITIONAL}"
        )


def _unet_tensors(state: dict[str, Tensor], hints: Hints) -> dict[str, Tensor]:
    """Those of the running average, if they are in the file; its names have no dots."""
    tensors = below(state, UNET)
    average = {}
    for name in tensors:
        kept = AVERAGE + f"diffusion_model.{name}".replace(".", "")
        if kept in state:
            average[name] = state[kept]
    if average and len(average) < len(tensors):
        raise ConvertError(
            f"of {len(tensors)} tensors of the U-Net only {len(average)} are averaged"
        )
    hints.say(
        "U-Net: the averaged weights" if average else "U-Net: no averaged weights in the file"
    )
    return average or tensors


def _diffusion(state: dict[str, Tensor], parameters: dict, hints: Hints) -> Diffusion:
    target = parameters.get("parameterization", "eps")
    if target not in PREDICTIONS:
        raise ConvertError(f"parameterization {target!r} is not known: {', '.join(PREDICTIONS)}")
    try:
        schedule = _schedule(state.get("betas"), parameters, hints)
    except (TypeError, ValueError) as error:
        raise ConvertError(f"the model's schedule cannot be used: {error}") from error
    return Diffusion(schedule, PREDICTIONS[target], "G" if target == "eps" else "v")


def _schedule(betas: Tensor | None, parameters: dict, hints: Hints) -> Schedule:
    """What the YAML says; it must agree with the betas of the file, which serve without it."""
    if "linear_start" in parameters or betas is None:
        kind = SCHEDULES.get(parameters.get("beta_schedule", "linear"))
        if kind is None:
            raise ValueError(f"beta_schedule {parameters['beta_schedule']!r} is not known")
        first, last = parameters.get("linear_start", 1e-4), parameters.get("linear_end", 2e-2)
        bounds = {} if kind == "cosine" else {"first": float(first), "last": float(last)}
        named = Schedule(kind, parameters.get("timesteps", 1000), **bounds)
    else:
        ends = float(betas[0]), float(betas[-1])
        named = Schedule("scaled_linear", len(betas), *ends)
    if betas is None or _agree(named, betas):
        return named
    if "linear_start" in parameters:
        raise ValueError("the YAML's schedule is not that of the file: is it another model's?")
    hints.say("the betas of the file are kept as they are")
    return Schedule("given", len(betas), given=tuple(betas.double().tolist()))


def _agree(schedule: Schedule, betas: Tensor) -> bool:
    own = schedule.betas
    return own.shape == betas.shape and torch.allclose(own, betas.double(), rtol=1e-4, atol=1e-7)


def _first_stage(
    tensors: dict[str, Tensor], scale: float, hints: Hints, where: str
) -> PublishedStage:
    """The first stage, its architecture read off the shapes."""
    kind, settings = _stage_settings(tensors)
    levels = len(settings["block_out_channels"])
    renamed = {_diffusers_name(name, levels): tensor for name, tensor in tensors.items()}
    return stage_from(kind, {**settings, "scaling_factor": scale}, renamed, hints, where)


def _stage_settings(tensors: dict[str, Tensor]) -> tuple[str, dict]:
    """Diffusers' class and its settings.

    Raises:
        ConvertError: these are not the tensors of such a first stage.
    """
    try:
        return _known_stage(tensors)
    except (KeyError, IndexError, ValueError) as error:
        raise ConvertError(
            f"these are not the tensors of a CompVis first stage: {error}"
        ) from error


def _known_stage(tensors: dict[str, Tensor]) -> tuple[str, dict]:
    levels = _count(tensors, "encoder.down.")
    attended = [f"encoder.down.{i}.attn.0.norm.weight" in tensors for i in range(levels)]
    out_channels = tensors["decoder.conv_out.weight"].shape[0]
    settings = {
        "in_channels": tensors["encoder.conv_in.weight"].shape[1],
        "out_channels": out_channels,
        "block_out_channels": [
            tensors[f"encoder.down.{i}.block.0.conv2.weight"].shape[0] for i in range(levels)
        ],
        "layers_per_block": _count(tensors, "encoder.down.0.block."),
        "down_block_types": [
            "AttnDownEncoderBlock2D" if here else "DownEncoderBlock2D" for here in attended
        ],
        "up_block_types": [
            "AttnUpDecoderBlock2D" if here else "UpDecoderBlock2D" for here in attended[::-1]
        ],
        "latent_channels": tensors["decoder.conv_in.weight"].shape[1],
    }
    book = tensors.get("quantize.embedding.weight")
    if book is None:
        return "AutoencoderKL", settings
    return "VQModel", {**settings, "num_vq_embeddings": len(book), "vq_embed_dim": book.shape[1]}


def _count(tensors: dict[str, Tensor], prefix: str) -> int:
    return len({n[len(prefix) :].split(".")[0] for n in tensors if n.startswith(prefix)})


def _diffusers_name(name: str, levels: int) -> str:
    """Diffusers counts the decoder's levels from the coarsest, CompVis from the finest."""
    for pattern, replacement in THERE:
        name = re.sub(pattern, replacement, name)
    return re.sub(
        r"^decoder\.up\.(\d+)\.", lambda m: f"decoder.up_blocks.{levels - 1 - int(m[1])}.", name
    )
