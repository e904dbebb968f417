"""Attributes taken from another photograph: where it stands on the sliders."""

from collections.abc import Sequence

from pdae_app.engine.checks import STRONGEST, by_known_names
from pdae_app.engine.code import Code, EditError
from pdae_app.engine.editor import Editor
from pdae_app.latents.directions import step_to

# As far as the page's sliders go.
FARTHEST = 2.0


def borrowed(
    editor: Editor, code: Code, other: Code, names: Sequence[str], farthest: float = FARTHEST
) -> dict[str, float]:
    """The sliders that carry a photograph to where another one stands on these attributes.

    Args:
        farthest: no slider goes beyond it, at most `STRONGEST`.

    Raises:
        EditError: an attribute that the model lacks, none at all, or a code of another model.
    """
    names = list(by_known_names(dict.fromkeys(names), editor.attributes))
    if not names:
        raise EditError("Say which attributes are to be taken from the other photograph.")
    editor.moved(code, {})
    editor.moved(other, {})  # both are of this model, or say so
    space, most = editor.bundle.latents, min(farthest, STRONGEST)
    here, there = space.logits(code.z), space.logits(other.z)
    found = {}
    for name in names:
        row = space.names.index(name)
        gap = float(there[row] - here[row])
        step = abs(step_to(space.attributes[row], float(here[row]), gap > 0))
        found[name] = round(max(-most, min(most, gap / step)), 2)
    return {name: strength for name, strength in found.items() if strength}
