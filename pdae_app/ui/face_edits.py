"""The faces of one photograph: each keeps its own edit, and all are pasted into it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pdae_app.engine.keep import KeepMask
from pdae_app.ui.framing import FACE
from pdae_app.ui.history import History
from pdae_app.ui.result_panel import Finished, Pasted
from pdae_app.ui.session import Opened


@dataclass(frozen=True)
class FaceEdit:
    """How the sliders of a face stand, what of it stays, and its last finished edit if any."""

    history: History = field(default_factory=History)
    keep: KeepMask | None = None
    pasted: Pasted | None = None


FaceEdits = Mapping[str, FaceEdit]


def left(
    edits: FaceEdits, opened: Opened | None, finished: Finished | None, edit: FaceEdit
) -> FaceEdits:
    """With the edit of the face that is being left, if it had been opened."""
    if opened is None:
        return edits
    before = edits.get(opened.choice, FaceEdit())
    pasted = before.pasted
    if finished is not None:
        request = finished.request
        layer = opened.portrait.layer(finished.image, request.replace)
        pasted = Pasted(layer, request) if request.changes else None
    return {**edits, opened.choice: FaceEdit(edit.history, edit.keep, pasted)}


def others(edits: FaceEdits, opened: Opened) -> dict[str, Pasted]:
    """The edits of the photograph's other faces; the centre and a place by hand stand alone."""
    if not opened.choice.startswith(FACE):
        return {}
    return {
        name: edit.pasted
        for name, edit in edits.items()
        if edit.pasted and name.startswith(FACE) and name != opened.choice
    }
