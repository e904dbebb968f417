"""The Edit tab: a photograph in, sliders, the edit out, coarse first and then final."""

import functools
import time

import gradio as gr
from gradio.events import Dependency

from pdae_app.engine import Editor
from pdae_app.engine.photo_edit import QUALITY
from pdae_app.engine.preset import parse_preset
from pdae_app.faces.align import crop
from pdae_app.faces.photo import PhotoError, open_photo
from pdae_app.ui.events import (
    HIDDEN,
    LAST_WINS,
    ONE_AT_A_TIME,
    OURS,
    STOPPED,
    WAITING,
    ModelThread,
    Newest,
    explained,
    in_words,
    shown,
    stops,
)
from pdae_app.ui.framing import Eyes, chosen_alignment
from pdae_app.ui.history import History, Settings
from pdae_app.ui.keep_panel import KeepPanel
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.photo_panel import CLICK, PhotoPanel
from pdae_app.ui.result_panel import Finished, Look, ResultPanel
from pdae_app.ui.session import (
    TIME_TO_LIVE,
    Keep,
    Opening,
    Portrait,
    open_portrait,
    preview_steps,
)
from pdae_app.ui.slider_pool import SliderPool
from pdae_app.ui.strip_panel import StripPanel

WELCOME = "Choose a photograph, or click one of the examples."
READY = "Ready: drag a slider and let go."
FINISHING = "Finishing…"
CODES_KEPT = 6
SLIDER_NOTE = (
    "0 leaves the picture as it is, 1 makes a typical example of it, -1 a typical opposite."
)
SCALE_INFO = (
    "How strongly the code steers: 1 reconstructs, 0 ignores the code, above 1 exaggerates."
)
QUIET = {"show_progress": "hidden"}
AT_ONCE = {"queue": False, **QUIET, **HIDDEN, **LAST_WINS}


