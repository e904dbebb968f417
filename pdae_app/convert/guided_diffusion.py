"""State dicts of guided-diffusion's family: OpenAI's, official PDAE's and Diff-AE's."""

from pathlib import Path

from torch import Tensor

from pdae_app.bundle import Bundle
from pdae_app.convert.classes import with_fixed_class
from pdae_app.convert.errors import ConvertError
from pdae_app.convert.filling import fill, without_memory
from pdae_app.convert.hints import Hints
from pdae_app.convert.infer import tensor_shapes, unet_config
from pdae_app.convert.names import DIFFAE_NAMING, PDAE_NAMING, unet_names
from pdae_app.convert.reading import below, only_tensors
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.schedule import Schedule
from pdae_app.models.unet import UNet, UNetConfig

ENTRIES = ("ema_denoise_fn", "denoise_fn", "state_dict", "ema", "model")
PREFIXES = ("ema_model.", "model.")


def convert_guided_diffusion(data: dict, checkpoint: Path, hints: Hints) -> Bundle:
    """A bundle of what a file holds.

    Raises:
        ConvertError: it cannot be used; the message says why.
    """
    tensors, x_T = _tensors(data, checkpoint)
    if x_T is not None and x_T.ndim == 4:
        hints = hints.filled_from(Hints(image_size=x_T.shape[-1]))
    unet = guided_unet(tensors, hints, str(checkpoint))
    schedule = hints.known("schedule", "linear", "not in the file")
    info = {"converted_from": "guided-diffusion family", "files": [checkpoint.name]}
    return Bundle(unet, Diffusion(Schedule(schedule)), info=info)


def guided_unet(tensors: dict[str, Tensor], hints: Hints, where: str) -> UNet:
    """The U-Net of a state dict.

    Raises:
        ConvertError: it cannot be used; the message says why.
    """
    naming = DIFFAE_NAMING if "time_embed.time_embed.0.weight" in tensors else PDAE_NAMING
    tensors = _without_variance(_unconditional(tensors, where, hints), hints)
    config = unet_config(tensor_shapes(tensors), hints, naming.time_embed)
    if hints.new_attention:
        tensors = _in_legacy_order(tensors, config)
    unet = without_memory(UNet, config)
    hints.say(f"U-Net: {len(tensors)} tensors")
    fill(unet, unet_names(unet, naming), tensors, f"the U-Net of {where}")
    return unet


def _tensors(data: dict, path: Path) -> tuple[dict[str, Tensor], Tensor | None]:
    """The U-Net's own tensors, however deep they lie, and Diff-AE's x_T, which tells the size."""
    for entry in ENTRIES:
        if isinstance(data.get(entry), dict):
            data = data[entry]
            break
    state = only_tensors(data, path)
    x_T = state.get("x_T")
    for prefix in PREFIXES:
        if found := below(state, prefix):
            return found, x_T
    return state, x_T


def _unconditional(tensors: dict[str, Tensor], where: str, hints: Hints) -> dict[str, Tensor]:
    if "label_emb.bias" not in tensors:  # with it, it is PDAE's, of codes
        classes = tensors.get("label_emb.weight")
        tensors = {name: t for name, t in tensors.items() if name != "label_emb.weight"}
        tensors = with_fixed_class(tensors, "time_embed.2.bias", classes, hints)
    if any(name.startswith(("label_emb.", "shift_")) or "cond_emb" in name for name in tensors):
        raise ConvertError(
            f"{where} is a conditional model (of codes); an unconditional one is needed"
        )
    return {name: t for name, t in tensors.items() if not name.startswith("latent_net.")}


def _in_legacy_order(tensors: dict[str, Tensor], config: UNetConfig) -> dict[str, Tensor]:
    """All q, all k, all v (the "new" order) to each head's q, k, v (see `SelfAttention`)."""

    def reordered(tensor: Tensor) -> Tensor:
        heads = config.attention_heads(len(tensor) // 3)
        split = tensor.reshape(3, heads, -1, *tensor.shape[1:])
        return split.transpose(0, 1).reshape(tensor.shape)

    attention = (".qkv.weight", ".qkv.bias")
    return {n: reordered(t) if n.endswith(attention) else t for n, t in tensors.items()}


def _without_variance(tensors: dict[str, Tensor], hints: Hints) -> dict[str, Tensor]:
    """The network without the half of its output that learns the variance."""
    first, last = tensors.get("input_blocks.0.0.weight"), tensors.get("out.2.weight")
    if first is None or last is None or last.shape[0] != 2 * first.shape[1]:
        return tensors
    hints.say("the output's second half, the learned variance, is left out: DDIM needs eps alone")
    channels = first.shape[1]
    halved = {n: t[:channels] for n, t in tensors.items() if n in ("out.2.weight", "out.2.bias")}
    return tensors | halved
