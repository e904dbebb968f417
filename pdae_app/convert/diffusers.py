"""Folders of diffusers' `UNet2DModel` (config.json and weights) into a bundle."""

from pathlib import Path

import torch
from torch import Tensor, nn

from pdae_app.bundle import Bundle
from pdae_app.convert.errors import ConvertError
from pdae_app.convert.filling import fill, typed, without_memory
from pdae_app.convert.hints import Hints
from pdae_app.convert.names import leaves, renamed, under
from pdae_app.convert.reading import only_tensors, read_checkpoint, read_settings
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.schedule import Schedule
from pdae_app.models.layers import ConvResample, ResBlock, SelfAttention
from pdae_app.models.unet import UNet, UNetConfig
from pdae_app.typed_config import short

WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
RES = {
    "norm1": "norm1",
    "conv1": "conv1",
    "emb_proj": "time_emb_proj",
    "norm2": "norm2",
    "conv2": "conv2",
    "skip": "conv_shortcut",
}
# Names of attention before diffusers 0.17, and since.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
DOWN = {"DownBlock2D": (False, "conv"), "AttnDownBlock2D": (True, "conv")}
DOWN |= {"ResnetDownsampleBlock2D": (False, "residual")}
UP = {"UpBlock2D": (False, "conv"), "AttnUpBlock2D": (True, "conv")}
UP |= {"ResnetUpsampleBlock2D": (False, "residual")}
SCHEDULES = {"linear": "linear", "squaredcos_cap_v2": "cosine"}
# What Python says of values of other kinds than a program expects.
UNREADABLE = (KeyError, TypeError, IndexError, AttributeError, ArithmeticError)
PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}


def convert_diffusers(folder: Path, hints: Hints) -> Bundle:
    """A bundle of an unconditional diffusers model; `folder` is the model's or its pipeline's.

    Raises:
        ConvertError: the folder cannot be used; the message says why.
    """
    pipeline = folder / "unet" if (folder / "unet" / "config.json").is_file() else folder
    settings = read_settings(pipeline / "config.json")
    config = _config(settings, hints)
    unet = without_memory(UNet, config)
    tensors = _merged(_weights(pipeline), config, bool(settings.get("flip_sin_to_cos", True)))
    hints.say(f"U-Net: {len(tensors)} tensors")
    fill(unet, _names(unet), tensors, f"the U-Net of {folder}")
    diffusion = diffusion_of(folder, hints)
    return Bundle(unet, diffusion, info={"converted_from": "diffusers", "files": [folder.name]})


def _config(settings: dict, hints: Hints) -> UNetConfig:
    if settings.get("_class_name", "UNet2DModel") != "UNet2DModel":
        kind = short(settings["_class_name"])
        raise ConvertError(f"this is a {kind}, only UNet2DModel can be used")
    try:
        _refuse_variants(settings)
        return _supported_config(settings, hints)
    except ConvertError:
        raise
    except ValueError as error:
        raise ConvertError(f"config.json of the U-Net: {error}") from error
    except UNREADABLE as error:
        raise ConvertError(f"config.json of the U-Net is incomplete: {error!r:.200}") from error


