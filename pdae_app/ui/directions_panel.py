"""Directions that nothing names yet, as strips to pick one from."""

import time

import gradio as gr

from pdae_app.engine import EditError, Editor
from pdae_app.engine.code import Code
from pdae_app.engine.quality import FAST
from pdae_app.engine.unnamed import STRENGTHS, named, resembled, strips, unnamed_directions
from pdae_app.engine.waiting import run_seconds, run_sentence
from pdae_app.export.files import side_by_side
from pdae_app.latents.few_shot import FewShot
from pdae_app.ui.events import HIDDEN, QUIET, ModelWorkers, long_run, shown
from pdae_app.ui.files import preview
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.session import Opened
from pdae_app.ui.slider_pool import label

NOTE = """
The model looks for ways in which the people whom it makes up differ, and shows each on the person
of the **Edit** tab: strongly one way, as is in the middle, strongly the other. Click on one that
you like, give it a name above, and keep it. The percentage says how much of the difference between
people lies along it, measured on people who were left out.
"""
WAYS = {"Where people differ most": "principal", "What varies by itself": "independent"}


class DirectionsPanel:
    """Which kind, the strips, and the button that keeps one."""

    def __init__(self, models: Models, model: ModelWorkers, chosen: gr.State, opened: gr.State):
        self.models = models
        self.found, self.picked = gr.State([]), gr.State(None)
        gr.Markdown(NOTE)
        self.kind = gr.Radio(
            list(WAYS), value=next(iter(WAYS)), show_label=False, label="Kind", elem_id="ways"
        )
        with gr.Row():
            self.run = gr.Button("Look for directions", variant="primary", elem_id="find-ways")
            self.stop = gr.Button("Stop", elem_id="stop-ways")
            self.keep = gr.Button("Keep the picked one", elem_id="keep-way")
        self.status = gr.Markdown(elem_id="ways-status")
        self.gallery = gr.Gallery(
            label="Directions",
            show_label=False,
            columns=2,
            fit_columns=False,
            height="auto",
            object_fit="contain",
            allow_preview=False,
            buttons=[],
            elem_id="way-strips",
        )
        long_run(
            model,
            (self.run, self.stop),
            self.status,
            self.show,
            inputs=[chosen, opened, self.kind],
            outputs=[self.gallery, self.found, self.picked, self.status],
        )
        self.gallery.select(self.pick, self.found, [self.picked, self.status], **QUIET, **HIDDEN)

    def show(self, chosen: Chosen, opened: Opened | None, kind: str):
        """Yield the growing column of strips."""
        editor, start = self.models.of(chosen), time.monotonic()
        yield {self.gallery: [], self.picked: None, self.status: "Looking for directions…"}
        found, files = unnamed_directions(editor, WAYS[kind]), []
        yield {self.found: [(chosen.title, direction) for direction in found]}
        code, steps = self._person(editor, opened)
        takes = run_seconds(editor, 2 * steps * len(found) * len(STRENGTHS))
        yield {self.status: f"Drawing the strips… {run_sentence(takes)}"}
        for strip in strips(editor, code, found, steps):
            pictures = [opened.portrait.view_with(p) if opened else shown(p) for p in strip]
            text = caption(editor, found[len(files)], len(files) + 1)
            files = [*files, (preview(side_by_side(pictures)), text)]
            yield {self.gallery: files, self.status: f"Strip {len(files)} of {len(found)}…"}
        yield {self.status: f"Done in {time.monotonic() - start:.1f} s. Click on one to pick it."}

    def _person(self, editor: Editor, opened: Opened | None) -> tuple[Code, int]:
        """Whom the strips show: the opened person, or one whom the model makes up."""
        if opened is None:
            return editor.draw(0).code, FAST
        return opened.portrait.code, opened.portrait.steps

    def pick(self, found: list, event: gr.SelectData) -> dict:
        """Which one is to be kept."""
        number = event.index
        if number >= len(found):
            return {self.picked: None}
        text = f"Number {number + 1} is picked. Give it a name above, then keep it."
        return {self.picked: number, self.status: text}

    def named(self, chosen: Chosen, name: str, found: list, picked: int | None) -> FewShot:
        """The picked direction under a name.

        Raises:
            EditError: none is picked, one of another model, or a name that is none.
        """
        if picked is None or found[picked][0] != chosen.title:
            raise EditError("Look for directions first, and click on the one that you want.")
        return named(found[picked][1], name)


def caption(editor: Editor, found: FewShot, number: int) -> str:
    """What is said below a strip."""
    near = resembled(editor, found)
    text = f"{number}: {found.attribute.score:.1%}"
    return f"{text}, close to {label(near)}" if near else text
