"""The names of the squares of a photograph: its faces, by hand, the centre."""

import json

from pdae_app.engine.framing import Eyes, Photograph, Square
from pdae_app.faces.align import FRAMINGS
from pdae_app.faces.photo import PhotoError, opened

FACE = "Face "
CENTER = "Centre square"
BY_HAND = "By hand: click on both eyes"


def squares(photograph: Photograph, framing: str) -> dict[str, Square]:
    """The choices by name, the largest face first, the centre square last.

    `framing` is the model's own (see `FRAMINGS`); a model of no faces has the centre square alone.
    """
    count = 0 if FRAMINGS[framing] is None else len(photograph.faces)
    faces = {
        f"{FACE}{i}" + (" (largest)" if i == 1 and count > 1 else ""): Square(face=i)
        for i in range(1, count + 1)
    }
    return faces | {CENTER: Square(center=True)}


def made_here(path: str) -> bool:
    """Whether the file is a picture that the model drew from a seed: it is its square already."""
    try:
        with opened(path) as image:
            recipe = json.loads(image.info.get("Description", "{}"))
    except (PhotoError, ValueError, TypeError, RecursionError):
        return False
    return (
        isinstance(recipe, dict)
        and str(recipe.get("tool")).startswith("pdae_app ")
        and ("seed" in recipe)
    )


def chosen_square(photograph: Photograph, framing: str, choice: str, eyes: Eyes) -> Square | None:
    """The square of a choice; None while the eyes are still to be clicked on.

    None, too, where the choice is another picture's, whose faces are still on the page.
    """
    if choice == BY_HAND:
        return Square(eyes=eyes) if len(eyes) == 2 else None
    return squares(photograph, framing).get(choice)
