"""Attributes from another photograph, set on the sliders."""

import gradio as gr

from pdae_app.engine import EditError, Editor
from pdae_app.engine.aims import borrowed, read_only
from pdae_app.engine.groups import grouped
from pdae_app.ui.events import ModelWorkers, long_run
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.photo_input import photo_input
from pdae_app.ui.session import Opened

EVERYTHING = "Everything"


class BorrowPanel:
    """Another photograph, what is taken from it, and the button."""

    def __init__(self, models: Models, model: ModelWorkers, chosen: gr.State, opened: gr.State):
        self.models = models
        self.sliders = gr.State(None)
        with gr.Accordion("Take from another photograph", open=False, elem_id="borrow-panel"):
            self.photo = photo_input("Another photograph", "borrow-photo", 200)
            self.group = gr.Radio(label="What is taken", elem_id="borrow", **_groups(models.first))
            with gr.Row():
                self.run = gr.Button("Take it", size="sm", elem_id="borrow-take")
                self.stop = gr.Button("Stop", size="sm", min_width=60, elem_id="stop-borrow")
            self.status = gr.Markdown(elem_id="borrow-status")
        self.taking = long_run(
            model,
            (self.run, self.stop),
            self.status,
            self.take,
            inputs=[chosen, opened, self.photo, self.group],
            outputs=[self.sliders, self.status],
        )

    def adapted(self, editor: Editor) -> dict:
        """The panel for another model."""
        return {self.group: gr.Radio(**_groups(editor))}

    def take(self, chosen: Chosen, opened: Opened | None, path: str | None, group: str):
        """Yield the sliders that carry the opened photograph there."""
        yield {self.sliders: None}
        if opened is None or path is None:
            raise EditError("Choose both photographs first: yours above, and the other one here.")
        editor = self.models.of(chosen)
        yield {self.status: "Reading the other photograph…"}
        other = read_only(editor, path)
        names = grouped(editor.attributes).get(group, editor.attributes)
        found = borrowed(editor, opened.portrait.code, other, names)
        sliders = dict.fromkeys(names, 0.0) | found  # and none where it stands there already
        yield {self.sliders: sliders, self.status: "Taken: the sliders stand where it stands."}


def _groups(editor: Editor) -> dict:
    groups = list(grouped(editor.attributes))
    return {"choices": [*groups, EVERYTHING], "value": (groups or [EVERYTHING])[0]}
