"""Official DiffEnc checkpoints: names and layouts of the Flax code to ours.

Names are Flax paths joined by dots ("score_model.VDMUNet_0.down_block_0.conv1.weight"), tensors in
PyTorch's layout; `pdae_app.convert.flax` makes such a state of a file.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pdae_app.bundle import Bundle
from pdae_app.convert.errors import ConvertError
from pdae_app.convert.filling import fill, typed, without_memory
from pdae_app.convert.flax import read_flax
from pdae_app.convert.hints import Hints, nested_mappings
from pdae_app.convert.names import leaves, renamed, under
from pdae_app.convert.reading import read_settings
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.variational import VariationalDiffusion
from pdae_app.models.diffenc import (
    MeanEncoder,
    MeanEncoderConfig,
    multi_resolution,
    one_block_a_level,
)
from pdae_app.models.layers import ResBlock, SelfAttention
from pdae_app.models.unet import UNet
from pdae_app.models.vdm import KINDS, VDMConfig, score_config
from pdae_app.typed_config import short

RES = {
    "norm1": "GroupNorm_0",
    "conv1": "conv1",
    "emb_proj": "cond_proj",
    "norm2": "GroupNorm_1",
    "conv2": "conv2",
    "skip": "nin_shortcut",
}
ATTENTION = {"norm": "GroupNorm_0", "qkv": "qkv", "proj": "proj_out"}
SCORE, ENCODER = "score_model", "encdec.inner_encoder"
OFFICIAL_MODELS = {"VDM2": "vdm", "VDM2_V": "vdm_v", "S4V_NT": "diffenc_fixed", "S3VA": "diffenc"}
MODEL_TYPES = {"unet": one_block_a_level, "unet_mult_res": multi_resolution}


def load_official(
    state: Mapping[str, Tensor], kind: str, settings: dict, dtype: torch.dtype = torch.float32
) -> VariationalDiffusion:
    """The model of an official state, in evaluation mode.

    Args:
        state: tensors by official names, in PyTorch's layout.
        kind: "vdm", "vdm_v", "diffenc_fixed" or "diffenc".
        settings: {"shape": [H, W, C], "score": {"n_embd", "n_layer", "groups"},
            "encoder": {"m_type", "n_embd", "n_layer", "groups"}, "learned_schedule": bool}.
        dtype: of the loss terms; float32 rounds as the official code does.

    Raises:
        ConvertError: the settings are not those of such a model, or tensors do not fit them; all
            that do not are listed.
    """
    config = _config(kind, settings)
    _check_kind(state, config)
    model = without_memory(VariationalDiffusion, config, dtype)
    encoder = settings.get("encoder")
    numbered = isinstance(encoder, dict) and encoder.get("m_type") == "unet_mult_res"
    tensors = _in_our_layout(state)
    fill(model, official_names(model, numbered), tensors, "the official state")
    return model.eval()


def _config(kind: str, settings: dict) -> VDMConfig:
    if kind not in KINDS:
        raise ConvertError(f"unknown kind {short(kind)}; known: {', '.join(KINDS)}")
    try:
        height, width, channels = settings["shape"]
        score = settings["score"]
        if height != width:
            given = f"{short(height)} x {short(width)}"
            raise ConvertError(f"only square pictures are supported, got {given}")
        if score.get("groups", 32) != 32:
            given = short(score["groups"])
            raise ConvertError(f"official score networks have 32 groups, got {given}")
        unet = score_config(height, score["n_layer"], score["n_embd"], channels)
        encoder = _encoder_config(settings, height, channels) if KINDS[kind].learned else None
        learned = bool(settings.get("learned_schedule", False))
        return typed(VDMConfig(kind, unet, encoder, learned))
    except ConvertError:
        raise
    except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ConvertError(
            f"the settings lack {error!s:.200}, or hold something else there"
        ) from error
    except ValueError as error:
        raise ConvertError(f"these settings make no model: {error}") from error


def _encoder_config(settings: dict, size: int, channels: int) -> MeanEncoderConfig:
    encoder = settings["encoder"]
    kind = encoder["m_type"]
    if kind not in MODEL_TYPES:
        raise ConvertError(f"unknown m_type {short(kind)}; known: {', '.join(MODEL_TYPES)}")
    groups = encoder.get("groups", 16)
    middle = {"middle_groups": groups} if kind == "unet" else {}
    return MODEL_TYPES[kind](
        size,
        encoder["n_layer"],
        in_channels=channels,
        base_channels=encoder["n_embd"],
        out_groups=groups,
        **middle,
    )


def _check_kind(state: Mapping[str, Tensor], config: VDMConfig) -> None:
    """Raise a ConvertError if the state is plainly one of another kind."""
    has_encoder = any(name.startswith("encdec.") for name in state)
    if has_encoder != config.traits.learned:
        fitting = ", ".join(k for k, traits in KINDS.items() if traits.learned == has_encoder)
        raise ConvertError(f"the state is not of kind {config.kind!r}, but of {fitting}")
    if ("gamma.w" in state) != config.learned_schedule:
        what = "a learned" if "gamma.w" in state else "no learned"
        raise ConvertError(f"the state has {what} noise schedule, the settings say otherwise")


def settings_from(state: Mapping[str, Tensor], image_size: int) -> dict:
    """The settings that a state's names and shapes tell; pictures are `image_size` a side.

    Raises:
        ConvertError: it is not the state of such a model.
    """
    try:
        channels = state[f"{SCORE}.conv_out.weight"].shape[0]
        settings = {
            "shape": [image_size, image_size, channels],
            "score": {
                "n_embd": state[f"{SCORE}.conv_in.weight"].shape[0],
                "n_layer": _count(state, rf"{SCORE}\.VDMUNet_0\.down_block_(\d+)\."),
            },
            "learned_schedule": "gamma.w" in state,
        }
        if any(name.startswith("encdec.") for name in state):
            settings["encoder"] = _encoder_settings(state)
    except KeyError as error:
        raise ConvertError(f"this is no official DiffEnc state: {error} is missing") from error
    return settings


def _encoder_settings(state: Mapping[str, Tensor]) -> dict:
    down = rf"{ENCODER}\.enc_model\.down_blocks_"
    levels, blocks = _count(state, down + r"(\d+)\."), _count(state, down + r"0\.\w+_block(\d+)\.")
    return {
        "m_type": "unet_mult_res" if blocks else "unet",
        "n_embd": state[f"{ENCODER}.conv_in.weight"].shape[0],
        "n_layer": levels * max(1, blocks),
        "groups": 16,
    }


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return len({found[1] for name in state if (found := re.match(pattern, name))})


def _in_our_layout(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors reshaped to ours, still under official names, but for q, k, v in one, "qkv"."""
    merged = {}
    for name, tensor in state.items():
        if name.endswith("dense0.weight"):
            tensor = _without_class(tensor)
        elif name.endswith("nin_shortcut.weight") and tensor.ndim == 2:
            tensor = tensor[:, :, None, None]
        elif name.startswith("gamma."):
            tensor = tensor.reshape(()) if tensor.numel() == 1 else tensor
        merged[name] = tensor
    for name in [name for name in merged if re.search(r"attn_1\.q\.(weight|bias)$", name)]:
        parts = [re.sub(r"\.q\.", f".{part}.", name) for part in "qkv"]
        if all(part in merged for part in parts):
            joined = torch.cat([merged.pop(part) for part in parts])
            merged[re.sub(r"\.q\.", ".qkv.", name)] = joined
    return merged


