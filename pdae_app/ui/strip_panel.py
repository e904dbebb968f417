"""One attribute at seven strengths, side by side, and as a film."""

import time

import gradio as gr
import numpy as np
from PIL import Image

from pdae_app.engine import EditError, Editor
from pdae_app.export import FILMS
from pdae_app.export.credentials import signed_film, signed_still
from pdae_app.export.files import side_by_side
from pdae_app.export.provenance import Provenance
from pdae_app.ui.bounded import BoundedSlider
from pdae_app.ui.events import ModelWorkers, long_run
from pdae_app.ui.files import saved, stored
from pdae_app.ui.history import History
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.session import Opened
from pdae_app.ui.slider_pool import label

STRENGTHS = 7
SHEET = "PNG (side by side)"


class StripPanel:
    """The attribute, how far it goes, the pictures, and their export."""

    def __init__(
        self,
        models: Models,
        model: ModelWorkers,
        chosen: gr.State,
        opened: gr.State,
        history: gr.State,
    ):
        self.models = models
        with gr.Accordion("One attribute, seven strengths", open=False, elem_id="strip-panel"):
            with gr.Row():
                self.attribute = gr.Dropdown(
                    label="Attribute", elem_id="strip-attribute", **self._choices(models.first)
                )
                self.reach = BoundedSlider(0.5, 2, value=1.5, step=0.25, label="Up to")
                self.kind = gr.Dropdown(
                    [SHEET, *FILMS], value=SHEET, label="Save as", elem_id="strip-kind"
                )
            with gr.Row():
                self.run = gr.Button("Show the strip", size="sm", elem_id="strip")
                self.stop = gr.Button("Stop", size="sm", elem_id="stop-strip")
                self.save = gr.DownloadButton(
                    "Save", size="sm", interactive=False, elem_id="save-strip"
                )
            self.status = gr.Markdown(elem_id="strip-status")
            self.gallery = gr.Gallery(
                label="Strengths",
                format="png",
                columns=4,
                fit_columns=False,
                height="auto",
                elem_id="strip-gallery",
            )
        long_run(
            model,
            (self.run, self.stop),
            self.status,
            self.show,
            inputs=[chosen, opened, history, self.attribute, self.reach, self.kind],
            outputs=[self.gallery, self.save, self.status],
        )

    def adapted(self, editor: Editor) -> dict:
        """The choice of attributes of an editor."""
        return {self.attribute: gr.Dropdown(**self._choices(editor))}

    def _choices(self, editor: Editor) -> dict:
        choices = [(label(name), name) for name in editor.attributes]
        return {"choices": choices, "value": choices[0][1] if choices else None}

    def show(
        self,
        chosen: Chosen,
        opened: Opened | None,
        history: History,
        name: str | None,
        reach: float,
        kind: str,
    ):
        """Yield the growing strip, at last with its file."""
        if opened is None or name is None:
            raise EditError("Choose a photograph first.")
        editor, portrait, start = self.models.of(chosen), opened.portrait, time.monotonic()
        strengths = np.linspace(-reach, reach, STRENGTHS).round(2).tolist()
        now = history.now
        recipe = {"strip": name, "strengths": strengths, "edit": now.sliders, "scale": now.scale}
        recipe = Provenance(editor.title, recipe)
        done: list[Image.Image] = []
        files: list[tuple[str, str]] = []
        yield {self.gallery: [], self.save: gr.DownloadButton(interactive=False)}
        steps, code = portrait.steps, portrait.code
        for square in editor.strip(code, name, strengths, steps, now.scale, others=now.sliders):
            strength = strengths[len(done)]
            done.append(portrait.view_with(square))
            files = [*files, (saved(done[-1], f"strip{strength:+g}", recipe), f"{strength:+g}")]
            yield {self.gallery: files, self.status: f"Picture {len(done)} of {STRENGTHS}…"}
        path = exported(done, kind, recipe, "strip")
        yield {
            self.save: gr.DownloadButton(value=path, interactive=True),
            self.status: f"Done in {time.monotonic() - start:.1f} s.",
        }


def exported(frames: list[Image.Image], kind: str, recipe: Provenance, name: str) -> str:
    """The path of the frames as a sheet or a film."""
    if kind != SHEET:
        return stored(signed_film(frames, recipe, kind), f"{name}{FILMS[kind]}")
    return stored(signed_still(side_by_side(frames), recipe), f"{name}.png")
