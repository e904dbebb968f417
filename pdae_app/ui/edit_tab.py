"""The Edit tab: a photograph in, sliders, the edit out, coarse first and then final."""

import gradio as gr

from pdae_app.ui.edit_panels import EditPanels
from pdae_app.ui.events import HIDDEN, ModelWorkers, stops
from pdae_app.ui.models import Models
from pdae_app.ui.opening import PhotographOpening
from pdae_app.ui.rendering import Rendering

# On a telephone, picture and sliders lie a screen below the photographs.
TO_THE_PICTURE = """() => {
  const pictures = document.querySelector("#pictures");
  if (matchMedia("(max-width: 700px)").matches) pictures?.scrollIntoView({ behavior: "smooth" });
}"""


class EditTab:
    """The tab's panels, and what happens between them."""

    def __init__(self, models: Models, model: ModelWorkers, chosen: gr.State):
        self.panels = panels = EditPanels(models, model, chosen)
        self.rendering = Rendering(panels, model)
        self.opening = PhotographOpening(panels, self.rendering)
        openings = self.opening.connect(model)
        for opened in openings:
            opened.success(None, js=TO_THE_PICTURE)
        rendered = [self.rendering.after(opened, **HIDDEN) for opened in openings]
        running = [*openings, *rendered, *self.rendering.connect()]
        stops(
            panels.stop,
            [panels.opening, panels.rendering],
            running,
            fn=self.rendering.stopped,
            inputs=[
                *(chosen, panels.opening, panels.rendering),
                *(panels.opened, panels.history, panels.finished),
            ],
            outputs=[*panels.moving, panels.result.face],
        )
