"""diffusers' `UNet2DModel` (config.json and weights) into our U-Net."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from pdae_app.convert.classes import with_fixed_class
from pdae_app.convert.errors import ConvertError
from pdae_app.convert.filling import fill, typed, without_memory
from pdae_app.convert.hints import Hints
from pdae_app.convert.names import leaves, renamed, under
from pdae_app.convert.reading import only_tensors, read_checkpoint
from pdae_app.models.layers import ConvResample, ResBlock, SelfAttention
from pdae_app.models.unet import UNet, UNetConfig
from pdae_app.typed_config import short

# The names of files of weights, the best first.
WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
)
UNCONDITIONAL = "google/ddpm-celebahq-256 or CompVis/ldm-celebahq-256"
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
# Without these no config.json is of a U-Net, whatever it is.
BLOCKS = ("block_out_channels", "down_block_types", "up_block_types")
# What Python says of values of other kinds than a program expects.
UNREADABLE = (KeyError, TypeError, IndexError, AttributeError, ArithmeticError)
# Of each kind of block: whether it has attention, and by which setting it resamples.
DOWN = {
    "DownBlock2D": (False, "conv"),
    "AttnDownBlock2D": (True, "downsample_type"),
    "ResnetDownsampleBlock2D": (False, "resnet"),
}
UP = {
    "UpBlock2D": (False, "conv"),
    "AttnUpBlock2D": (True, "upsample_type"),
    "ResnetUpsampleBlock2D": (False, "resnet"),
}


def read_unet(settings: dict, folder: Path, hints: Hints) -> UNet:
    """The U-Net of a folder with `settings`, its config.json, and weights.

    Raises:
        ConvertError: it cannot be used; the message says why.
    """
    config = unet_config(settings, hints)
    unet = without_memory(UNet, config)
    tensors = read_weights(folder)
    classes = tensors.pop("class_embedding.weight", None)
    tensors = _merged(tensors, config, bool(settings.get("flip_sin_to_cos", True)))
    if settings.get("out_channels", 3) == 2 * config.in_channels:
        tensors = _without_variance(tensors, config.in_channels, hints)
    tensors = with_fixed_class(tensors, "time_embedding.linear_2.bias", classes, hints)
    hints.say(f"U-Net: {len(tensors)} tensors")
    fill(unet, _names(unet), tensors, f"the U-Net of {folder}")
    return unet


def unet_config(settings: dict, hints: Hints) -> UNetConfig:
    """The architecture that a config.json describes.

    Raises:
        ConvertError: it is another network's, or incomplete.
    """
    name = settings.get("_class_name", "UNet2DModel")
    if name == "UNet2DConditionModel":
        raise ConvertError(
            "this is a text-to-image model: its U-Net wants a prompt with every picture. PDAE "
            f"adapts unconditional models (a UNet2DModel), such as {UNCONDITIONAL}"
        )
    if name != "UNet2DModel":
        raise ConvertError(
            f"this is a {short(name)}; only an unconditional UNet2DModel can be used, such as that "
            f"of {UNCONDITIONAL}"
        )
    if lacking := [key for key in BLOCKS if key not in settings]:
        raise ConvertError(
            f"this config.json says no {', '.join(lacking)}: it is no UNet2DModel's of diffusers, "
            f"which is needed, such as that of {UNCONDITIONAL}"
        )
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
    if isinstance(size, list | tuple):
        raise ConvertError(f"sample_size {short(size)} is not supported, only squares")
    base = math.gcd(*widths)
    down, up, resampling = _blocks(settings)
    sides = [size // 2**level for level in range(len(widths))]
    attended = tuple(side for side, here in zip(sides, down, strict=True) if here)
    attended_up = tuple(side for side, here in zip(sides, up, strict=True) if here)
    emb = settings.get("time_embedding_dim") or 4 * widths[0]
    config = UNetConfig(
        image_size=size,
        base_channels=base,
        multipliers=tuple(width // base for width in widths),
        in_channels=settings.get("in_channels", 3),
        res_blocks=settings.get("layers_per_block", 2),
        attention_resolutions=attended,
        up_attention_resolutions=None if attended_up == attended else attended_up,
        heads=1,
        head_channels=settings.get("attention_head_dim", 8),
        dropout=settings.get("dropout") or 0.0,
        emb_channels=None if emb == 4 * base else emb,
        time_channels=None if widths[0] == base else widths[0],
        time_scale=settings.get("resnet_time_scale_shift") == "scale_shift",
        resampling=resampling,
        frequency_shift=settings.get("freq_shift", 0),
        norm_groups=settings.get("norm_num_groups", 32),
        norm_eps=settings.get("norm_eps", 1e-5),
    )
    return typed(config)


def _blocks(settings: dict) -> tuple[list[bool], list[bool], str]:
    """Where attention is on the way down and up, finest first, and how feature maps are resampled.

    Down blocks are named from the finest on, up blocks towards it.
    """
    downs, ups = settings["down_block_types"], settings["up_block_types"][::-1]
    unknown = [name for name in downs if name not in DOWN] + [n for n in ups if n not in UP]
    if unknown:
        known = ", ".join([*DOWN, *UP])
        given = ", ".join(map(str, unknown))[:200]
        raise ConvertError(f"blocks of kind {given} are not known; known: {known}")
    # The coarsest level resamples nothing on the way down, the finest nothing on the way up.
    kinds = {_kind(settings, DOWN[name][1]) for name in downs[:-1]}
    kinds |= {_kind(settings, UP[name][1]) for name in ups[1:]}
    if len(kinds) > 1 or not kinds <= {"conv", "resnet"}:
        raise ConvertError(
            f"the blocks resample by {' and '.join(sorted(map(str, kinds)))}; only conv or only "
            "resnet is supported"
        )
    resampling = "residual" if kinds == {"resnet"} else "conv"
    if resampling == "conv" and settings.get("downsample_padding", 1) == 0:
        resampling = "conv_asymmetric"
    return [DOWN[name][0] for name in downs], [UP[name][0] for name in ups], resampling


def _kind(settings: dict, kind: str) -> str:
    return settings.get(kind, "conv") if kind.endswith("_type") else kind


def _refuse_variants(settings: dict) -> None:
    """What `UNet2DModel` can be and our U-Net is not: refused rather than converted wrongly."""
    expected = {
        "act_fn": ("silu", "swish"),
        "time_embedding_type": ("positional",),
        "center_input_sample": (False,),
        "add_attention": (True,),
        "class_embed_type": (None,),
        "downsample_padding": (1, 0),
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
    channels = settings.get("in_channels", 3)
    if settings.get("out_channels", 3) not in (channels, 2 * channels):
        raise ConvertError("out_channels must equal in_channels, or be twice as many")


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors that lie beside a diffusers config.json.

    Raises:
        ConvertError: there are none, or not in one file.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return only_tensors(read_checkpoint(folder / name), folder / name)
    if any(folder.glob("*.index.json")):
        raise ConvertError(f"the weights in {folder} lie in several files; only one can be read")
    raise ConvertError(f"{folder} has no {' or '.join(WEIGHTS)}")


def _without_variance(tensors: dict[str, Tensor], channels: int, hints: Hints) -> dict[str, Tensor]:
    hints.say("the output's second half, the learned variance, is left out: DDIM needs eps alone")
    halved = {n: t[:channels] for n, t in tensors.items() if n.startswith("conv_out.")}
    return tensors | halved


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
