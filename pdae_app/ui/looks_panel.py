"""Looks: cards with this person's picture, each a click away."""

import time

import gradio as gr

from pdae_app.engine import EditError
from pdae_app.engine.looks import rendered_looks
from pdae_app.ui.events import ModelWorkers, Newest, long_run
from pdae_app.ui.files import preview
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.session import Opened


class LooksPanel:
    """A button that draws the cards, and the cards."""

    def __init__(
        self,
        models: Models,
        model: ModelWorkers,
        chosen: gr.State,
        opened: gr.State,
        rendering: gr.State,
    ):
        self.models = models
        self.presets = gr.State({})
        with gr.Row():
            self.run = gr.Button("Show looks of this person", size="sm", elem_id="looks")
            self.stop = gr.Button("Stop", size="sm", min_width=60, elem_id="stop-looks")
        self.status = gr.Markdown(elem_id="looks-status")
        self.cards = gr.Gallery(
            label="Looks",
            show_label=False,
            columns=4,
            fit_columns=False,
            height="auto",
            allow_preview=False,
            buttons=[],
            elem_id="look-cards",
        )
        long_run(
            model,
            (self.run, self.stop),
            self.status,
            self.show,
            inputs=[chosen, opened, rendering],
            outputs=[self.cards, self.presets, self.status],
        )

    @property
    def emptying(self) -> list:
        """What belongs to one person."""
        return [self.cards, self.presets, self.status]

    def emptied(self) -> dict:
        """Nobody yet."""
        return {self.cards: [], self.presets: {}, self.status: ""}

    def show(self, chosen: Chosen, opened: Opened | None, rendering: Newest):
        """Yield the growing row of cards; nothing of a person who is not the newest any more."""
        if opened is None:
            raise EditError("Choose a photograph first.")
        era = rendering.era
        editor, portrait, start = self.models.of(chosen), opened.portrait, time.monotonic()
        cards, presets = [], {}
        yield {self.cards: [], self.status: "Trying the looks on…"}
        for look in rendered_looks(editor, portrait.code, portrait.steps):
            if rendering.era != era:
                yield self.emptied()
                return
            cards = [*cards, (preview(portrait.view_with(look.image)), look.name)]
            presets[look.name] = look.preset
            yield {self.cards: cards, self.status: f"{len(cards)} looks…"}
        yield {
            self.presets: presets,
            self.status: f"Done in {time.monotonic() - start:.1f} s. Click on one to wear it.",
        }
