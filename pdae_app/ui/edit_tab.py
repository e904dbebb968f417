"""The Edit tab: a photograph in, sliders, the edit out, coarse first and then final."""

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
    ONE_AT_A_TIME,
    OURS,
    WAITING,
    ModelThread,
    explained,
    shown,
    stops,
)
from pdae_app.ui.framing import Eyes, chosen_alignment
from pdae_app.ui.history import History, Settings
from pdae_app.ui.keep_panel import KeepPanel
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.photo_panel import CLICK, PhotoPanel
from pdae_app.ui.result_panel import Finished, Look, ResultPanel
from pdae_app.ui.session import TIME_TO_LIVE, Keep, Portrait, open_portrait, preview_steps
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
AT_ONCE = {"queue": False, **QUIET, **HIDDEN}
# A change during a rendering is not dropped: the last one wins.
LAST_WINS = {"trigger_mode": "always_last"}


class EditTab:
    """The tab's panels and what happens between them. A visitor's data lies in its states alone."""

    def __init__(self, models: Models, model: ModelThread, chosen: gr.State):
        self.models, self.model, self.chosen = models, model, chosen
        self.portrait = gr.State(None, time_to_live=TIME_TO_LIVE)
        self.codes = gr.State({}, time_to_live=TIME_TO_LIVE)
        self.history = gr.State(History())
        self.finished = gr.State(None, time_to_live=TIME_TO_LIVE)
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
        # The handler stops within a step; the cancel also takes what still waits out of the line.
        self.stopping.click(self.stop, self.portrait, **AT_ONCE)
        stops(self.stopping, self.status, *running)

    def _connect_opening(self) -> list[Dependency]:
        """A photograph is chosen, or opened anew in another way; what of it runs the model."""
        opening = {
            "fn": self.model.told(self.open),
            "inputs": [self.chosen, *self.panel.wish, self.codes],
            "outputs": [
                *(self.portrait, self.finished, self.codes, self.panel.square, self.notice),
                *(self.keep.canvas, self.status),
            ],
            **QUIET,
            **ONE_AT_A_TIME,
        }
        chosen = self.photo.change(
            self.offer_framings,
            [self.chosen, self.photo],
            self.emptying,
            **QUIET,
            api_name="ui_choose",
            **OURS,
        )
        other_quality = self.panel.quality.input(**self._superseding)
        openings = [chosen.success(**opening, api_name="ui_open", **OURS)]
        for choice in (other_quality, *self.panel.choosing({**QUIET, **HIDDEN})):
            openings.append(choice.success(**opening, **LAST_WINS, **HIDDEN))
        return [*openings, *(self._rendered(opened, **HIDDEN) for opened in openings)]

    def _connect_changes(self) -> list[Dependency]:
        """What renders anew, stopping the rendering before."""
        released = gr.on(
            [self.scale.release, *(slot.release for slot in self.sliders.slots)],
            self.remember,
            [self.chosen, self.portrait, self.history, *self.controls],
            [self.history, self.status],
            **AT_ONCE,
        )
        completing = {"api_name": "ui_complete", **OURS}
        rendered = self._rendered(released, completing, **LAST_WINS, api_name="ui_render", **OURS)
        changes = [
            self.result.pasting.input(**self._superseding),
            *(kept.success(**self._superseding) for kept in self.keep.changes),
            *self._connect_history(),
        ]
        return [rendered, *(self._rendered(after, **LAST_WINS, **HIDDEN) for after in changes)]

    def _connect_history(self) -> list[Dependency]:
        """What sets all sliders at a time."""
        moves = (
            (self.undo, History.undone),
            (self.redo, History.redone),
            (self.reset, lambda history: history.then(Settings())),
        )
        loaded = self.load_preset.upload(
            explained(self.preset_loaded),
            [self.chosen, self.portrait, self.history, self.load_preset],
            [self.history, self.status, *self.controls],
            **QUIET,
            **HIDDEN,
        )
        return [loaded] + [
            button.click(
                self._moved_by(move),
                [self.chosen, self.portrait, self.history],
                [self.history, self.status, *self.controls],
                **AT_ONCE,
            )
            for button, move in moves
        ]

    @property
    def _superseding(self) -> dict:
        """The event before a newer rendering."""
        return {"fn": self.supersede, "inputs": self.portrait, "outputs": self.status, **AT_ONCE}

    def _rendered(self, after: Dependency, completing=HIDDEN, **options) -> Dependency:
        """Render after an event. Its reports reach few components: Gradio rebuilds all others."""
        rendering = after.success(
            self.model.told(self.render),
            [self.chosen, self.portrait, self.result.pasting, self.keep.state, *self.controls],
            [self.result.face, self.finished, self.status],
            **QUIET,
            **ONE_AT_A_TIME,
            **options,
        )
        rendering.success(
            explained(self.complete),
            [self.chosen, self.portrait, self.finished],
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

    def _unfinished(self) -> dict:
        """Nothing new, and nothing to complete."""
        return self._unchanged() | {self.finished: None}

    def offer_framings(self, chosen: Chosen, path: str | None) -> dict:
        """A new picture: offer its faces and its centre, and forget the last one."""
        editor = self.models.of(chosen)
        if path is None:
            return self.emptied(editor)
        try:
            status, offer = self.panel.offered(editor, path)
        except PhotoError as error:
            gr.Warning(str(error))
            return self.emptied(editor, str(error))
        return self.emptied(editor, status) | offer

    def open(
        self,
        chosen: Chosen,
        path: str | None,
        framing: str | None,
        eyes: Eyes,
        quality: str,
        codes: dict,
    ):
        """Encode a picture and render its reconstruction; yields the progress.

        `codes` are the visitor's last ones, so that going back to a picture costs nothing.
        """
        if path is None or framing is None:
            yield self._unchanged()
            return
        editor, start = self.models.of(chosen), time.monotonic()
        photo = open_photo(path)
        alignment = chosen_alignment(editor, photo, framing, eyes)
        if alignment is None:
            yield {self.status: CLICK}
            return
        steps = QUALITY[quality]
        square = shown(crop(photo, alignment, editor.image_size))
        yield {
            **{self.portrait: None, self.finished: None, self.panel.square: square},
            self.status: "Finding the code…",
        }
        told_at, key = start, (editor.title, path, alignment, steps)
        if key not in codes:
            for part, code in editor.encode_steps(photo, steps, alignment):  # noqa: B007
                if time.monotonic() - told_at > 0.3:
                    told_at = time.monotonic()
                    yield {self.status: f"Finding the code… {part:.0%}"}
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
        pasting: str,
        keep: Keep | None,
        scale: float,
        *values: float,
    ):
        """The picture with the sliders as they stand; yields previews, then the final one."""
        if portrait is None:
            yield self._unfinished()
            return
        editor, turn = self.models.of(chosen), portrait.turn.number
        look = Look(pasting, keep, scale, self.sliders.read(editor, values))
        start, marks = time.monotonic(), preview_steps(portrait.steps)
        for progress in self._steps(editor, portrait, look):
            if portrait.turn.number != turn:
                yield self._unfinished()
                return
            if progress.step in marks and not progress.done:
                told = f"Step {progress.step} of {progress.steps}…"
                glimpse = self.result.glimpse(portrait, look, progress.image, progress.step)
                yield glimpse | {self.status: told}
        image = portrait.kept(progress.image, portrait.steps, look.keep)
        file, face = self.result.finish(editor, portrait, look, image)
        finished = Finished(look, image, file, turn, time.monotonic() - start)
        yield face | {self.finished: finished, self.status: FINISHING}

    def complete(
        self, chosen: Chosen, portrait: Portrait | None, finished: Finished | None
    ) -> dict:
        """The whole photograph and the downloads of the newest rendering, if it has finished."""
        if portrait is None or finished is None or portrait.turn.number != finished.turn:
            return self._unchanged()
        told = f"Done in {finished.seconds:.1f} s." if finished.look.changed else READY
        parts = self.result.completed(self.models.of(chosen), portrait, finished)
        return parts | {self.status: told}

    def _steps(self, editor: Editor, portrait: Portrait, look: Look):
        keep = look.keep.weights(editor.image_size) if look.keep else None
        return editor.edit_steps(
            portrait.code, look.sliders, portrait.steps, look.scale, portrait.start, keep
        )

    def stop(self, portrait: Portrait | None) -> None:
        """End the rendering that runs."""
        if portrait is not None:
            portrait.turn.next()

    def supersede(self, portrait: Portrait | None) -> dict:
        """End the rendering that runs; a newer one waits."""
        self.stop(portrait)
        return {self.status: WAITING if portrait else gr.skip()}

    def remember(self, chosen, portrait, history: History, scale: float, *values: float) -> dict:
        """A slider was let go: the newest wish, and one step to undo."""
        sliders = self.sliders.read(self.models.of(chosen), values)
        history = history.then(Settings(scale, tuple(sliders.items())))
        return {self.history: history} | self.supersede(portrait)

    def _moved_by(self, move):
        """A handler that moves through the history and sets the sliders so."""

        def handler(chosen: Chosen, portrait: Portrait | None, history: History) -> dict:
            return self._at(self.models.of(chosen), portrait, move(history))

        return handler

    def _at(self, editor: Editor, portrait: Portrait | None, history: History) -> dict:
        now = history.now
        positions = self.sliders.at(editor, dict(now.sliders))
        return {
            **{self.history: history, self.scale: now.scale},
            **positions,
            **self.supersede(portrait),
        }

    def preset_loaded(
        self, chosen: Chosen, portrait: Portrait | None, history: History, path: str
    ) -> dict:
        """The sliders as a preset's file says."""
        editor = self.models.of(chosen)
        with open(path, "rb") as file:
            preset = parse_preset(file.read(), editor.attributes)
        settings = Settings(preset.scale, tuple(preset.sliders.items()))
        return self._at(editor, portrait, history.then(settings))
