"""Architectures of guided-diffusion's family, read off the names and shapes of their tensors."""

import re

from torch import Tensor

from pdae_app.convert.errors import ConvertError
from pdae_app.convert.filling import typed
from pdae_app.convert.hints import Hints
from pdae_app.models.diffae import PooledEncoderConfig
from pdae_app.models.latent_mlp import LatentMLPConfig
from pdae_app.models.semantic import EncoderConfig
from pdae_app.models.unet import UNetConfig

Shapes = dict[str, tuple[int, ...]]


def tensor_shapes(tensors: dict[str, Tensor]) -> Shapes:
    """The shapes by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def unet_config(shapes: Shapes, hints: Hints, time_embed: str = "time_embed") -> UNetConfig:
    """The U-Net that tensors of these shapes belong to.

    Raises:
        ConvertError: they belong to no U-Net of this family.
    """
    try:
        return typed(_unet_config(shapes, hints, time_embed))
    except (KeyError, IndexError, ArithmeticError, TypeError) as error:
        raise ConvertError(
            f"these are not the tensors of a guided-diffusion U-Net: {error} is missing"
        ) from error
    except ValueError as error:
        raise ConvertError(f"these tensors make no U-Net: {error}") from error


def _unet_config(shapes: Shapes, hints: Hints, time_embed: str) -> UNetConfig:
    base, in_channels = shapes["input_blocks.0.0.weight"][:2]
    emb = shapes[f"{time_embed}.0.bias"][0]
    rows, columns = shapes[f"{time_embed}.0.weight"]
    time = columns if rows == emb else base  # transposed ones are told of later
    if hints.base_channels not in (None, base, time):
        raise ConvertError(
            f"the configuration says {hints.base_channels} base channels, the tensors have {base}"
        )
    levels, res_blocks = _levels(shapes)
    first = [1 + level * (res_blocks + 1) for level in range(levels)]
    widths = [shapes[f"input_blocks.{i}.0.in_layers.2.weight"][0] for i in first]
    attended = [f"input_blocks.{i}.1.qkv.weight" in shapes for i in first]
    size = hints.image_size or hints.known("image_size", *_size_guess(attended))
    heads = None if hints.head_channels else hints.known("heads", 1 if base >= 128 else 4, "usual")
    return UNetConfig(
        image_size=size,
        base_channels=base,
        multipliers=_multipliers(widths, base),
        in_channels=in_channels,
        res_blocks=res_blocks,
        attention_resolutions=tuple(size // 2**i for i, here in enumerate(attended) if here),
        heads=heads or 1,
        head_channels=hints.head_channels,
        dropout=hints.known("dropout", 0.1, "of use in training only"),
        emb_channels=None if emb == 4 * base else emb,
        time_channels=None if time == base else time,
        time_scale=shapes["input_blocks.1.0.emb_layers.1.weight"][0] == 2 * widths[0],
        resampling="conv" if any(".0.op." in name for name in shapes) else "residual",
    )


def _levels(shapes: Shapes) -> tuple[int, int]:
    """Number of resolutions and of residual blocks at each, from the decoder half.

    There, what doubles the feature map is a block of its own; in the encoder half a halving
    residual block looks like any other.
    """
    up = re.compile(r"output_blocks\.\d+\.[12]\.(in_layers\.0|conv)\.weight")
    levels = sum(bool(up.fullmatch(name)) for name in shapes) + 1
    outputs, inputs = _count(shapes, "output_blocks."), _count(shapes, "input_blocks.")
    res_blocks = outputs // levels - 1
    if outputs % levels or inputs != levels * (res_blocks + 1):
        raise ConvertError(
            f"{inputs} input and {outputs} output blocks with {levels - 1} doublings are no U-Net "
            "of this family"
        )
    return levels, res_blocks


def _count(shapes: Shapes, prefix: str) -> int:
    """How many numbered modules there are below `prefix`."""
    start = len(prefix)
    return len({name[start:].split(".")[0] for name in shapes if name.startswith(prefix)})


def _multipliers(widths: list[int], base: int) -> tuple[int, ...]:
    if any(width % base for width in widths):
        raise ConvertError(f"the widths {widths} are no whole multiples of the base, {base}")
    return tuple(width // base for width in widths)


def _size_guess(attended: list[bool]) -> tuple[int, str]:
    """These models attend at 16x16, as a rule, and at coarser levels."""
    if not any(attended):
        raise ConvertError("the image size cannot be told from these tensors; give --image-size")
    return 16 * 2 ** attended.index(True), "if its finest attention is at 16x16"


def semantic_config(shapes: Shapes, hints: Hints) -> EncoderConfig:
    """PDAE's encoder: stride-2 convolutions down to a square, then linear.

    Raises:
        ConvertError: the shapes are not those of such an encoder.
    """
    convs = [s for name, s in _in_order(shapes) if len(s) == 4 and name.endswith(".weight")]
    linear = [s for name, s in shapes.items() if len(s) == 2 and name.endswith(".weight")]
    if not convs or len(linear) != 1:
        raise ConvertError("these are not the tensors of PDAE's encoder")
    channels = tuple(shape[0] for shape in convs)
    z_dim, features = linear[0]
    side = int((features / channels[-1]) ** 0.5)
    if side * side * channels[-1] != features:
        raise ConvertError(f"the encoder's {features} features make no square of {channels[-1]}")
    size = side * 2 ** len(channels)
    return EncoderConfig(
        image_size=size,
        z_dim=z_dim,
        channels=channels,
        in_channels=convs[0][1],
        attention_resolution=_attended_side(shapes, size),
        heads=4,
    )


def _in_order(shapes: Shapes) -> list[tuple[str, tuple[int, ...]]]:
    """The entries "encoder.N.…" by N."""
    return sorted(shapes.items(), key=lambda item: int(item[0].split(".")[1]))


def _attended_side(shapes: Shapes, size: int) -> int:
    """The side of the feature map that the encoder attends over, or 0."""
    for name, _ in _in_order(shapes):
        place = int(name.split(".")[1])
        if len(shapes[name]) == 4 and name.endswith(".weight"):
            size //= 2
        if name == f"encoder.{place}.qkv.weight":
            return size
    return 0


def pooled_config(shapes: Shapes, unet: UNetConfig) -> PooledEncoderConfig:
    """Diff-AE's encoder, of as many residual blocks a level as its U-Net."""
    try:
        base, in_channels = shapes["encoder.input_blocks.0.0.weight"][:2]
        levels, rest = divmod(_count(shapes, "encoder.input_blocks."), unet.res_blocks + 1)
        first = [1 + level * (unet.res_blocks + 1) for level in range(levels)]
        names = [f"encoder.input_blocks.{i}" for i in first]
        widths = [shapes[f"{name}.0.in_layers.2.weight"][0] for name in names]
        attended = [f"{name}.1.qkv.weight" in shapes for name in names]
        z_dim = shapes["encoder.out.3.weight"][0]
    except KeyError as error:
        raise ConvertError(f"these are not the tensors of Diff-AE's encoder: no {error}") from error
    if rest:
        raise ConvertError("Diff-AE's encoder does not have as many blocks a level as its U-Net")
    size = unet.image_size
    return PooledEncoderConfig(
        image_size=size,
        base_channels=base,
        multipliers=_multipliers(widths, base),
        z_dim=z_dim,
        in_channels=in_channels,
        res_blocks=unet.res_blocks,
        attention_resolutions=tuple(size // 2**i for i, here in enumerate(attended) if here),
        heads=unet.heads,
    )


def latent_config(shapes: Shapes) -> LatentMLPConfig:
    """The latent MLP of both code bases."""
    try:
        width, z_dim = shapes["layers.0.linear.weight"]
        time_channels = shapes["time_embed.0.weight"][1]
        return LatentMLPConfig(z_dim, width, _count(shapes, "layers."), time_channels)
    except (KeyError, ValueError) as error:
        raise ConvertError(f"these are not the tensors of a latent MLP: {error}") from error
