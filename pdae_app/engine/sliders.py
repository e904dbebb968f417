"""Attributes of codes: where they stand, moving them, new ones, and what is unusual in a code."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pdae_app.bundle import Bundle, network_identity
from pdae_app.engine.checks import check_known, check_strength
from pdae_app.engine.code import Code, EditError
from pdae_app.engine.generation import unlabelled_codes
from pdae_app.engine.sampler import Sampler
from pdae_app.latents.directions import LatentSpace
from pdae_app.latents.few_shot import FewShot, fit_few_shot
from pdae_app.latents.slider_file import load_slider, save_slider
from pdae_app.latents.typical import code_distance, noise_structure

STRANGE_CODE = (
    "This picture is unlike those that the model learned from, so its sliders may do something "
    "else than they say, or little. A frontal, evenly lit face works best."
)
STRANGE_NOISE = (
    "Much of this picture is unusual for the model: it stays as it is, and may shine through where "
    "an edit changes the face. A plain background and a free face work best."
)


def standings(space: LatentSpace | None, code: Code) -> dict[str, float]:
    """Where the picture stands on each attribute: -1 typical negative, +1 typical positive."""
    if space is None:
        return {}
    logits = space.logits(code.z)
    found = {
        attribute.name: attribute.standing(float(logit))
        for attribute, logit in zip(space.attributes, logits, strict=True)
    }
    return {name: standing for name, standing in found.items() if standing is not None}


def moved(space: LatentSpace | None, z: Tensor, sliders: Mapping[str, float]) -> Tensor:
    """The code z (D,) with its attributes changed.

    Raises:
        EditError: an unknown attribute, or a strength beyond +-5 or not finite.
    """
    check_known(sliders, space.names if space else [])
    for name, strength in sliders.items():
        check_strength(name, strength)
    return space.move(z, dict(sliders)) if sliders else z


def fitted(
    sampler: Sampler, name: str, positives: Sequence[Code], negatives: Sequence[Code]
) -> FewShot:
    """A new slider; without negatives, people whom the prior makes up are set against the codes.

    Raises:
        EditError: too few codes, or a model that lacks what this needs.
    """
    space = code_statistics(sampler.bundle)
    if len(positives) < 2 or len(negatives) == 1:
        raise EditError(f"{name} needs at least two pictures of a kind.")
    having, lacking = (
        torch.stack([code.z for code in codes]) if codes else unlabelled_codes(sampler)
        for codes in (positives, negatives)
    )
    return fit_few_shot(name, having, lacking, space, not negatives)


def with_sliders(bundle: Bundle, added: Sequence[FewShot]) -> Bundle:
    """The same networks, with these sliders too; what is known of a namesake goes with it."""
    space, names = bundle.latents, {slider.attribute.name for slider in added}
    for slider in added:
        space = slider.added_to(space)
    clearings = tuple(c for c in bundle.clearings if c.attribute not in names)
    return replace(bundle, latents=space, clearings=clearings)


def load_slider_for(bundle: Bundle, path: str | Path) -> FewShot:
    """A slider from its file, for `Editor.with_attributes`.

    Raises:
        SliderFileError: no slider, a damaged one, or one of another model.
    """
    return load_slider(path, code_statistics(bundle), network_identity(bundle.model.encoder))


def save_slider_for(bundle: Bundle, made: FewShot, path: str | Path) -> None:
    """Write a slider to a file, for any model with this one's encoder."""
    save_slider(made, path, code_statistics(bundle), network_identity(bundle.model.encoder))


def code_statistics(bundle: Bundle) -> LatentSpace:
    """The statistics of the bundle's codes.

    Raises:
        EditError: it has none.
    """
    if bundle.latents is None:
        raise EditError("This model has no statistics of its codes, which sliders need.")
    return bundle.latents


def notices(bundle: Bundle, code: Code) -> list[str]:
    """What to expect of a picture that is unlike the training pictures; mostly nothing.

    Diff-AE, Appendix K. Bundles say what is typical once `training/measure_typical.py` ran.
    """
    typical, space = bundle.typical, bundle.latents
    if typical is None or space is None or code.drawn:
        return []
    found = []
    if code_distance(space, code.z) > typical.distance:
        found.append(STRANGE_CODE)
    if noise_structure(code.x_T) > typical.structure:
        found.append(STRANGE_NOISE)
    return found