def _supported_config(settings: dict, hints: Hints) -> UNetConfig:
    widths, size = settings["block_out_channels"], settings.get("sample_size")
    size = size if size is not None else hints.known("image_size", 32, "not in config.json")
    base = widths[0]
    if any(width % base for width in widths):
        raise ConvertError(f"the widths {short(widths)} are no whole multiples of the first")
    attended, resampling = _blocks(settings)
    head = settings.get("attention_head_dim", 8)
    config = UNetConfig(
        image_size=size,
        base_channels=base,
        multipliers=tuple(width // base for width in widths),
        in_channels=settings.get("in_channels", 3),
        res_blocks=settings.get("layers_per_block", 2),
        attention_resolutions=tuple(size // 2**i for i, here in enumerate(attended) if here),
        heads=1,
        head_channels=head,
        dropout=settings.get("dropout") or 0.0,
        time_scale=settings.get("resnet_time_scale_shift") == "scale_shift",
        resampling=resampling,
        frequency_shift=settings.get("freq_shift", 0),
        norm_groups=settings.get("norm_num_groups", 32),
        norm_eps=settings.get("norm_eps", 1e-5),
    )
    return typed(config)


def _blocks(settings: dict) -> tuple[list[bool], str]:
    """Where attention is, and how feature maps are resampled."""
    downs, ups = settings["down_block_types"], settings["up_block_types"]
    unknown = [name for name in downs if name not in DOWN] + [n for n in ups if n not in UP]
    if unknown:
        known = ", ".join([*DOWN, *UP])
        given = ", ".join(map(str, unknown))[:200]
        raise ConvertError(f"blocks of kind {given} are not known; known: {known}")
    kinds = {DOWN[name][1] for name in downs} | {UP[name][1] for name in ups}
    attended = [DOWN[name][0] for name in downs]
    if attended != [UP[name][0] for name in reversed(ups)] or len(kinds) > 1:
        raise ConvertError("the up blocks must mirror the down blocks")
    resampling = kinds.pop()
    if resampling == "conv" and settings.get("downsample_padding", 1) == 0:
        resampling = "conv_asymmetric"
    return attended, resampling


def _refuse_variants(settings: dict) -> None:
    """What `UNet2DModel` can be and our U-Net is not: refused rather than converted wrongly."""
    expected = {
        "act_fn": ("silu", "swish"),
        "time_embedding_type": ("positional",),
        "center_input_sample": (False,),
        "add_attention": (True,),
        "class_embed_type": (None,),
        "num_class_embeds": (None,),
        "mid_block_scale_factor": (1, None),
        "mid_block_type": ("UNetMidBlock2D",),
    }
    for key, allowed in expected.items():
        value = settings.get(key, allowed[0])
        if value not in allowed:
            raise ConvertError(f"{key} = {short(value)} is not supported, only {allowed[0]!r}")
    groups = settings.get("norm_num_groups", 32)
    # With scale_shift, diffusers leaves the middle attention without a norm unless told.
    allowed = (
        (groups,) if settings.get("resnet_time_scale_shift") == "scale_shift" else (None, groups)
    )
    if settings.get("attn_norm_num_groups") not in allowed:
        raise ConvertError(f"attn_norm_num_groups must be norm_num_groups, {short(groups)}")
    if settings.get("out_channels", 3) != settings.get("in_channels", 3):
        raise ConvertError("out_channels must equal in_channels")


def _weights(folder: Path) -> dict[str, Tensor]:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return only_tensors(read_checkpoint(folder / name), folder / name)
    raise ConvertError(f"{folder} has no {' or '.join(WEIGHTS)}")


def _merged(
    tensors: dict[str, Tensor], config: UNetConfig, cosines_first: bool
) -> dict[str, Tensor]:
    """The state dict with q, k, v in one tensor, in our order, and cosines before sines."""
    merged = {}
    for name, tensor in tensors.items():
        for old, new in OLD_ATTENTION.items():
            name = name.replace(f".{old}.", f".{new}.")
        merged[name] = tensor
    for name in [name for name in merged if ".to_q." in name]:
        names = [name.replace(".to_q.", f".{part}.") for part in ("to_q", "to_k", "to_v")]
        if all(n in merged for n in names):
            parts = [merged.pop(n) for n in names]
            merged[name.replace(".to_q.", ".to_qkv.")] = _head_by_head(parts, config)
    first = "time_embedding.linear_1.weight"
    if not cosines_first and first in merged:
        merged[first] = torch.cat(merged[first].chunk(2, dim=1)[::-1], dim=1)
    return merged


def _head_by_head(parts: list[Tensor], config: UNetConfig) -> Tensor:
    """Q, k, v, each (C, ...), to (3 C, ...): each head's q, k, v together (see `SelfAttention`)."""
    channels = len(parts[0])
    heads = config.attention_heads(channels)
    split = [tensor.reshape(heads, -1, *tensor.shape[1:]) for tensor in parts]
    return torch.stack(split, dim=1).reshape(3 * channels, *parts[0].shape[1:])


def _names(unet: UNet) -> dict[str, str]:
    """Our names to diffusers' (after `_merged`)."""
    encoder, decoder = unet.encoder, unet.decoder
    down = leaves(encoder.time_embed[0], "time_embed.0", "time_embedding.linear_1")
    down |= leaves(encoder.time_embed[2], "time_embed.2", "time_embedding.linear_2")
    down |= leaves(encoder.conv_in, "conv_in", "conv_in")
    each = unet.config.res_blocks
    for i, block in enumerate(encoder.blocks):
        level, place = divmod(i, each + 1)
        theirs = f"down_blocks.{level}"
        last = place == each
        where = f"{theirs}.downsamplers.0" if last else f"{theirs}.resnets.{place}"
        down |= _resample(block.res, f"blocks.{i}.res", where)
        down |= _attention(block.attention, f"blocks.{i}", f"{theirs}.attentions.{place}")
    up = _resample(decoder.middle_in.res, "middle_in.res", "mid_block.resnets.0")
    up |= _attention(decoder.middle_in.attention, "middle_in", "mid_block.attentions.0")
    up |= _resample(decoder.middle_out, "middle_out", "mid_block.resnets.1")
    for i, block in enumerate(decoder.blocks):
        level, place = divmod(i, each + 1)
        theirs = f"up_blocks.{level}"
        up |= _resample(block.res, f"blocks.{i}.res", f"{theirs}.resnets.{place}")
        up |= _attention(block.attention, f"blocks.{i}", f"{theirs}.attentions.{place}")
        if block.up is not None:
            up |= _resample(block.up, f"blocks.{i}.up", f"{theirs}.upsamplers.0")
    up |= leaves(decoder.norm_out, "norm_out", "conv_norm_out")
    up |= leaves(decoder.conv_out, "conv_out", "conv_out")
    return under("encoder", down) | under("decoder", up)


def _resample(block: nn.Module, ours: str, theirs: str) -> dict[str, str]:
    if isinstance(block, ConvResample):
        return leaves(block.conv, f"{ours}.conv", f"{theirs}.conv")
    assert isinstance(block, ResBlock)
    return renamed(block, RES, ours, theirs)


def _attention(block: SelfAttention | None, ours: str, theirs: str) -> dict[str, str]:
    if block is None:
        return {}
    table = {"norm": "group_norm", "qkv": "to_qkv", "proj": "to_out.0"}
    return renamed(block, table, f"{ours}.attention", theirs)


def diffusion_of(folder: Path, hints: Hints) -> Diffusion:
    """The schedule of the pipeline, or else a guess.

    Raises:
        ConvertError: it is described, and not one that is known.
    """
    paths = (folder / "scheduler" / "scheduler_config.json", folder / "scheduler_config.json")
    settings = next((read_settings(path) for path in paths if path.is_file()), None)
    if settings is None:
        return Diffusion(Schedule(hints.known("schedule", "linear", "no scheduler_config.json")))
    try:
        return _known_diffusion(settings)
    except ConvertError:
        raise
    except (ValueError, *UNREADABLE) as error:
        raise ConvertError(f"the scheduler's configuration: {short(str(error))}") from error


def _known_diffusion(settings: dict) -> Diffusion:
    kind, target = settings.get("beta_schedule"), settings.get("prediction_type", "epsilon")
    bounds = settings.get("beta_start", 1e-4), settings.get("beta_end", 0.02)
    if kind not in SCHEDULES or target not in PREDICTIONS:
        given = f"beta_schedule {short(kind)} with prediction_type {short(target)}"
        raise ConvertError(f"{given} is not known")
    if kind == "linear" and bounds != (1e-4, 0.02):
        given = f"from {short(bounds[0])} to {short(bounds[1])}"
        raise ConvertError(f"linear betas {given} are not supported")
    steps = settings.get("num_train_timesteps", 1000)
    return Diffusion(typed(Schedule(SCHEDULES[kind], steps)), PREDICTIONS[target])
