"""Where an edit is to carry a person on some attributes: to the average, or where another stands.

An aim is a logit of an attribute's classifier, so that the same aims suit everybody; the sliders
that reach it are another's for every person.
"""

from collections.abc import Sequence

from pdae_app.engine.checks import by_known_names
from pdae_app.engine.code import Code, EditError
from pdae_app.engine.editor import Editor
from pdae_app.engine.framing import Square, frame
from pdae_app.faces.photo import Source
from pdae_app.latents.directions import FARTHEST

# z alone is wanted: one step of the inversion is made and thrown away.
ONE_STEP = 1


def average(editor: Editor, names: Sequence[str] = ()) -> dict[str, float]:
    """The logits of the mean code, on these attributes or on all.

    Raises:
        EditError: an attribute that the model lacks, or a model without any.
    """
    space = editor.bundle.latents
    known = _known(editor, names)
    return {name: space.attributes[space.names.index(name)].bias for name in known}


def standing_of(editor: Editor, code: Code, names: Sequence[str] = ()) -> dict[str, float]:
    """The logits of another person's code, on these attributes or on all.

    Raises:
        EditError: an attribute that the model lacks, or a code of another model.
    """
    known = _known(editor, names)
    z = editor.moved(code, {}).z  # of this model, or it says so
    logits = dict(zip(editor.attributes, editor.bundle.latents.logits(z).tolist(), strict=True))
    return {name: logits[name] for name in known}


def averaged(editor: Editor, code: Code, names: Sequence[str] = ()) -> dict[str, float]:
    """The sliders that make these attributes of a person average; all, where none is named.

    Raises:
        EditError: see `average`; a code of another model.
    """
    z = editor.moved(code, {}).z
    return editor.bundle.latents.sliders_to(z, average(editor, names))


def borrowed(
    editor: Editor, code: Code, other: Code, names: Sequence[str], farthest: float = FARTHEST
) -> dict[str, float]:
    """The sliders that carry a photograph to where another one stands on these attributes.

    Raises:
        EditError: see `standing_of`.
    """
    aims = standing_of(editor, other, names)
    return editor.bundle.latents.sliders_to(editor.moved(code, {}).z, aims, farthest)


def read_only(editor: Editor, source: Source, square: Square | None = None) -> Code:
    """The code of a photograph of which z alone is wanted.

    Raises:
        PhotoError: the picture cannot be used.
    """
    framed = frame(source, editor.framing, square or Square())
    return editor.encode(framed, ONE_STEP, iterations=0)


def _known(editor: Editor, names: Sequence[str]) -> list[str]:
    if not editor.attributes:
        raise EditError("This model has no sliders, so nothing can be made average or taken over.")
    return list(by_known_names(dict.fromkeys(names or editor.attributes), editor.attributes))