def _without_class(weight: Tensor) -> Tensor:
    """The first layer of the time embedding: cosines before sines, and no input for the class.

    The official code appends a class number, which in all of its models is 0.
    """
    if weight.ndim != 2 or weight.shape[1] % 2 == 0:
        return weight
    half = weight.shape[1] // 2
    return torch.cat([weight[:, half : 2 * half], weight[:, :half]], dim=1)


def official_names(model: VariationalDiffusion, numbered: bool) -> dict[str, str]:
    """Our names to the official ones; `numbered` if there may be several blocks a level."""
    networks = model.networks
    names = under("networks.unet", _score_names(networks.unet))
    if networks.encoder is not None:
        names |= under("networks.encoder", _encoder_names(networks.encoder, numbered))
    if model.schedule is not None:
        names |= {"schedule.gamma_0": "gamma.b", "schedule.slope": "gamma.w"}
    return names


def _score_names(unet: UNet) -> dict[str, str]:
    encoder, decoder, blocks = unet.encoder, unet.decoder, f"{SCORE}.VDMUNet_0"
    names = _time_names("encoder.time_embed", f"{SCORE}.TimeEmbedding_0")
    names |= leaves(encoder.conv_in, "encoder.conv_in", f"{SCORE}.conv_in")
    for i, block in enumerate(encoder.blocks):
        names |= _res(block.res, f"encoder.blocks.{i}.res", f"{blocks}.down_block_{i}")
    middle = decoder.middle_in
    names |= _res(middle.res, "decoder.middle_in.res", f"{blocks}.mid_block_1")
    names |= _attention(middle.attention, "decoder.middle_in.attention", f"{blocks}.mid_attn_1")
    names |= _res(decoder.middle_out, "decoder.middle_out", f"{blocks}.mid_block_2")
    for i, block in enumerate(decoder.blocks):
        names |= _res(block.res, f"decoder.blocks.{i}.res", f"{blocks}.up_block_{i}")
    names |= leaves(decoder.norm_out, "decoder.norm_out", f"{SCORE}.GroupNorm_0")
    return names | leaves(decoder.conv_out, "decoder.conv_out", f"{SCORE}.conv_out")


