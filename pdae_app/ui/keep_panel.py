"""The keep-brush: what is painted over the picture stays as it is."""

import gradio as gr
from PIL import Image

from pdae_app.engine import EditError
from pdae_app.engine.keep import KeepMask
from pdae_app.engine.portrait import VIEW_SIDE, Portrait
from pdae_app.ui.canvas import Canvas
from pdae_app.ui.events import HIDDEN, LAST_WINS, explained
from pdae_app.ui.session import TIME_TO_LIVE, Opened

NOTE = (
    "Paint over what is to stay, such as glasses, hair or the background, then press *Keep what is "
    "painted*. The edit goes on around it; the seam is soft."
)


class KeepPanel:
    """A canvas over the square, and the mask that was painted."""

    def __init__(self, opened: gr.State):
        self.opened = opened
        self.state = gr.State(None, time_to_live=TIME_TO_LIVE)
        with gr.Accordion("Keep parts of the picture", open=False, elem_id="keep-panel"):
            gr.Markdown(NOTE, elem_classes="small-note")
            self.canvas = Canvas(
                label="Paint what is to stay",
                format="png",
                sources=(),
                transforms=(),
                layers=False,
                brush=gr.Brush(colors=["#14b8a6cc"], default_size=40, color_mode="fixed"),
                canvas_size=(VIEW_SIDE, VIEW_SIDE),
                fixed_canvas=True,
                buttons=[],
                elem_id="keep-canvas",
            )
            with gr.Row():
                self.take = gr.Button("Keep what is painted", size="sm", elem_id="keep-take")
                self.drop = gr.Button("Keep nothing", size="sm", elem_id="keep-drop")
        quiet = {"show_progress": "hidden", "queue": False, **HIDDEN, **LAST_WINS}
        # The canvas's own bin takes the picture away too.
        self.canvas.clear(self._cleared, opened, [self.state, self.canvas], **quiet)
        self.changes = (
            self.take.click(explained(self._painted), self.canvas, self.state, **quiet),
            self.drop.click(self._cleared, opened, [self.state, self.canvas], **quiet),
        )

    def over(self, portrait: Portrait) -> dict:
        """The canvas's value: the square, with nothing painted."""
        return {"background": portrait.view, "layers": [], "composite": portrait.view}

    def _painted(self, layers: list[Image.Image]) -> KeepMask | None:
        alphas = [layer.getchannel("A").resize((VIEW_SIDE, VIEW_SIDE)) for layer in layers]
        if not any(alpha.getbbox() for alpha in alphas):
            message = "Nothing is painted yet: draw over the part that is to stay."
            raise EditError(message)
        united = Image.new("L", (VIEW_SIDE, VIEW_SIDE))
        for alpha in alphas:
            united.paste(255, mask=alpha)
        return KeepMask.painted(united)

    def _cleared(self, opened: Opened | None) -> tuple:
        return None, self.over(opened.portrait) if opened else None
