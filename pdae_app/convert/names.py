"""Our parameter names and those of foreign files (guided-diffusion's naming and its kin).

Each function returns a mapping from every name in our module's state dict to the foreign one.
Attention weights are stored there as 1x1 convolutions, with one more axis: see `official_shape`.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from pdae_app.models.diffae import PlainBlock, PooledEncoder
from pdae_app.models.latent_mlp import LatentMLP
from pdae_app.models.layers import ConvResample, ResBlock, SelfAttention
from pdae_app.models.semantic import SemanticEncoder
from pdae_app.models.unet import Block, UNet, UNetDecoder, UNetEncoder

RES = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "skip": "skip_connection",
}
PLAIN = {"norm": "in_layers.0", "conv": "in_layers.2", "skip": "skip_connection"}
ATTENTION = {"norm": "norm", "qkv": "qkv", "proj": "proj_out"}


@dataclass(frozen=True)
class Naming:
    """What differs between code bases of the family."""

    time_embed: str = "time_embed"
    z_proj: str = "emb_z_layers.1"


PDAE_NAMING = Naming()
DIFFAE_NAMING = Naming("time_embed.time_embed", "cond_emb_layers.1")


def leaves(module: nn.Module, ours: str, theirs: str) -> dict[str, str]:
    """Everything in `module`, under the same names in both."""
    return {f"{ours}.{name}": f"{theirs}.{name}" for name in module.state_dict()}


def under(prefix: str, names: dict[str, str]) -> dict[str, str]:
    """The mapping with our names below `prefix`."""
    return {f"{prefix}.{ours}": theirs for ours, theirs in names.items()}


def renamed(module: nn.Module, table: dict[str, str], ours: str, theirs: str) -> dict[str, str]:
    """The children of `module` that `table` names, each with everything in it."""
    names = {}
    for name, child in module.named_children():
        if name in table:
            names |= leaves(child, f"{ours}.{name}", f"{theirs}.{table[name]}")
    return names


def _res(block: ResBlock, ours: str, theirs: str, naming: Naming) -> dict[str, str]:
    return renamed(block, RES | {"z_proj": naming.z_proj}, ours, theirs)


def _resample(
    block: ResBlock | ConvResample, ours: str, theirs: str, naming: Naming
) -> dict[str, str]:
    """A residual block, or a convolution: called "op" on the way down, "conv" on the way up."""
    if isinstance(block, ResBlock):
        return _res(block, ours, theirs, naming)
    name = "op" if block.direction == "down" else "conv"
    return leaves(block.conv, f"{ours}.conv", f"{theirs}.{name}")


def _attention(block: SelfAttention, ours: str, theirs: str) -> dict[str, str]:
    return renamed(block, ATTENTION, ours, theirs)


def _block(block: Block, ours: str, theirs: str, naming: Naming) -> dict[str, str]:
    """Residual block, attention and up-sampling count from 0, without gaps."""
    names, place = _resample(block.res, f"{ours}.res", f"{theirs}.0", naming), 1
    if block.attention is not None:
        names |= _attention(block.attention, f"{ours}.attention", f"{theirs}.{place}")
        place += 1
    if block.up is not None:
        names |= _resample(block.up, f"{ours}.up", f"{theirs}.{place}", naming)
    return names


def encoder_half(half: UNetEncoder, naming: Naming = PDAE_NAMING) -> dict[str, str]:
    """Time embedding and input blocks."""
    names = leaves(half.time_embed, "time_embed", naming.time_embed)
    names |= leaves(half.conv_in, "conv_in", "input_blocks.0.0")
    for i, block in enumerate(half.blocks):
        names |= _block(block, f"blocks.{i}", f"input_blocks.{i + 1}", naming)
    return names


def decoder_half(
    half: UNetDecoder, prefix: str = "", naming: Naming = PDAE_NAMING
) -> dict[str, str]:
    """Middle block, output blocks and output; `prefix` is "shift_" for the gradient estimator."""
    middle, output = f"{prefix}middle_block", f"{prefix}output_blocks"
    names = _block(half.middle_in, "middle_in", middle, naming)
    names |= _res(half.middle_out, "middle_out", f"{middle}.2", naming)
    for i, block in enumerate(half.blocks):
        names |= _block(block, f"blocks.{i}", f"{output}.{i}", naming)
    names |= leaves(half.norm_out, "norm_out", f"{prefix}out.0")
    names |= leaves(half.conv_out, "conv_out", f"{prefix}out.2")
    if half.z_embed is not None:
        names |= leaves(half.z_embed, "z_embed", "label_emb")
    return names


def unet_names(unet: UNet, naming: Naming = PDAE_NAMING) -> dict[str, str]:
    """A whole U-Net."""
    encoder = under("encoder", encoder_half(unet.encoder, naming))
    return encoder | under("decoder", decoder_half(unet.decoder, naming=naming))


def shift_names(shift: UNetDecoder) -> dict[str, str]:
    """PDAE's gradient estimator; in the official files it shares a "decoder" with the U-Net."""
    return decoder_half(shift, "shift_")


