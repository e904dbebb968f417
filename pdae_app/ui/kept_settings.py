"""How a visitor set the Edit tab, kept in the browser over a reload: names and numbers, no face."""

import gradio as gr

from pdae_app.engine import QUALITY, EditError, Editor
from pdae_app.engine.checks import is_number
from pdae_app.engine.preset import Preset, parse_sliders
from pdae_app.export import STILLS
from pdae_app.latents.directions import FARTHEST
from pdae_app.ui.edit_panels import EditPanels
from pdae_app.ui.events import AT_ONCE
from pdae_app.ui.history import History
from pdae_app.ui.models import Chosen
from pdae_app.ui.result_panel import ADD, REPLACE

AS_LAST_TIME = "The sliders stand as you left them. Choose a photograph."
# As far as the page's guidance goes.
LARGEST_SCALE = 3.0


class KeptSettings:
    """What the browser remembers: written after every change, read when the page opens."""

    def __init__(self, panels: EditPanels):
        self.panels = panels
        # The secret is no secret: nothing here needs one, and a new one would forget old settings.
        self.stored = gr.BrowserState(None, storage_key="pdae_app settings", secret="settings")
        kept = [panels.panel.quality, panels.result.kind, panels.result.pasting]
        self.keeping = {
            "fn": self.keep,
            "inputs": [panels.history, *kept],
            "outputs": self.stored,
            **AT_ONCE,
        }
        self.restoring = {
            "fn": self.restore,
            "inputs": [panels.chosen, self.stored],
            "outputs": [*panels.moving, *kept],
            **AT_ONCE,
        }
        gr.on([choice.input for choice in kept], **self.keeping)

    def keep(self, history: History, quality: str, kind: str, pasting: str) -> dict:
        """The settings as they are now."""
        now = history.now
        edit = {"sliders": dict(now.sliders), "scale": now.scale}
        return edit | {"quality": quality, "kind": kind, "pasting": pasting}

    def restore(self, chosen: Chosen, stored: object) -> dict:
        """The page as the browser remembers it; what it cannot be is left out."""
        panels, editor = self.panels, self.panels.models.of(chosen)
        if not isinstance(stored, dict):
            return {panels.status: gr.skip()}
        preset = remembered_preset(editor, stored)
        choices = {
            panels.panel.quality: ("quality", QUALITY),
            panels.result.kind: ("kind", STILLS),
            panels.result.pasting: ("pasting", (ADD, REPLACE)),
        }
        found = {
            choice: stored[key]
            for choice, (key, known) in choices.items()
            if isinstance(stored.get(key), str) and stored[key] in known
        }
        status = {panels.status: AS_LAST_TIME} if preset != Preset() else {}
        return panels.positions(editor, History(preset)) | found | status


def remembered_preset(editor: Editor, stored: dict) -> Preset:
    """The sliders in what a browser remembers; those that the model lacks are left out."""
    sliders, scale = stored.get("sliders"), stored.get("scale")
    if not isinstance(sliders, dict):
        return Preset()
    known = {name: value for name, value in sliders.items() if name in editor.attributes}
    try:
        known = parse_sliders(known, editor.attributes)
    except EditError:
        return Preset()
    known = {name: max(-FARTHEST, min(FARTHEST, value)) for name, value in known.items()}
    good = is_number(scale) and 0 <= scale <= LARGEST_SCALE
    return Preset(known, float(scale) if good else 1.0)
