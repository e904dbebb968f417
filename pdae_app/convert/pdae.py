"""Official PDAE files into a bundle."""

from pathlib import Path

import torch
from torch import Tensor

from pdae_app.bundle import Bundle
from pdae_app.convert.errors import ConvertError
from pdae_app.convert.filling import fill, without_memory
from pdae_app.convert.hints import Hints
from pdae_app.convert.infer import semantic_config, tensor_shapes, unet_config
from pdae_app.convert.latents import latent_space, prior, statistics
from pdae_app.convert.names import semantic_names, shift_names, unet_names
from pdae_app.convert.reading import only_tensors, part, read_checkpoint
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.schedule import Schedule
from pdae_app.latents.directions import LatentSpace
from pdae_app.models.pdae import PDAE, PDAEConfig

# The decoder's own part; the rest of it is the frozen U-Net.
SHIFT = ("label_emb.", "shift_")


def convert_pdae(
    autoencoder: str | Path,
    dpm: str | Path | None = None,
    latents: str | Path | None = None,
    classifier: str | Path | None = None,
    latent_dpm: str | Path | None = None,
    hints: Hints | None = None,
) -> Bundle:
    """A bundle of the official autoencoder, with what else is given; steps as the official code.

    Raises:
        ConvertError: a file cannot be used; the message says which and why.
    """
    hints = hints or Hints()
    hints.say(f"reading {autoencoder}")
    data = read_checkpoint(autoencoder)
    encoder = only_tensors(part(data, ("ema_encoder", "encoder"), autoencoder), autoencoder)
    decoder = only_tensors(part(data, ("ema_decoder", "decoder"), autoencoder), autoencoder)
    if dpm is not None:
        decoder = _with_frozen(decoder, dpm, hints)
    model = _model(encoder, decoder, str(autoencoder), hints)
    space = _space(latents, classifier, model.config.encoder.z_dim, hints)
    latent_prior = _prior(latent_dpm, space, hints)
    info = {"converted_from": "official PDAE", "files": _file_names(autoencoder, dpm, latents)}
    diffusion = Diffusion(Schedule(hints.schedule or "linear"))
    return Bundle(model.unet, diffusion, model, space, latent_prior, stepping="pdae", info=info)


def _file_names(*paths: str | Path | None) -> list[str]:
    return [Path(path).name for path in paths if path is not None]


def _with_frozen(decoder: dict[str, Tensor], dpm: str | Path, hints: Hints) -> dict[str, Tensor]:
    """The decoder, its frozen U-Net from `dpm` where it has none; else both must be the same."""
    hints.say(f"reading {dpm}")
    tensors = part(read_checkpoint(dpm), ("ema_denoise_fn", "denoise_fn"), dpm)
    frozen = only_tensors(tensors, dpm)
    own = {name for name in decoder if not name.startswith(SHIFT)}
    if not own:
        return decoder | frozen
    differing = [
        name
        for name in sorted(own | frozen.keys())
        if name not in decoder or name not in frozen or not torch.equal(decoder[name], frozen[name])
    ]
    if differing:
        raise ConvertError(
            f"{dpm} is not the model that this autoencoder was trained on: "
            f"{len(differing)} tensors differ, the first is {differing[0]}. Leave --dpm out."
        )
    return decoder


def _model(encoder: dict, decoder: dict, where: str, hints: Hints) -> PDAE:
    encoder_config = semantic_config(tensor_shapes(encoder), hints)
    if hints.image_size not in (None, encoder_config.image_size):
        raise ConvertError(
            f"the encoder takes {encoder_config.image_size} px, not {hints.image_size}"
        )
    hints = hints.filled_from(Hints(image_size=encoder_config.image_size))
    config = unet_config(tensor_shapes(decoder), hints)
    model = without_memory(PDAE, PDAEConfig(config, encoder_config))
    hints.say(f"encoder: {len(encoder)} tensors")
    fill(model.encoder, semantic_names(model.encoder), encoder, f"the encoder of {where}")
    hints.say(f"U-Net: {len(unet_names(model.unet))} tensors")
    frozen = {k: v for k, v in decoder.items() if not k.startswith(SHIFT)}
    fill(model.unet, unet_names(model.unet), frozen, f"the U-Net of {where}")
    hints.say(f"gradient estimator: {len(decoder) - len(frozen)} tensors")
    shift = {k: v for k, v in decoder.items() if k.startswith(SHIFT)}
    fill(model.shift, shift_names(model.shift), shift, f"the gradient estimator of {where}")
    return model


def _space(latents, classifier, z_dim: int, hints: Hints) -> LatentSpace | None:
    if latents is None:
        if classifier is not None:
            raise ConvertError("the classifier reads normalised codes; give --latents too")
        return None
    hints.say(f"reading {latents}")
    mean, std = statistics(read_checkpoint(latents), ("mean", "std"), z_dim, str(latents))
    rows = None
    if classifier is not None:
        hints.say(f"reading {classifier}")
        data = read_checkpoint(classifier)
        rows = only_tensors(part(data, ("ema_classifier", "classifier"), classifier), classifier)
    return latent_space(mean, std, rows, str(classifier), hints.say)


def _prior(path, space: LatentSpace | None, hints: Hints):
    if path is None:
        return None
    if space is None:
        raise ConvertError("the latent model makes normalised codes; give --latents too")
    hints.say(f"reading {path}")
    names = ("ema_latent_denoise_fn", "latent_denoise_fn")
    # The official code clamps normalised codes to one sigma: see `Prior`.
    return prior(only_tensors(part(read_checkpoint(path), names, path), path), str(path), clip=True)
