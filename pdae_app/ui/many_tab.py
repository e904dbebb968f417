"""The Many pictures tab: one preset on several photographs, and a zip of the results."""

import time
import zipfile
from io import BytesIO
from pathlib import Path

import gradio as gr
from PIL import Image

from pdae_app.engine import EditError, Editor
from pdae_app.engine.photo_edit import QUALITY, Outcome, edit_many
from pdae_app.engine.preset import Preset, parse_preset
from pdae_app.export.credentials import signed_still
from pdae_app.export.provenance import Provenance
from pdae_app.ui.events import ModelThread, long_run
from pdae_app.ui.files import preview, stored
from pdae_app.ui.history import History
from pdae_app.ui.models import Chosen, Models

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
        check_many(paths, given)
        done: list[Outcome] = []
        shown: list[tuple[str, str]] = []
        yield {self.gallery: [], self.save: gr.DownloadButton(value=None, interactive=False)}
        for outcome in edit_many(editor, paths, given, QUALITY[quality], center):
            done.append(outcome)
            if outcome.whole is not None:
                shown = [*shown, (thumbnail(outcome.whole), outcome.name)][-SHOWN:]
            told = f"{len(done)} of {len(paths)}…{errors_of(done)}"
            yield {self.gallery: shown, self.status: told}
        path = zipped(editor, given, done)
        good = sum(outcome.whole is not None for outcome in done)
        told = f"{good} of {len(done)} done in {time.monotonic() - start:.1f} s.{errors_of(done)}"
        button = gr.DownloadButton(value=path, interactive=path is not None)
        yield {self.save: button, self.status: told}


def check_many(paths: list[str] | None, preset: Preset) -> None:
    """Something to do, and not too much.

    Raises:
        EditError: no photographs, too many, or an edit that changes nothing.
    """
    if not paths:
        raise EditError("Choose photographs first.")
    if len(paths) > MOST:
        raise EditError(f"Use at most {MOST} photographs at once, not {len(paths)}.")
    if not preset.sliders and preset.scale == 1:
        raise EditError("Nothing would change: set a slider in the Edit tab, or give a preset.")


def thumbnail(image: Image.Image) -> str:
    """The path of the picture, small."""
    small = image.copy()
    small.thumbnail(THUMBNAIL)
    return preview(small)


def errors_of(done: list[Outcome]) -> str:
    """A line for every picture that could not be edited."""
    return "".join(f"\n- **{o.name}**: {o.error}" for o in done if o.error)


def zipped(editor: Editor, preset: Preset, done: list[Outcome]) -> str | None:
    """The path of a zip of the finished pictures; None where there are none."""
    finished = [outcome for outcome in done if outcome.whole is not None]
    if not finished:
        return None
    recipe = Provenance(editor.title, preset.recipe)
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, outcome in zip(unique_names(finished), finished, strict=True):
            archive.writestr(name, signed_still(outcome.whole, recipe))
    return stored(buffer.getvalue(), "edited.zip")


def unique_names(outcomes: list[Outcome]) -> list[str]:
    """PNG names after the photographs', counted up where two are the same; never a path."""
    names: list[str] = []
    for outcome in outcomes:
        stem = Path(outcome.name).name.rsplit(".", 1)[0] or "picture"
        name, number = f"{stem}.png", 2
        while name in names:
            name, number = f"{stem}-{number}.png", number + 1
        names.append(name)
    return names