class EditTab:
    """The tab's panels and what happens between them. A visitor's data lies in its states alone."""

    def __init__(self, models: Models, model: ModelThread, chosen: gr.State):
        self.models, self.model, self.chosen = models, model, chosen
        self.portrait = gr.State(None, time_to_live=TIME_TO_LIVE)
        self.codes = gr.State({}, time_to_live=TIME_TO_LIVE)
        self.history = gr.State(History())
        self.finished = gr.State(None, time_to_live=TIME_TO_LIVE)
        self.opening, self.rendering = gr.State(Newest()), gr.State(Newest())
        with gr.Row():
            with gr.Column(scale=4, min_width=280):
                self.panel = PhotoPanel(models.first)
            with gr.Column(scale=7, min_width=320):
                self.status = gr.Markdown(WELCOME, elem_id="status")
                self.notice = gr.Markdown("", visible=False, elem_id="notice")
                self.result = ResultPanel()
                self.lay_out_controls()
                self.keep = KeepPanel(self.portrait)
                self.strip = StripPanel(models, model, chosen, self.portrait)
        self.connect()

    @property
    def photo(self) -> gr.Image:
        """The photograph's component."""
        return self.panel.photo

    def lay_out_controls(self) -> None:
        """Sliders, guidance scale, buttons."""
        gr.Markdown(SLIDER_NOTE, elem_classes="small-note")
        self.sliders = SliderPool(self.models.first)
        self.scale = gr.Slider(
            0, 3, value=1, step=0.05, label="Guidance scale", info=SCALE_INFO, elem_id="scale"
        )
        with gr.Row():
            self.undo = gr.Button("Undo", size="sm", min_width=80, elem_id="undo")
            self.redo = gr.Button("Redo", size="sm", min_width=80, elem_id="redo")
            self.reset = gr.Button("Reset all", size="sm", min_width=80, elem_id="reset")
            self.stopping = gr.Button("Stop", size="sm", min_width=80, elem_id="stop-edit")
        with gr.Row():
            self.result.lay_out_downloads()
            self.load_preset = gr.UploadButton(
                "Load preset", file_types=[".json"], size="sm", min_width=120, elem_id="load-preset"
            )

    @property
    def controls(self) -> list:
        """What the history remembers."""
        return [self.scale, *self.sliders.slots]

    def connect(self) -> None:
        """Wire the events. Everything that runs the model waits in one line."""
        running = [*self._connect_opening(), *self._connect_changes()]
        stops(
            self.stopping,
            [self.opening, self.rendering],
            running,
            fn=self.stopped,
            inputs=[self.chosen, self.portrait, self.history, self.finished],
            outputs=[self.history, self.result.face, self.status, *self.controls],
        )

    def _connect_opening(self) -> list[Dependency]:
        """A photograph is chosen, or opened anew in another way; what of it runs the model."""
        opening = {
            "fn": self.model.reported(self.open, self.status),
            "inputs": [self.chosen, self.opening, self.panel.quality, self.codes],
            "outputs": [
                *(self.portrait, self.finished, self.codes, self.panel.square, self.notice),
                *(self.keep.canvas, self.status),
            ],
            **QUIET,
            **ONE_AT_A_TIME,
            **LAST_WINS,
        }
        chosen = self.photo.change(
            self.offer_framings,
            [self.chosen, self.opening, self.rendering, self.result.pasting, self.photo],
            self.emptying,
            **QUIET,
            api_name="ui_choose",
            **OURS,
        )
        openings = [chosen.success(**opening, api_name="ui_open", **OURS)]
        reopening = {
            "fn": self.reopen,
            "inputs": [self.opening, *self.panel.choice, *self._look],
            "outputs": self.status,
            **AT_ONCE,
        }
        changes = [
            choice.success(**reopening) for choice in self.panel.choosing({**QUIET, **HIDDEN})
        ]
        for change in (self.panel.quality.input(**reopening), *changes):
            openings.append(change.success(**opening, **HIDDEN))
        return [*openings, *(self._rendered(opened, **HIDDEN) for opened in openings)]

    def _connect_changes(self) -> list[Dependency]:
        """What renders anew, stopping the rendering before."""
        released = gr.on(
            [self.scale.release, *(slot.release for slot in self.sliders.slots)],
            self.remember,
            [self.chosen, *self._look, *self.controls],
            [self.history, self.status],
            **AT_ONCE | OURS,
            api_name="ui_release",
        )
        completing = {"api_name": "ui_complete", **OURS}
        rendered = self._rendered(released, completing, api_name="ui_render", **OURS)
        changes = [
            self.result.pasting.input(**self._superseding),
            *(kept.success(**self._superseding) for kept in self.keep.changes),
            *self._connect_history(),
        ]
        return [rendered, *(self._rendered(after, **HIDDEN) for after in changes)]

    def _connect_history(self) -> list[Dependency]:
        """What sets all sliders at a time."""
        moves = (
            (self.undo, History.undone),
            (self.redo, History.redone),
            (self.reset, lambda history: history.then(Settings())),
        )
        loaded = self.load_preset.upload(
            explained(self.preset_loaded),
            [self.chosen, *self._look, self.load_preset],
            [self.history, self.status, *self.controls],
            **QUIET,
            **HIDDEN,
            **LAST_WINS,
        )
        return [loaded] + [
            button.click(
                self._moved_by(move),
                [self.chosen, *self._look],
                [self.history, self.status, *self.controls],
                **AT_ONCE,
            )
            for button, move in moves
        ]

    @property
    def _superseding(self) -> dict:
        """The event before a newer rendering."""
        return {"fn": self.supersede, "inputs": self._look, "outputs": self.status, **AT_ONCE}

    @property
    def _look(self) -> list:
        """What the newest look is made of."""
        return [
            *(self.portrait, self.rendering, self.result.pasting, self.keep.state, self.history)
        ]

    def _rendered(self, after: Dependency, completing=HIDDEN, **options) -> Dependency:
        """Render after an event. Its reports reach few components: Gradio rebuilds all others."""
        rendering = after.success(
            self.model.reported(self.render, self.status),
            [self.chosen, self.portrait, self.rendering, self.finished],
            [self.result.face, self.finished, self.status],
            **QUIET,
            **ONE_AT_A_TIME,
            **LAST_WINS,
            **options,
        )
        rendering.success(
            self._reported(self.complete),
            [self.chosen, self.portrait, self.rendering, self.finished],
            [*self.result.parts, self.status],
            **{**AT_ONCE, **completing},
        )
        return rendering

    @property
    def emptying(self) -> list:
        """What changes when another photograph, or another model, comes."""
        states = [self.portrait, self.history, self.finished, self.keep.state, self.keep.canvas]
        told = [self.notice, self.status]
        return [*states, *told, *self.panel.emptying, *self.result.parts, *self.controls]

    def emptied(self, editor: Editor, status: str = WELCOME) -> dict:
        """The page without a picture: everything on the right empty, sliders at rest."""
        return {
            **dict.fromkeys([self.portrait, self.finished, self.keep.state, self.keep.canvas]),
            **self.panel.emptied(),
            **self.result.emptied(),
            self.history: History(),
            self.notice: gr.Markdown("", visible=False),
            self.status: status,
            self.scale: 1.0,
            **self.sliders.at(editor, {}),
        }

    @property
    def adapting(self) -> list:
        """What changes with the model."""
        return [*self.emptying, self.photo, self.panel.examples, self.strip.attribute]

    def adapted(self, editor: Editor) -> dict:
        """The tab for another model."""
        return self.emptied(editor) | self.panel.adapted(editor) | self.adapted_sliders(editor)

    def adapted_sliders(self, editor: Editor, sliders: dict[str, float] | None = None) -> dict:
        """The sliders of an editor, and the strip's choice of them."""
        return self.sliders.adapted(editor, sliders) | self.strip.adapted(editor)

    def _unchanged(self) -> dict:
        """Nothing new: a generator that yields nothing would empty its outputs."""
        return {self.status: gr.skip()}

    def _reported(self, function):
        """A handler off the model's thread whose status says what went wrong; it never fails."""

        @functools.wraps(function)
        def handler(*args):
            try:
                return function(*args)
            except Exception as error:
                return {self.status: in_words(error)}

        return handler

    def offer_framings(
        self, chosen: Chosen, opening: Newest, rendering: Newest, pasting: str, path: str | None
    ) -> dict:
        """A new picture: offer its faces and its centre, and forget the last one."""
        opening.drop()
        rendering.want(Look(pasting, None, 1.0, {}))
        editor = self.models.of(chosen)
        wish, offer = Opening(None, None, told=WELCOME), {}
        try:
            if path is not None:
                wish, offer = self.panel.offered(editor, path)
        except PhotoError as error:
            gr.Warning(str(error))
            wish = Opening(path, None, told=str(error))
        opening.want(wish)
        return self.emptied(editor, wish.told) | offer

    def reopen(self, opening: Newest, path: str | None, framing, eyes: Eyes, *look) -> dict:
        """Another square of the picture, or another quality."""
        told = opening.wish.told if opening.wish else STOPPED
        opening.want(Opening(path, framing, eyes, told))
        return self.supersede(*look)

    def open(self, chosen: Chosen, opening: Newest, quality: str, codes: dict):
        """Encode the picture that was chosen last and render its reconstruction.

        Yields the progress; ends within a step when another is chosen. `codes` are the visitor's
        last ones, so that going back to a picture costs nothing.
        """
        number, wish = opening.number, opening.wish
        if wish is None or wish.framing is None:
            yield self._closed(wish.told if wish else STOPPED)
            return
        for report in self._opened(self.models.of(chosen), wish, QUALITY[quality], codes):
            if opening.number != number:
                yield self._unchanged()
                return
            if report:
                yield report

    def _closed(self, told: str) -> dict:
        """Without a portrait: said once more, after whatever was on its way."""
        gone = dict.fromkeys([self.portrait, self.finished, self.panel.square, self.keep.canvas])
        return gone | {self.notice: gr.Markdown("", visible=False), self.status: told}

    def _opened(self, editor: Editor, wish: Opening, steps: int, codes: dict):
        """The reports of an opening, the last one with the portrait; None where nothing is new."""
        path, start = wish.path, time.monotonic()
        photo = open_photo(path)
        alignment = chosen_alignment(editor, photo, wish.framing, wish.eyes)
        if alignment is None:
            yield {self.status: CLICK}
            return
        square = shown(crop(photo, alignment, editor.image_size))
        yield {
            **{self.portrait: None, self.finished: None, self.panel.square: square},
            self.status: "Finding the code…",
        }
        told_at, key = start, (editor.title, path, alignment, steps)
        if key not in codes:
            for part, code in editor.encode_steps(photo, steps, alignment):  # noqa: B007
                due = time.monotonic() - told_at > 0.3
                told_at = time.monotonic() if due else told_at
                yield {self.status: f"Finding the code… {part:.0%}"} if due else None
            codes = dict([*codes.items(), (key, code)][-CODES_KEPT:])
        portrait = open_portrait(editor, path, photo, alignment, codes[key], steps)
        yield {
            self.portrait: portrait,
            self.codes: codes,
            self.keep.canvas: self.keep.over(portrait),
            self.notice: gr.Markdown(portrait.notice, visible=bool(portrait.notice)),
            self.status: f"Code found in {time.monotonic() - start:.1f} s.",
        }

    def render(
        self,
        chosen: Chosen,
        portrait: Portrait | None,
        rendering: Newest,
        finished: Finished | None,
    ):
        """The picture as it was wished for last; yields previews, then the final one."""
        number, look = rendering.number, rendering.wish
        if portrait is None:
            yield {self.result.face: None, self.finished: None}
            return
        if look is None or (finished is not None and finished.number == number):
            yield self._unchanged()
            return
        editor = self.models.of(chosen)
        start, marks = time.monotonic(), preview_steps(portrait.steps)
        for progress in self._steps(editor, portrait, look):
            if rendering.number != number:
                yield self._unchanged()
                return
            if progress.step in marks and not progress.done:
                told = f"Step {progress.step} of {progress.steps}…"
                glimpse = self.result.glimpse(portrait, look, progress.image, progress.step)
                yield glimpse | {self.status: told}
        image = portrait.kept(progress.image, portrait.steps, look.keep)
        file, face = self.result.finish(editor, portrait, look, image)
        finished = Finished(look, image, file, number, time.monotonic() - start)
        yield face | {self.finished: finished, self.status: FINISHING}

    def complete(
        self,
        chosen: Chosen,
        portrait: Portrait | None,
        rendering: Newest,
        finished: Finished | None,
    ) -> dict:
        """The whole photograph and the downloads of the newest rendering, if it has finished."""
        if portrait is None:
            return self.result.emptied()
        if finished is None or finished.older_than(rendering):
            return self._unchanged() if rendering.wish else {self.status: STOPPED}
        parts = self.result.completed(self.models.of(chosen), portrait, finished)
        if finished.older_than(rendering):
            return self._unchanged()
        told = f"Done in {finished.seconds:.1f} s." if finished.look.changed else READY
        return parts | {self.status: told if rendering.wish else STOPPED}

    def _steps(self, editor: Editor, portrait: Portrait, look: Look):
        keep = look.keep.weights(editor.image_size) if look.keep else None
        return editor.edit_steps(
            portrait.code,
            look.sliders,
            portrait.steps,
            look.scale,
            start=portrait.start,
            keep=keep,
        )

    def stopped(
        self,
        chosen: Chosen,
        portrait: Portrait | None,
        history: History,
        finished: Finished | None,
    ) -> dict:
        """After *Stop*: the last finished picture, and the sliders as they stand in it."""
        told = {self.status: STOPPED}
        if portrait is None or finished is None:
            return told
        look = finished.look
        history = history.back_to(Settings(look.scale, tuple(look.sliders.items())))
        face = self.result.shown_again(portrait, finished)
        return self._positions(self.models.of(chosen), history) | face | told

    def supersede(
        self,
        portrait: Portrait | None,
        rendering: Newest,
        pasting: str,
        keep: Keep | None,
        history: History,
    ) -> dict:
        """A newer look is wanted, which ends the rendering of the older."""
        now = history.now
        rendering.want(Look(pasting, keep, now.scale, dict(now.sliders)))
        return {self.status: WAITING if portrait else gr.skip()}

    def remember(
        self,
        chosen: Chosen,
        portrait: Portrait | None,
        rendering: Newest,
        pasting: str,
        keep: Keep | None,
        history: History,
        scale: float,
        *values: float,
    ) -> dict:
        """A slider was let go: the newest look, and one step to undo."""
        sliders = self.sliders.read(self.models.of(chosen), values)
        history = history.then(Settings(scale, tuple(sliders.items())))
        told = self.supersede(portrait, rendering, pasting, keep, history)
        return {self.history: history} | told

    def _moved_by(self, move):
        """A handler that moves through the history and sets the sliders so."""

        def handler(chosen: Chosen, *look) -> dict:
            *others, history = look
            moved = move(history)
            told = self.supersede(*others, moved)
            return self._positions(self.models.of(chosen), moved) | told

        return handler

    def _positions(self, editor: Editor, history: History) -> dict:
        """The sliders as they stand in a history."""
        positions = self.sliders.at(editor, dict(history.now.sliders))
        return {self.history: history, self.scale: history.now.scale, **positions}

    def preset_loaded(self, chosen: Chosen, *look) -> dict:
        """The sliders as a preset's file says."""
        *look, path = look
        editor = self.models.of(chosen)
        with open(path, "rb") as file:
            preset = parse_preset(file.read(), editor.attributes)
        settings = Settings(preset.scale, tuple(preset.sliders.items()))
        return self._moved_by(lambda history: history.then(settings))(chosen, *look)
