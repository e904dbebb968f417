"""Which square of a photograph the model sees: one of its faces, by hand, or the centre."""

import json

from PIL import Image

from pdae_app.engine import Editor
from pdae_app.engine.photo_edit import framed_by_eyes
from pdae_app.faces.align import FRAMINGS, Alignment, align_face, center_square
from pdae_app.faces.detect import detect_faces
from pdae_app.faces.photo import PhotoError, opened

CENTER = "Centre square"
BY_HAND = "By hand: click on both eyes"

Eyes = tuple[tuple[float, float], ...]


def framings(photo: Image.Image, framing: str) -> dict[str, Alignment]:
    """The choices by name, the largest face first, the centre square last.

    `framing` is the model's own (see `FRAMINGS`); a model of no faces has the centre square alone.
    """
    faces = [] if FRAMINGS[framing] is None else detect_faces(photo)
    choices = {
        f"Face {i}" + (" (largest)" if i == 1 and len(faces) > 1 else ""): align_face(face, framing)
        for i, face in enumerate(faces, 1)
    }
    return choices | {CENTER: center_square(photo)}


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


def chosen_alignment(
    editor: Editor, photo: Image.Image, framing: str, eyes: Eyes
) -> Alignment | None:
    """The square of a choice; None while the eyes are still to be clicked on.

    None, too, where the choice is another picture's, whose faces are still on the page.
    """
    if framing == BY_HAND:
        return framed_by_eyes(editor, *eyes) if len(eyes) == 2 else None
    return framings(photo, editor.framing).get(framing)
