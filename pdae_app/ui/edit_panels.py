"""The Edit tab's components and states, and how they stand without a picture or another model."""

import gradio as gr

from pdae_app.engine import Editor
from pdae_app.ui.borrow_panel import EVERYTHING, BorrowPanel
from pdae_app.ui.bounded import BoundedSlider
from pdae_app.ui.events import ModelWorkers, Newest, sent_at
from pdae_app.ui.history import History
from pdae_app.ui.keep_panel import KeepPanel
from pdae_app.ui.looks_panel import LooksPanel
from pdae_app.ui.models import Models
from pdae_app.ui.photo_panel import PhotoPanel
from pdae_app.ui.result_panel import ResultPanel
from pdae_app.ui.session import TIME_TO_LIVE
from pdae_app.ui.slider_pool import SliderPool, label
from pdae_app.ui.strip_panel import StripPanel

WELCOME = "Choose a photograph, or click one of the examples."
UNTOUCHED = History()
SLIDER_NOTE = "0: as in the picture. 1: a typical example. -1: a typical opposite."
MAKE_AVERAGE = "Make average…"
SCALE_INFO = (
    "How strongly the picture is steered by what the model read in the photograph: 1 is faithful, "
    "above 1 exaggerates."
)


class EditPanels:
    """What the tab shows, and what it remembers: a visitor's data lies in its states alone."""

    def __init__(self, models: Models, model: ModelWorkers, chosen: gr.State):
        self.models, self.chosen = models, chosen
        self.opened = gr.State(None, time_to_live=TIME_TO_LIVE)
        self.codes = gr.State({}, time_to_live=TIME_TO_LIVE)
        self.history = gr.State(History())
        # In the browser, set together with the sliders: the picture whose they are.
        self.era = gr.Number(None, visible=False)
        # When a slider was let go.
        self.sent = sent_at()
        self.finished = gr.State(None, time_to_live=TIME_TO_LIVE)
        self.rendering = gr.State(Newest())
        self.faces = gr.State({}, time_to_live=TIME_TO_LIVE)
        # Another model opens the photograph that is there, or was chosen meanwhile, anew.
        self.adapted_to = gr.State(models.first.title)
        with gr.Row(elem_id="edit-row"):
            with gr.Column(scale=3, min_width=240, elem_id="photo-column"):
                self.panel = PhotoPanel(models, chosen)
            with gr.Column(scale=5, min_width=320, elem_id="picture-column"):
                self.notice = gr.Markdown("", visible=False, elem_id="notice")
                self.result = ResultPanel()
                self._lay_out_actions()
            with gr.Column(scale=5, min_width=320, elem_id="slider-column"):
                with gr.Tabs():
                    with gr.Tab("Sliders"):
                        self._lay_out_controls()
                    with gr.Tab("Looks"):
                        self.looks = LooksPanel(models, model, chosen, self.opened, self.rendering)
                self.keep = KeepPanel(self.opened)
                self.borrow = BorrowPanel(models, model, chosen, self.opened)
                self.strip = StripPanel(models, model, chosen, self.opened, self.history)

    def _lay_out_actions(self) -> None:
        """What is wanted beside the sliders at all times."""
        small = {"size": "sm", "min_width": 60}
        with gr.Column(elem_id="actions"):
            self.status = gr.Markdown(WELCOME, elem_id="status")
            with gr.Row():
                self.undo = gr.Button("Undo", interactive=False, elem_id="undo", **small)
                self.redo = gr.Button("Redo", interactive=False, elem_id="redo", **small)
                self.result.lay_out_compare()
                self.result.lay_out_again()
                self.stop = gr.Button("Stop", elem_id="stop-edit", **small)
            with gr.Row():
                self.result.lay_out_downloads()

    def _lay_out_controls(self) -> None:
        gr.Markdown(SLIDER_NOTE, elem_classes="small-note")
        self.sliders = SliderPool(self.models.first)
        with gr.Row():
            self.reset = gr.Button("Reset all", size="sm", min_width=80, elem_id="reset")
            self.average = gr.Dropdown(
                label="Make average",
                container=False,
                filterable=False,
                min_width=130,
                elem_id="average",
                **_averages(self.models.first),
            )
            self.result.lay_out_preset()
            self.load_preset = gr.UploadButton(
                "Load preset", file_types=[".json"], size="sm", min_width=80, elem_id="load-preset"
            )
        with gr.Accordion("Advanced", open=False, elem_id="advanced"):
            self.scale = BoundedSlider(
                *(0, 3, 1, 0.05), label="Guidance scale", info=SCALE_INFO, elem_id="scale"
            )
            self.result.lay_out_pasting()

    @property
    def opening(self) -> gr.State:
        """The photograph that is wanted."""
        return self.panel.opening

    @property
    def controls(self) -> list:
        """What the history remembers."""
        return [self.scale, *self.sliders.slots]

    @property
    def moving(self) -> list:
        """What changes when all sliders are set at a time."""
        return [self.history, self.undo, self.redo, self.status, self.average, *self.controls]

    @property
    def wanted(self) -> list:
        """What the newest edit is made of."""
        states = [self.opened, self.opening, self.rendering]
        return [*states, self.result.pasting, self.keep.state, self.history]

    @property
    def emptying(self) -> list:
        """What changes when another photograph, or another model, comes."""
        states = [self.opened, self.history, self.finished, self.keep.state, self.keep.canvas]
        states += [self.faces, self.era, self.undo, self.redo]
        words = [self.notice, self.status]
        parts = [*self.panel.emptying, *self.result.parts, *self.looks.emptying]
        return [*states, *words, *parts, *self.controls]

    def emptied(self, editor: Editor, status: str = WELCOME, history: History = UNTOUCHED) -> dict:
        """The page without a picture: everything on the right empty, sliders as in a history."""
        return {
            **dict.fromkeys([self.opened, self.finished, self.keep.state, self.keep.canvas]),
            self.faces: {},
            **self.panel.emptied(),
            **self.result.emptied(),
            **self.looks.emptied(),
            self.notice: gr.Markdown("", visible=False),
            self.status: status,
            **self.positions(editor, history),
        }

    def positions(self, editor: Editor, history: History) -> dict:
        """The sliders as they stand in a history."""
        now = history.now
        return {
            **self.remembered(history),
            self.scale: now.scale,
            **self.sliders.at(editor, now.sliders),
        }

    def remembered(self, history: History) -> dict:
        """A history, and which ways it can be gone through."""
        return {
            self.history: history,
            self.undo: gr.Button(interactive=bool(history.past)),
            self.redo: gr.Button(interactive=bool(history.future)),
        }

    @property
    def choosing_sliders(self) -> list:
        """What changes when there are other sliders."""
        choices = [self.average, self.strip.attribute, self.borrow.group]
        return [*self.sliders.slots, *self.sliders.heads, *choices]

    @property
    def adapting(self) -> list:
        """What changes with the model."""
        others = [self.adapted_to, self.panel.photo, self.panel.examples]
        return [*self.emptying, *self.choosing_sliders, *others]

    def adapted(self, editor: Editor) -> dict:
        """The tab for another model."""
        return {
            **self.emptied(editor),
            **self.panel.adapted(editor),
            **self.adapted_sliders(editor),
            self.adapted_to: editor.title,
        }

    def adapted_sliders(self, editor: Editor, sliders: dict[str, float] | None = None) -> dict:
        """The sliders of an editor, and the strip's choice of them."""
        choices = {self.average: gr.Dropdown(**_averages(editor))}
        controls = self.sliders.adapted(editor, sliders) | self.strip.adapted(editor)
        return controls | self.borrow.adapted(editor) | choices


def _averages(editor: Editor) -> dict:
    """The choice of what is made average; it goes back to the first entry, which says so."""
    choices = [(label(name), name) for name in editor.attributes]
    return {
        "choices": [(MAKE_AVERAGE, MAKE_AVERAGE), *choices, (EVERYTHING, EVERYTHING)],
        "value": MAKE_AVERAGE,
        "visible": bool(choices),
    }
