"""The Edit tab: a photograph in, sliders, the edit out, coarse first and then final."""

import gradio as gr

from pdae_app.ui.edit_panels import EditPanels
from pdae_app.ui.events import AT_ONCE, HIDDEN, ModelWorkers, last_word, stops
from pdae_app.ui.models import Models
from pdae_app.ui.opening import PhotographOpening
from pdae_app.ui.rendering import Rendering

# On a telephone, the picture and its sliders lie a screen below the photograph that was opened.
TO_THE_PICTURE = """() => {
  const opened = document.querySelector("#result img");
  if (opened && matchMedia("(max-width: 700px)").matches) {
    document.querySelector("#pictures").scrollIntoView();
  }
}"""


class EditTab:
    """The tab's panels, and what happens between them."""

    def __init__(self, models: Models, model: ModelWorkers, chosen: gr.State):
        self.panels = panels = EditPanels(models, model, chosen)
        self.rendering = Rendering(panels, model)
        self.opening = PhotographOpening(panels, self.rendering)
        openings = self.opening.connect(model)
        rendered = [self.rendering.after(opened, **HIDDEN) for opened in openings]
        rendered[0].success(None, js=TO_THE_PICTURE)
        running = [*openings, *rendered, *self.rendering.connect()]
        back = {
            "fn": self.rendering.stopped,
            "inputs": [
                *(chosen, panels.opening, panels.rendering),
                *(panels.opened, panels.history, panels.finished),
            ],
            "outputs": [*panels.moving, panels.result.face],
        }
        pressed = stops(panels.stop, [panels.opening, panels.rendering], running, **back)
        # What was not yet on its way does not fail.
        pressed.success(**back | {"fn": self.rendering.set_back}, **AT_ONCE)
        for opened in openings:
            last_word(opened, panels.opening, panels.status)
