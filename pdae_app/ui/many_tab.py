"""The Many pictures tab: one preset on several photographs, and a zip of the results."""

import time

import gradio as gr
from PIL import Image

from pdae_app.engine import QUALITY
from pdae_app.engine.carry_out import Outcome, check_many, edit_many
from pdae_app.engine.framing import Square
from pdae_app.engine.preset import read_preset
from pdae_app.engine.quality import quality_steps
from pdae_app.engine.requests import EditRequest
from pdae_app.ui.events import ModelWorkers, long_run
from pdae_app.ui.files import preview
from pdae_app.ui.history import History
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.result_zip import ResultZip

SHOWN = 24
THUMBNAIL = (384, 384)
NOTE = """
Several photographs, one edit: that of a preset's file, or, without one, of the sliders as they
stand in the **Edit** tab. The largest face of each is edited.
"""


class ManyTab:
    """Photographs and a preset in, a zip out."""

    def __init__(self, models: Models, model: ModelWorkers, chosen: gr.State, history: gr.State):
        self.models = models
        gr.Markdown(NOTE)
        with gr.Row():
            self.photos = gr.File(
                label="Photographs",
                file_count="multiple",
                file_types=["image"],
                height=200,
                elem_id="many-photos",
            )
            with gr.Column():
                self.preset = gr.File(
                    label="Preset (optional)",
                    file_types=[".json"],
                    height=130,
                    elem_id="many-preset",
                )
                self.quality = gr.Radio(list(QUALITY), value="Fast", label="Quality")
                self.center = gr.Checkbox(label="Use the centre square instead of a face")
        with gr.Row():
            self.run = gr.Button("Edit them all", variant="primary", elem_id="many")
            self.stop = gr.Button("Stop", elem_id="stop-many")
            self.save = gr.DownloadButton("Save the zip", interactive=False, elem_id="many-save")
        self.status = gr.Markdown(elem_id="many-status")
        self.gallery = gr.Gallery(
            label="Results", columns=6, fit_columns=False, height=260, elem_id="many-gallery"
        )
        long_run(
            model,
            (self.run, self.stop),
            self.status,
            self.edit,
            inputs=[chosen, history, self.photos, self.preset, self.quality, self.center],
            outputs=[self.gallery, self.save, self.status],
        )

    def edit(
        self,
        chosen: Chosen,
        history: History,
        paths,
        preset: str | None,
        quality: str,
        center: bool,
    ):
        """Edit one after the other; yields what is done and what went wrong."""
        editor, start = self.models.of(chosen), time.monotonic()
        given = history.now
        if preset is not None:
            given = read_preset(preset, editor.attributes)
        request = EditRequest(given, quality_steps(quality), Square(center=center))
        paths = check_many(paths, request)
        done: list[Outcome] = []
        shown: list[tuple[str, str]] = []
        yield {self.gallery: [], self.save: gr.DownloadButton(value=None, interactive=False)}
        with ResultZip(request.provenance(editor.title)) as archive:
            for outcome in edit_many(editor, paths, request):
                done.append(archive.add(outcome))
                if done[-1].error is None:
                    shown = [*shown, (thumbnail(outcome.whole), outcome.name)][-SHOWN:]
                status = f"{len(done)} of {len(paths)}…{error_list(done)}"
                yield {self.gallery: shown, self.status: status}
            path = archive.finish()
        good = sum(outcome.error is None for outcome in done)
        seconds = time.monotonic() - start
        status = f"{good} of {len(done)} done in {seconds:.1f} s.{error_list(done)}"
        button = gr.DownloadButton(value=path, interactive=path is not None)
        yield {self.save: button, self.status: status}


def thumbnail(image: Image.Image) -> str:
    """The path of the picture, small."""
    small = image.copy()
    small.thumbnail(THUMBNAIL)
    return preview(small)


def error_list(done: list[Outcome]) -> str:
    """A line for every picture that could not be edited."""
    return "".join(f"\n- **{o.name}**: {o.error}" for o in done if o.error)
