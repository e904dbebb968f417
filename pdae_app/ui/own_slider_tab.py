"""The tab for a slider of one's own: from a few pictures, for this session or to keep."""

import time

import gradio as gr

from pdae_app.engine.own_slider import SliderRequest, fit_slider, skipped_in_words
from pdae_app.engine.sliders import load_slider_for
from pdae_app.latents.few_shot import FewShot
from pdae_app.latents.slider_file import LONGEST_NAME
from pdae_app.ui.edit_panels import EditPanels
from pdae_app.ui.events import HIDDEN, LAST_WINS, ModelThread, explained, long_run
from pdae_app.ui.files import slider_file
from pdae_app.ui.history import History
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.slider_pool import check_room

WHERE = "It stands in the **Edit** tab, behind the others."
NOTE = """
Upload at least five pictures of people who **have** what the slider is to change, and, better,
at least five of people who do **not**. Without the second kind they are compared with people whom
the model makes up. Take care that the two kinds differ in nothing else: same light, same mix of
ages. The score says how well the slider's direction tells pictures apart that it was not made from:
0.5 is chance, 1 perfect.
"""


class OwnSliderTab:
    """Pictures in, a slider out: it appears in the Edit tab at once."""

    def __init__(self, models: Models, model: ModelThread, chosen: gr.State, edit: EditPanels):
        self.models, self.chosen, self.edit = models, chosen, edit
        self.fitted = gr.State(None)
        gr.Markdown(NOTE)
        self.name = gr.Textbox(
            label="Name of the slider", max_length=LONGEST_NAME, elem_id="own-name"
        )
        with gr.Row():
            files = {"file_count": "multiple", "file_types": ["image"], "height": 180}
            self.having = gr.File(label="Pictures that have it", elem_id="own-with", **files)
            self.lacking = gr.File(label="Pictures that do not", elem_id="own-without", **files)
        with gr.Row():
            self.make = gr.Button("Make the slider", variant="primary", elem_id="own-make")
            self.stop = gr.Button("Stop", elem_id="stop-own")
            self.save = gr.DownloadButton("Download", interactive=False, elem_id="own-save")
            self.load = gr.UploadButton(
                "Load a slider", file_types=[".safetensors"], elem_id="own-load"
            )
        self.status = gr.Markdown(elem_id="own-status")
        self._connect(model)

    def _connect(self, model: ModelThread) -> None:
        making = long_run(
            model,
            (self.make, self.stop),
            self.status,
            self.fit,
            inputs=[self.chosen, self.name, self.having, self.lacking],
            outputs=[self.fitted, self.status],
        )
        quiet = {"queue": False, "show_progress": "hidden", **HIDDEN, **LAST_WINS}
        loading = self.load.upload(
            explained(self.loaded), [self.chosen, self.load], [self.fitted, self.status], **quiet
        )
        sliders = [*self.edit.sliders.slots, *self.edit.sliders.heads]
        outputs = [
            self.chosen,
            self.save,
            *sliders,
            self.edit.strip.attribute,
            self.edit.borrow.group,
        ]
        for fitted in (making, loading):
            fitted.success(
                explained(self.show),
                [self.chosen, self.edit.history, self.fitted],
                outputs,
                **quiet,
            )

    def fit(self, chosen: Chosen, name: str, having, lacking):
        """Encode the pictures and fit the direction."""
        editor, start = self.models.of(chosen), time.monotonic()
        yield {self.fitted: None}
        request = SliderRequest(name, having or (), lacking or ())
        check_room(name, editor, chosen)
        for step in fit_slider(editor, request):
            yield {self.status: f"Reading picture {step.read + 1} of {step.pictures}…"}
        seconds, fitted = time.monotonic() - start, step.fitted
        status = f"Done in {seconds:.1f} s. {score(fitted)} {skipped_in_words(step.skipped)}"
        yield {self.fitted: (chosen.title, fitted), self.status: f"{status} {WHERE}"}

    def loaded(self, chosen: Chosen, path: str) -> dict:
        """A slider from its file."""
        editor = self.models.of(chosen)
        fitted = load_slider_for(editor.bundle, path)
        check_room(fitted.attribute.name, editor, chosen)
        status = f"{fitted.attribute.name} is loaded. {WHERE}"
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


def score(fitted: FewShot) -> str:
    """The held-out score in words."""
    facts = fitted.attribute
    others = f"{facts.negatives} without" if facts.negatives else "made-up people"
    text = f"Score {facts.auroc:.2f} on pictures left out, {facts.positives} with it, {others}."
    return text if facts.auroc > 0.7 else f"{text} That is little better than chance: use more."