def _encoder_names(encoder: MeanEncoder, numbered: bool) -> dict[str, str]:
    inner = f"{ENCODER}.enc_model"
    names = _time_names("time_embed", f"{ENCODER}.time_embedding")
    names |= leaves(encoder.conv_in, "conv_in", f"{ENCODER}.conv_in")
    levels = encoder.config.levels
    for i, level in enumerate(encoder.down):
        block = f"{inner}.down_blocks_{i}.down_{i}_resnet_block"
        names |= _level(level, f"down.{i}", block, numbered)
    middle = encoder.middle_in
    names |= _res(middle.res, "middle_in.res", f"{inner}.mid_resnet_1")
    names |= _attention(middle.attention, "middle_in.attention", f"{inner}.mid_attn_1")
    names |= _res(encoder.middle_out, "middle_out", f"{inner}.mid_resnet_2")
    for i, up in enumerate(encoder.up):
        names |= leaves(up.conv, f"up.{i}.conv", f"{inner}.up_blocks_{i}.conv_trans")
        block = f"{inner}.up_blocks_{i}.up_{levels - 1 - i}_resnet_block"
        names |= _level(up.blocks, f"up.{i}.blocks", block, numbered)
    names |= leaves(encoder.norm_out, "norm_out", f"{ENCODER}.GroupNorm_0")
    return names | leaves(encoder.conv_out, "conv_out", f"{ENCODER}.conv_out")


def _level(level, ours: str, theirs: str, numbered: bool) -> dict[str, str]:
    names = {}
    for i, block in enumerate(level):
        names |= _res(block, f"{ours}.{i}", f"{theirs}{i}" if numbered else theirs)
    return names


def _res(block: ResBlock, ours: str, theirs: str) -> dict[str, str]:
    return renamed(block, RES, ours, theirs)


def _attention(block: SelfAttention, ours: str, theirs: str) -> dict[str, str]:
    return renamed(block, ATTENTION, ours, theirs)


def _time_names(ours: str, theirs: str) -> dict[str, str]:
    return {
        f"{ours}.{place}.{kind}": f"{theirs}.dense{layer}.{kind}"
        for layer, place in ((0, 0), (1, 2))
        for kind in ("weight", "bias")
    }


def convert_diffenc(
    checkpoint: str | Path, hints: Hints, kind: str | None = None, config: str | None = None
) -> Bundle:
    """A bundle of an official checkpoint, ready to be sampled from, measured, and adapted by PDAE.

    Args:
        kind: of `KINDS`; where it is None, the configuration or, for "diffenc", the tensors tell.
        config: YAML or JSON that names the official model ("VDM2", "VDM2_V", "S4V_NT", "S3VA"), or
            holds the settings that `load_official` takes.

    Raises:
        ConvertError: a file cannot be used; the message says why.
    """
    hints.say(f"reading {checkpoint}")
    state = read_flax(checkpoint)
    stated = read_settings(config) if config else {}
    kind = kind or _kind_stated(stated) or _kind_guessed(state, hints)
    settings = stated if "score" in stated else settings_from(state, _image_size(state, hints))
    model = load_official(state, kind, settings, torch.float64)
    hints.say(f"{kind}: {len(state)} tensors")
    process, prediction = model.sampling_process, model.config.prediction
    return Bundle(
        model.networks.unet,
        Diffusion(process, prediction, shift="v"),
        info={"converted_from": "official DiffEnc", "files": [Path(checkpoint).name]},
        variational=model,
    )


def _kind_stated(stated: dict) -> str | None:
    """The kind that a configuration names, wherever in it the name stands."""
    values = (value for mapping in nested_mappings(stated) for value in mapping.values())
    named = (value for value in values if isinstance(value, str) and value in OFFICIAL_MODELS)
    found = next(named, None)
    return found and OFFICIAL_MODELS[found]


def _kind_guessed(state: Mapping[str, Tensor], hints: Hints) -> str:
    if any(name.startswith("encdec.") for name in state):
        return "diffenc"
    hints.say("guess: kind = vdm_v (tensors cannot tell); --kind says otherwise")
    return "vdm_v"


def _image_size(state: Mapping[str, Tensor], hints: Hints) -> int:
    output = state.get(f"{SCORE}.conv_out.weight")
    grey = output is not None and len(output) == 1
    return hints.known("image_size", 28 if grey else 32, "of MNIST" if grey else "of CIFAR-10")
