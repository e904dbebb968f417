"""Looks: edits with a name, and how they suit a person; and how far an edit can be believed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageChops

from pdae_app.engine.code import Code, EditError
from pdae_app.engine.editor import Editor
from pdae_app.engine.preset import Preset
from pdae_app.engine.rendering import edited_pictures
from pdae_app.engine.sampler import Sampling
from pdae_app.latents.typical import code_distance

# In terms of CelebA's names, and of the shipped model's.
LOOKS = {
    "Big smile": {"Smiling": 1.2, "Mouth_Slightly_Open": 0.8},
    "Serious": {"Smiling": -1.0},
    "Younger": {"Young": 1.0},
    "Older": {"Young": -1.0, "Gray_Hair": 0.5},
    "Grey hair": {"Gray_Hair": 1.0},
    "Blond hair": {"Blond_Hair": 1.0},
    "Long hair": {"Long_Hair": 1.0},
    "Bald": {"Bald": 1.0},
    "Beard": {"Facial_Hair": 1.0},
    "Glasses": {"Eyeglasses": 1.0},
}

# An edit is made weaker by such parts until it can be believed, down to the least.
PARTS, LEAST = 0.1, 0.3

# Who goes less than this part of the way that it would go alone is held back by other sliders; one
# that is set to less than NOTICED shows little anyhow.
HELD_BACK, NOTICED = 0.5, 0.25

# Of 255: where all but a hundredth of the pixels change by less, as when glasses are taken from who
# wears none, eyes see hardly anything of it (by looking at thirteen edits of the six examples).
LITTLE = 26
# Of a slider: up to here nobody expects to see much.
FAINT = 0.5
TOO_LITTLE = (
    "There is little to see of this: the picture may be so already, or the model cannot do it here."
)

TOO_STRONG = "So strong a change is beyond what the model has seen: less may look better."


@dataclass(frozen=True)
class Look:
    """A look on one person: what it sets, and the model's picture of it."""

    name: str
    preset: Preset
    image: Image.Image


def fitting_looks(known: Sequence[str]) -> dict[str, dict[str, float]]:
    """The looks of which a model has all attributes."""
    return {name: dict(look) for name, look in LOOKS.items() if set(look) <= set(known)}


def look_named(name: str, known: Sequence[str]) -> dict[str, float]:
    """The sliders of a look, its name in any case of its letters.

    Raises:
        EditError: there is none of this name for a model with these attributes.
    """
    looks = fitting_looks(known)
    found = {look.casefold(): sliders for look, sliders in looks.items()}.get(name.casefold())
    if found is None:
        raise EditError(f"There is no look {name!r}. There are: {', '.join(looks) or 'none'}.")
    return found


def believable(editor: Editor, code: Code, sliders: Mapping[str, float]) -> float:
    """The part in [`LEAST`, 1] of an edit at which its code is not stranger than pictures are.

    By the measure of the notice on unusual pictures; of a picture that is unusual itself, its own
    distance counts. 1 where the bundle does not say what is typical.
    """
    space, typical = editor.bundle.latents, editor.bundle.typical
    if space is None or typical is None or code.drawn:
        return 1.0
    farthest = max(typical.distance, code_distance(space, code.z))
    part = 1.0
    while part > LEAST:
        weaker = {name: part * strength for name, strength in sliders.items()}
        if code_distance(space, editor.moved(code, weaker).z) <= farthest:
            break
        part = round(part - PARTS, 2)
    return part


def held_back(editor: Editor, code: Code, sliders: Mapping[str, float]) -> list[str]:
    """The sliders that the others hardly let go their way, as *Bald* and a full hairline."""
    space = editor.bundle.latents
    if space is None or len(sliders) < 2:
        return []
    reached = space.reached(code.z, sliders)
    return [name for name in reached if reached[name] < HELD_BACK and abs(sliders[name]) > NOTICED]


def shows_little(before: Image.Image, after: Image.Image, sliders: Mapping[str, float]) -> bool:
    """Whether eyes see hardly anything of an edit that was to be seen, of the model's pictures."""
    if max(map(abs, sliders.values()), default=0) <= FAINT:
        return False
    change = np.asarray(ImageChops.difference(before, after)).max(-1)
    return bool(np.percentile(change, 99) < LITTLE)


def bounded(editor: Editor, code: Code, sliders: Mapping[str, float]) -> dict[str, float]:
    """The edit, as strong as it can be believed, in steps of a slider."""
    part = believable(editor, code, sliders)
    return {name: round(20 * part * strength) / 20 for name, strength in sliders.items()}


def rendered_looks(editor: Editor, code: Code, steps: int) -> Iterator[Look]:
    """What the fitting looks make of a person, each when it is finished."""
    looks = {
        name: bounded(editor, code, sliders)
        for name, sliders in fitting_looks(editor.attributes).items()
    }
    if not looks:
        raise EditError("This model has no sliders that a look is made of.")
    z = torch.stack([editor.moved(code, sliders).z for sliders in looks.values()])
    pictures = edited_pictures(editor.sampler, code, z, Sampling(steps))
    for (name, sliders), image in zip(looks.items(), pictures, strict=True):
        yield Look(name, Preset(sliders), image)
