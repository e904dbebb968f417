"""Our parameter names and those of the official PDAE files (guided-diffusion's naming).

Each function returns a mapping from every name in our module's state dict to the official one.
Attention weights are stored there as 1x1 convolutions, with one more axis: see `official_shape`.
"""

from torch import Tensor, nn

from pdae_app.models.layers import ResBlock, SelfAttention
from pdae_app.models.pdae import PDAE
from pdae_app.models.semantic import SemanticEncoder
from pdae_app.models.unet import Block, UNet, UNetDecoder, UNetEncoder

RES = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "emb_proj": "emb_layers.1",
    "z_proj": "emb_z_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "skip": "skip_connection",
}
ATTENTION = {"norm": "norm", "qkv": "qkv", "proj": "proj_out"}


def _leaves(module: nn.Module, ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{name}": f"{theirs}.{name}" for name in module.state_dict()}


def _renamed(module: nn.Module, table: dict[str, str], ours: str, theirs: str) -> dict[str, str]:
    names = {}
    for name, child in module.named_children():
        if name in table:
            names |= _leaves(child, f"{ours}.{name}", f"{theirs}.{table[name]}")
    return names


def _res(block: ResBlock, ours: str, theirs: str) -> dict[str, str]:
    return _renamed(block, RES, ours, theirs)


def _attention(block: SelfAttention, ours: str, theirs: str) -> dict[str, str]:
    return _renamed(block, ATTENTION, ours, theirs)


def _block(block: Block, ours: str, theirs: str) -> dict[str, str]:
    """Residual block, attention and up-sampling count from 0, without gaps."""
    names, place = _res(block.res, f"{ours}.res", f"{theirs}.0"), 1
    if block.attention is not None:
        names |= _attention(block.attention, f"{ours}.attention", f"{theirs}.{place}")
        place += 1
    if block.up is not None:
        names |= _res(block.up, f"{ours}.up", f"{theirs}.{place}")
    return names


def encoder_half(half: UNetEncoder, ours: str = "encoder") -> dict[str, str]:
    """Time embedding and input blocks."""
    names = _leaves(half.time_embed, f"{ours}.time_embed", "time_embed")
    names |= _leaves(half.conv_in, f"{ours}.conv_in", "input_blocks.0.0")
    for i, block in enumerate(half.blocks):
        names |= _block(block, f"{ours}.blocks.{i}", f"input_blocks.{i + 1}")
    return names


def decoder_half(half: UNetDecoder, ours: str, prefix: str = "") -> dict[str, str]:
    """Middle block, output blocks and output; `prefix` is "shift_" for the gradient estimator."""
    middle, output = f"{prefix}middle_block", f"{prefix}output_blocks"
    names = _block(half.middle_in, f"{ours}.middle_in", middle)
    names |= _res(half.middle_out, f"{ours}.middle_out", f"{middle}.2")
    for i, block in enumerate(half.blocks):
        names |= _block(block, f"{ours}.blocks.{i}", f"{output}.{i}")
    names |= _leaves(half.norm_out, f"{ours}.norm_out", f"{prefix}out.0")
    names |= _leaves(half.conv_out, f"{ours}.conv_out", f"{prefix}out.2")
    if half.z_embed is not None:
        names |= _leaves(half.z_embed, f"{ours}.z_embed", "label_emb")
    return names


def unet_names(unet: UNet, ours: str = "") -> dict[str, str]:
    """A whole unconditional U-Net."""
    dot = f"{ours}." if ours else ""
    return encoder_half(unet.encoder, f"{dot}encoder") | decoder_half(unet.decoder, f"{dot}decoder")


def semantic_names(encoder: SemanticEncoder, ours: str = "encoder") -> dict[str, str]:
    """The semantic encoder: one flat sequence of convolution, attention, norm, SiLU, linear."""
    names, place = {}, 0
    for i, (conv, norm) in enumerate(zip(encoder.convs, encoder.norms, strict=True)):
        names |= _leaves(conv, f"{ours}.convs.{i}", f"encoder.{place}")
        place += 1
        if i == encoder.attention_at:
            names |= _attention(encoder.attention, f"{ours}.attention", f"encoder.{place}")
            place += 1
        names |= _leaves(norm, f"{ours}.norms.{i}", f"encoder.{place}")
        place += 2  # norm, SiLU
    return names | _leaves(encoder.linear, f"{ours}.linear", f"encoder.{place + 1}")


def decoder_names(model: PDAE) -> dict[str, str]:
    """The official "decoder": frozen U-Net and gradient estimator in one."""
    return unet_names(model.unet, "unet") | decoder_half(model.shift, "shift", "shift_")


def from_official(tensor: Tensor, like: Tensor) -> Tensor:
    """An official tensor in our shape: attention's 1x1 convolutions lose their last axis."""
    return tensor.squeeze(-1) if tensor.ndim == like.ndim + 1 and tensor.shape[-1] == 1 else tensor


def official_shape(name: str, tensor: Tensor) -> tuple[int, ...]:
    """The shape that our parameter has in an official file."""
    attention = name.endswith((".qkv.weight", ".proj.weight"))
    return (*tensor.shape, 1) if attention else tuple(tensor.shape)
