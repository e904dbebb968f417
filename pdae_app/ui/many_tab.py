"""The Many pictures tab: one preset on several photographs, and a zip of the results."""

import time
from pathlib import Path

import gradio as gr
from PIL import Image

from pdae_app.engine import EditError
from pdae_app.engine.photo_edit import QUALITY, Outcome, edit_many
from pdae_app.engine.preset import Preset, parse_preset
from pdae_app.ui.events import ModelThread, long_run
from pdae_app.ui.files import preview
from pdae_app.ui.history import History
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.result_zip import ResultZip

MOST = 100
SHOWN = 24
THUMBNAIL = (384, 384)
NOTE = """
Several photographs, one edit: that of a preset's file, or, without one, of the sliders as they
stand in the **Edit** tab. The largest face of each is edited.
"""


class ManyTab:
    """Photographs and a preset in, a zip out."""

    def __init__(self, models: Models, model: ModelThread, chosen: gr.State, history: gr.State):
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
            [chosen, history, self.photos, self.preset, self.quality, self.center],
            [self.gallery, self.save, self.status],
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
        given = Preset(dict(history.now.sliders), history.now.scale)
        if preset is not None:
            given = parse_preset(Path(preset).read_bytes(), editor.attributes)
        paths = checked_many(paths, given)
        done: list[Outcome] = []
        shown: list[tuple[str, str]] = []
        yield {self.gallery: [], self.save: gr.DownloadButton(value=None, interactive=False)}
        with ResultZip(editor, given) as archive:
            for outcome in edit_many(editor, paths, given, QUALITY[quality], center):
                done.append(archive.add(outcome))
                if done[-1].error is None:
                    shown = [*shown, (thumbnail(outcome.whole), outcome.name)][-SHOWN:]
                told = f"{len(done)} of {len(paths)}…{errors_of(done)}"
                yield {self.gallery: shown, self.status: told}
            path = archive.finish()
        good = sum(outcome.error is None for outcome in done)
        told = f"{good} of {len(done)} done in {time.monotonic() - start:.1f} s.{errors_of(done)}"
        button = gr.DownloadButton(value=path, interactive=path is not None)
        yield {self.save: button, self.status: told}


def checked_many(paths: list[str] | None, preset: Preset) -> list[str]:
    """The photographs, each once: something to do, and not too much.

    Raises:
        EditError: no photographs, too many, or an edit that changes nothing.
    """
    if not paths:
        raise EditError("Choose photographs first.")
    if len(paths) > MOST:
        raise EditError(f"Use at most {MOST} photographs at once, not {len(paths)}.")
    if not preset.sliders and preset.scale == 1:
        raise EditError("Nothing would change: set a slider in the Edit tab, or give a preset.")
    return list(dict.fromkeys(paths))


def thumbnail(image: Image.Image) -> str:
    """The path of the picture, small."""
    small = image.copy()
    small.thumbnail(THUMBNAIL)
    return preview(small)


def errors_of(done: list[Outcome]) -> str:
    """A line for every picture that could not be edited."""
    return "".join(f"\n- **{o.name}**: {o.error}" for o in done if o.error)
