"""The tab for sliders of one's own: for this session, or to keep as a small file."""

import time

import gradio as gr
from gradio.events import Dependency

from pdae_app.engine import EditError
from pdae_app.engine.own_slider import fit_slider, score_in_words, skipped_in_words
from pdae_app.engine.sliders import load_slider_for
from pdae_app.latents.few_shot import FewShot
from pdae_app.latents.slider_file import LONGEST_NAME
from pdae_app.ui.directions_panel import DirectionsPanel
from pdae_app.ui.edit_panels import EditPanels
from pdae_app.ui.events import HIDDEN, LAST_WINS, ModelWorkers, explained, in_words, long_run
from pdae_app.ui.files import slider_file
from pdae_app.ui.history import History
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.own_slider_kinds import Numbers, Pairs, TwoKinds
from pdae_app.ui.slider_pool import check_room

WHERE = "It stands in the **Edit** tab, behind the others."


class OwnSliderTab:
    """Pictures in, a slider out: it appears in the Edit tab at once."""

    def __init__(self, models: Models, model: ModelWorkers, chosen: gr.State, edit: EditPanels):
        self.models, self.chosen, self.edit = models, chosen, edit
        self.fitted = gr.State(None)
        with gr.Row(elem_id="own-top"):
            self.name = gr.Textbox(
                label="Name of the slider", max_length=LONGEST_NAME, scale=3, elem_id="own-name"
            )
            with gr.Column(scale=2, min_width=260):
                self.save = gr.DownloadButton(
                    "Download the slider", size="sm", interactive=False, elem_id="own-save"
                )
                self.load = gr.UploadButton(
                    "Load a slider", file_types=[".safetensors"], size="sm", elem_id="own-load"
                )
        self.status = gr.Markdown(elem_id="own-status")
        with gr.Tabs(elem_id="own-kinds"):
            self.kinds = [self._lay_out(kind) for kind in (TwoKinds, Pairs, Numbers)]
            with gr.Tab("Without examples"):
                self.directions = DirectionsPanel(models, model, chosen, edit.opened)
        self._connect(model)

    def _lay_out(self, kind) -> tuple:
        """What a kind of slider is made from, and its buttons."""
        with gr.Tab(kind.title):
            laid_out = kind(self.models.first)
            with gr.Row():
                make = gr.Button(
                    "Make the slider", variant="primary", elem_id=f"own-make{kind.suffix}"
                )
                stop = gr.Button("Stop", elem_id=f"stop-own{kind.suffix}")
        return laid_out, (make, stop)

    @property
    def adapting(self) -> list:
        """What changes with the model."""
        return [part for kind, _ in self.kinds for part in kind.adapting]

    def adapted(self, editor) -> dict:
        """The tab for another model."""
        return {
            part: value for kind, _ in self.kinds for part, value in kind.adapted(editor).items()
        }

    def _connect(self, model: ModelWorkers) -> None:
        quiet = {"queue": False, "show_progress": "hidden", **HIDDEN, **LAST_WINS}
        made = [self._made(model, kind, buttons) for kind, buttons in self.kinds]
        outputs = [self.fitted, self.status]
        made.append(
            self.load.upload(explained(self.loaded), [self.chosen, self.load], outputs, **quiet)
        )
        panel = self.directions
        made.append(
            panel.keep.click(
                self.kept,
                [self.chosen, self.name, panel.found, panel.picked],
                [*outputs, panel.status],
                **quiet,
            )
        )
        for fitted in made:
            fitted.success(
                explained(self.show),
                [self.chosen, self.edit.history, self.fitted],
                [self.chosen, self.save, *self.edit.choosing_sliders],
                **quiet,
            )

    def _made(self, model: ModelWorkers, kind, buttons: tuple) -> Dependency:
        """A run that makes a slider of one kind."""

        def fit(chosen: Chosen, name: str, *given):
            yield from self.fit(chosen, name, kind.request(name, *given))

        return long_run(
            model,
            buttons,
            self.status,
            fit,
            inputs=[self.chosen, self.name, *kind.inputs],
            outputs=[self.fitted, self.status],
        )

    def fit(self, chosen: Chosen, name: str, request):
        """Encode the pictures and fit the direction."""
        editor, start = self.models.of(chosen), time.monotonic()
        yield {self.fitted: None}
        check_room(name, editor, chosen)
        for step in fit_slider(editor, request):
            yield {self.status: f"Reading picture {step.read + 1} of {step.pictures}…"}
        seconds, fitted = time.monotonic() - start, step.fitted
        status = f"Done in {seconds:.1f} s. {score_in_words(fitted)}"
        status = f"{status} {skipped_in_words(step.skipped)} {WHERE}"
        yield {self.fitted: (chosen.title, fitted), self.status: status}

    def loaded(self, chosen: Chosen, path: str) -> dict:
        """A slider from its file."""
        fitted = load_slider_for(self.models.of(chosen).bundle, path)
        return self._added(chosen, fitted, "is loaded")

    def kept(self, chosen: Chosen, name: str, found: list, picked: int | None) -> dict:
        """A direction that was picked, under the name that it was given; or what is missing."""
        try:
            fitted = self.directions.named(chosen, name, found, picked)
            return self._added(chosen, fitted, "is kept")
        except EditError as error:
            return {self.directions.status: in_words(error)}

    def _added(self, chosen: Chosen, fitted: FewShot, what: str) -> dict:
        check_room(fitted.attribute.name, self.models.of(chosen), chosen)
        status = f"{fitted.attribute.name} {what}. {WHERE}"
        return {self.fitted: (chosen.title, fitted), self.status: status}

    def show(self, chosen: Chosen, history: History, made: tuple[str, FewShot] | None) -> dict:
        """Put the slider into the Edit tab, where the others stay as they are."""
        if made is None or made[0] != chosen.title:  # another model was chosen meanwhile
            return {self.save: gr.skip()}
        fitted = made[1]
        chosen = chosen.with_slider(fitted)
        editor = self.models.of(chosen)
        return {
            self.chosen: chosen,
            self.save: gr.DownloadButton(value=slider_file(editor, fitted), interactive=True),
            **self.edit.adapted_sliders(editor, dict(history.now.sliders)),
        }
