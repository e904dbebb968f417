"""Official Diff-AE checkpoints (Lightning 1.4) into a bundle."""

from pathlib import Path

from torch import Tensor

from pdae_app.bundle import Bundle
from pdae_app.convert.errors import ConvertError
from pdae_app.convert.filling import fill, without_memory
from pdae_app.convert.hints import Hints
from pdae_app.convert.infer import pooled_config, tensor_shapes, unet_config
from pdae_app.convert.latents import latent_space, prior, statistics
from pdae_app.convert.names import DIFFAE_NAMING, pooled_names, unet_names
from pdae_app.convert.reading import below, only_tensors, part, read_checkpoint
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.schedule import Schedule
from pdae_app.latents.directions import LatentSpace
from pdae_app.models.diffae import DiffAE, DiffAEConfig

STATISTICS = ("conds_mean", "conds_std")


def convert_diffae(
    autoencoder: str | Path,
    latent: str | Path | None = None,
    classifier: str | Path | None = None,
    latents: str | Path | None = None,
    hints: Hints | None = None,
) -> Bundle:
    """A bundle of the official autoencoder, with what else is given; steps as the official code.

    Args:
        latent: checkpoint of the latent diffusion model.
        classifier: checkpoint of the attribute classifier; its raw weights are used, as the
            official demo does.
        latents: `latent.pkl`, the codes' statistics; the other two carry them as well.

    Raises:
        ConvertError: a file cannot be used; the message says which and why.
    """
    hints = hints or Hints()
    state = _state(autoencoder, hints)
    averaged = _averaged(state, autoencoder)
    model = _model(averaged, state.get("x_T"), str(autoencoder), hints)
    others = {path: _state(path, hints) for path in (latent, classifier) if path is not None}
    sources = [*others.items(), (autoencoder, state)]
    if latents is not None:
        hints.say(f"reading {latents}")
        sources.insert(0, (latents, read_checkpoint(latents)))
    z_dim = model.config.encoder.z_dim
    space = _space(sources, others.get(classifier), classifier, z_dim, hints)
    latent_prior = None
    if latent is not None:
        tensors = below(_averaged(others[latent], latent), "latent_net.")
        latent_prior = prior(tensors, str(latent), clip=False)
    names = [Path(p).name for p in (autoencoder, latent, classifier, latents) if p is not None]
    info = {"converted_from": "official Diff-AE", "files": names}
    diffusion = Diffusion(Schedule(hints.schedule or "linear"))
    return Bundle(model.unet, diffusion, model, space, latent_prior, stepping="diffae", info=info)


def _state(path: str | Path, hints: Hints) -> dict[str, Tensor]:
    hints.say(f"reading {path}")
    return only_tensors(part(read_checkpoint(path), ("state_dict",), path), path)


def _averaged(state: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    tensors = below(state, "ema_model.") or below(state, "model.")
    if not tensors:
        raise ConvertError(f"{path} has no ema_model.* tensors")
    return tensors


def _model(tensors: dict[str, Tensor], x_T: Tensor | None, where: str, hints: Hints) -> DiffAE:
    encoder = {name: t for name, t in tensors.items() if name.startswith("encoder.")}
    rest = {
        name: t for name, t in tensors.items() if not name.startswith(("encoder.", "latent_net."))
    }
    if x_T is not None and x_T.ndim == 4:
        hints = hints.filled_from(Hints(image_size=x_T.shape[-1]))
    config = unet_config(tensor_shapes(rest), hints, DIFFAE_NAMING.time_embed)
    encoder_config = pooled_config(tensor_shapes(encoder), config)
    model = without_memory(DiffAE, DiffAEConfig(config, encoder_config))
    hints.say(f"encoder: {len(encoder)} tensors")
    fill(model.encoder, pooled_names(model.encoder), encoder, f"the encoder of {where}")
    hints.say(f"U-Net: {len(rest)} tensors")
    fill(model.unet, unet_names(model.unet, DIFFAE_NAMING), rest, f"the U-Net of {where}")
    return model


def _space(
    sources: list, state: dict | None, classifier, z_dim: int, hints: Hints
) -> LatentSpace | None:
    """Statistics from the first source that has them, and the classifier's rows."""
    found = [(path, data) for path, data in sources if STATISTICS[0] in data]
    if not found:
        if len(sources) > 1:
            raise ConvertError("no file holds conds_mean and conds_std; give --latents latent.pkl")
        return None
    path, data = found[0]
    mean, std = statistics(data, STATISTICS, z_dim, str(path))
    rows = below(state, "classifier.") if state is not None else None
    return latent_space(mean, std, rows, str(classifier), hints.say)