def semantic_names(encoder: SemanticEncoder) -> dict[str, str]:
    """PDAE's encoder: one flat sequence of convolution, attention, norm, SiLU, linear."""
    names, place = {}, 0
    for i, (conv, norm) in enumerate(zip(encoder.convs, encoder.norms, strict=True)):
        names |= leaves(conv, f"convs.{i}", f"encoder.{place}")
        place += 1
        if i == encoder.attention_at:
            names |= _attention(encoder.attention, "attention", f"encoder.{place}")
            place += 1
        names |= leaves(norm, f"norms.{i}", f"encoder.{place}")
        place += 2  # norm, SiLU
    return names | leaves(encoder.linear, "linear", f"encoder.{place + 1}")


def _plain(block: PlainBlock, ours: str, theirs: str) -> dict[str, str]:
    names = renamed(block, PLAIN, ours, f"{theirs}.0")
    if block.attention is not None:
        names |= _attention(block.attention, f"{ours}.attention", f"{theirs}.1")
    return names


def pooled_names(encoder: PooledEncoder) -> dict[str, str]:
    """Diff-AE's encoder."""
    names = leaves(encoder.conv_in, "conv_in", "encoder.input_blocks.0.0")
    for i, block in enumerate(encoder.blocks):
        names |= _plain(block, f"blocks.{i}", f"encoder.input_blocks.{i + 1}")
    names |= _plain(encoder.middle_in, "middle_in", "encoder.middle_block")
    names |= renamed(encoder.middle_out, PLAIN, "middle_out", "encoder.middle_block.2")
    names |= leaves(encoder.norm_out, "norm_out", "encoder.out.0")
    return names | leaves(encoder.conv_out, "conv_out", "encoder.out.3")


def latent_names(mlp: LatentMLP) -> dict[str, str]:
    """The latent MLP of both code bases; "cond_layers.1" there repeats "linear_emb"."""
    names = leaves(mlp.time_embed, "time_embed", "time_embed")
    table = {"linear": "linear", "emb_proj": "linear_emb", "norm": "norm"}
    for i, layer in enumerate(mlp.layers):
        names |= renamed(layer, table, f"layers.{i}", f"layers.{i}")
    return names | leaves(mlp.linear_out, "linear_out", f"layers.{len(mlp.layers)}.linear")


def from_official(tensor: Tensor, like: Tensor) -> Tensor:
    """An official tensor in our shape: attention's 1x1 convolutions lose their last axis."""
    return tensor.squeeze(-1) if tensor.ndim == like.ndim + 1 and tensor.shape[-1] == 1 else tensor


def official_shape(name: str, tensor: Tensor) -> tuple[int, ...]:
    """The shape that our parameter has in an official file."""
    attention = name.endswith((".qkv.weight", ".proj.weight"))
    return (*tensor.shape, 1) if attention else tuple(tensor.shape)
