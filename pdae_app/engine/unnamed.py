"""Directions that nothing names yet: found in codes, shown as strips, to be named and kept."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from PIL import Image

from pdae_app.engine.code import Code, EditError
from pdae_app.engine.editor import Editor
from pdae_app.engine.generation import unlabelled_codes
from pdae_app.engine.own_slider import check_name
from pdae_app.engine.rendering import edited_pictures
from pdae_app.engine.sampler import Sampling
from pdae_app.engine.sliders import code_statistics
from pdae_app.latents.few_shot import FewShot
from pdae_app.latents.own_directions import find_directions

MOST = 12
# Codes in which directions are looked for. A bundle keeps none of photographs, so they are those of
# people whom the prior makes up.
CODES = 1024
# Of a strip's pictures; one standard deviation is 1.
STRENGTHS = (-2.0, 0.0, 2.0)
# A direction with so large a cosine to a slider's is said to resemble it.
ALIKE = 0.4


def unnamed_directions(editor: Editor, kind: str = "principal", count: int = 6) -> list[FewShot]:
    """The ways in which the model's people differ most, or independently of each other.

    Args:
        kind: "principal" or "independent".

    Raises:
        EditError: an unknown kind, too many, or a model that cannot make people up.
    """
    if not 1 <= count <= MOST:
        raise EditError(f"Look for 1 to {MOST} directions, not {count}.")
    space = code_statistics(editor.bundle)
    try:
        return find_directions(unlabelled_codes(editor.sampler, CODES), space, kind, count)
    except ValueError as error:
        if isinstance(error, EditError):
            raise
        raise EditError(f"Directions cannot be found: {error}.") from error


def strips(
    editor: Editor, code: Code, directions: Sequence[FewShot], steps: int
) -> Iterator[list[Image.Image]]:
    """A person at the `STRENGTHS` of every direction, each strip when it is finished."""
    able = editor.with_attributes(*directions)
    names = [found.attribute.name for found in directions]
    z = [able.moved(code, {name: strength}).z for name in names for strength in STRENGTHS]
    done = []
    for picture in edited_pictures(editor.sampler, code, torch.stack(z), Sampling(steps)):
        done.append(picture)
        if len(done) == len(STRENGTHS):
            yield done
            done = []


def resembled(editor: Editor, found: FewShot) -> str:
    """The model's attribute whose direction is nearest, if any is near; else nothing."""
    space = editor.bundle.latents
    if not space.attributes:
        return ""
    direction = torch.from_numpy(found.direction).float()[None]
    cosines = torch.cosine_similarity(direction, space.directions).abs()
    nearest = int(cosines.argmax())
    return space.names[nearest] if cosines[nearest] > ALIKE else ""


def named(found: FewShot, name: str) -> FewShot:
    """The direction as a slider of this name.

    Raises:
        EditError: a name that is none.
    """
    check_name(name)
    return replace(found, attribute=replace(found.attribute, name=name.strip()))
