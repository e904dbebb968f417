"""Statistics of codes, linear classifiers on them and latent MLPs, of both code bases."""

import math

import torch
from torch import Tensor

from pdae_app.convert.celeba import CELEBA
from pdae_app.convert.errors import ConvertError
from pdae_app.convert.filling import fill, without_memory
from pdae_app.convert.hints import Say
from pdae_app.convert.infer import latent_config, tensor_shapes
from pdae_app.convert.names import latent_names
from pdae_app.diffusion.schedule import Schedule
from pdae_app.latents.directions import Attribute, LatentSpace
from pdae_app.latents.prior import Prior
from pdae_app.models.latent_mlp import LatentMLP

# The length of a step in normalised z that a slider of 1 makes: the official edit is
# z_n + s sqrt(512) w / |w|, and 0.3 the end of the useful range of s.
OFFICIAL_STRENGTH = 0.3 * math.sqrt(512)


def statistics(data: dict, names: tuple[str, str], z_dim: int, where: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the codes, each (D,).

    Raises:
        ConvertError: absent, of another length, or not finite and positive.
    """
    pair = [data.get(name) for name in names]
    if not all(isinstance(value, Tensor) for value in pair):
        raise ConvertError(f"{where} has no {names[0]} and {names[1]}")
    mean, std = (value.detach().float().flatten() for value in pair)
    if len(mean) != z_dim or len(std) != z_dim:
        raise ConvertError(
            f"{where}: {names[0]} and {names[1]} have lengths {len(mean)} and {len(std)}, "
            f"the encoder's codes {z_dim}"
        )
    if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
        raise ConvertError(f"{where}: {names[0]} and {names[1]} must be finite, {names[1]} above 0")
    return mean, std


def latent_space(
    mean: Tensor, std: Tensor, classifier: dict[str, Tensor] | None, where: str, say: Say
) -> LatentSpace:
    """The codes' statistics, with a slider for each row of the classifier.

    Raises:
        ConvertError: the classifier is not (attributes, D), or not finite.
    """
    if classifier is None:
        nothing = torch.zeros(0, len(mean))
        return LatentSpace(mean, std, nothing, nothing)
    weight, bias = (classifier.get(name) for name in ("weight", "bias"))
    shapes = [tuple(t.shape) if isinstance(t, Tensor) else None for t in (weight, bias)]
    if weight is None or bias is None or shapes != [(len(bias), len(mean)), (len(bias),)]:
        raise ConvertError(
            f"{where}: weight and bias must be (attributes, {len(mean)}) and (attributes,), "
            f"got {shapes[0]} and {shapes[1]}"
        )
    weight, bias = weight.detach().float(), bias.detach().float()
    if not (weight.isfinite().all() and bias.isfinite().all() and (weight.norm(dim=1) > 0).all()):
        raise ConvertError(f"{where}: weight and bias must be finite, and no row of weight zero")
    rows = zip(_names(len(bias), say), weight, bias.tolist(), strict=True)
    attributes = tuple(_attribute(name, w, b) for name, w, b in rows)
    directions = weight / weight.square().sum(dim=1, keepdim=True)
    return LatentSpace(mean, std, weight, directions, attributes)


def _names(count: int, say: Say) -> tuple[str, ...]:
    if count == len(CELEBA):
        return CELEBA
    say(f"guess: the {count} attributes have no names in the file; they are numbered")
    return tuple(f"Attribute_{i}" for i in range(count))


def _attribute(name: str, weight: Tensor, bias: float) -> Attribute:
    """The official edit's step, as a change of the logit."""
    unit = OFFICIAL_STRENGTH * float(weight.norm())
    return Attribute(name, bias, unit=unit)


def prior(tensors: dict[str, Tensor], where: str, clip: bool) -> Prior:
    """The latent diffusion model, constant betas of 0.008.

    Raises:
        ConvertError: the tensors are not those of a latent MLP.
    """
    for name in [name for name in tensors if ".cond_layers.1." in name]:
        twin = tensors.get(name.replace(".cond_layers.1.", ".linear_emb."))
        if twin is None or not torch.equal(twin, tensors[name]):
            raise ConvertError(f"{where}: {name} differs from linear_emb, of which it is a copy")
    own = {name: tensor for name, tensor in tensors.items() if ".cond_layers.1." not in name}
    config = latent_config(tensor_shapes(own))
    mlp = without_memory(LatentMLP, config)
    fill(mlp, latent_names(mlp), own, where)
    return Prior(mlp, Schedule("constant"), clip)
