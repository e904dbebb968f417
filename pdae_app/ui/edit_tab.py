"""The Edit tab: a photograph in, sliders, the edit out, coarse first and then final."""

import time
from dataclasses import dataclass

import gradio as gr
from PIL import Image

from pdae_app.engine import Code, EditError, Editor
from pdae_app.engine.photo_edit import QUALITY
from pdae_app.engine.preset import Preset, parse_preset
from pdae_app.export.provenance import Provenance
from pdae_app.faces.align import FRAMINGS, crop
from pdae_app.faces.photo import PhotoError, open_photo
from pdae_app.ui.events import HIDDEN, ONE_AT_A_TIME, OURS, ModelThread, shown
from pdae_app.ui.files import preview, saved, stored
from pdae_app.ui.framing import BY_HAND, CENTER, Eyes, chosen_alignment, framings, made_here
from pdae_app.ui.history import History, Settings
from pdae_app.ui.keep_panel import KeepPanel
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.photo_input import photo_input
from pdae_app.ui.session import (
    EXAMPLES,
    TIME_TO_LIVE,
    Keep,
    Portrait,
    open_portrait,
    preview_steps,
)
from pdae_app.ui.slider_pool import SliderPool
from pdae_app.ui.strip_panel import StripPanel

WELCOME = "Choose a photograph, or click one of the synthetic people."
NO_FACE = (
    "No face was found. Use a picture where the face looks towards the camera and is well lit, "
    f"or choose **{CENTER}** or **{BY_HAND}** on the left."
)
READY = "Ready: drag a slider and let go."
CLICK = "Click on one eye, then on the other."
QUALITY_INFO = ", ".join(f"{name}: {steps} steps" for name, steps in QUALITY.items())
CODES_KEPT = 6
HAND_SIDE = 700
ADD, REPLACE = "Add the change", "Replace the face"
SLIDER_NOTE = (
    "0 leaves the picture as it is, 1 makes a typical example of it, -1 a typical opposite."
)
SCALE_INFO = (
    "How strongly the code steers: 1 reconstructs, 0 ignores the code, above 1 exaggerates."
)


@dataclass(frozen=True)
class Look:
    """How an edit is shown: the pasting, the part that stays, and how the sliders stand."""

    pasting: str
    keep: Keep | None
    scale: float
    sliders: dict[str, float]

    @property
    def changed(self) -> bool:
        """Whether anything is edited."""
        return bool(self.sliders) or self.scale != 1


class EditTab:
    """The tab's components and their handlers. A visitor's data lies in its states alone."""

    def __init__(self, models: Models, model: ModelThread, chosen: gr.State):
        self.models, self.model, self.chosen = models, model, chosen
        self.portrait = gr.State(None, time_to_live=TIME_TO_LIVE)
        self.codes = gr.State({}, time_to_live=TIME_TO_LIVE)
        self.history = gr.State(History())
        self.eyes = gr.State(())
        with gr.Row():
            with gr.Column(scale=4, min_width=280):
                self.lay_out_inputs()
            with gr.Column(scale=7, min_width=320):
                self.lay_out_results()
                self.lay_out_controls()
                self.keep = KeepPanel(self.portrait)
                self.strip = StripPanel(models, model, chosen, self.portrait)
        self.connect()

    def lay_out_inputs(self) -> None:
        """Left column: the photograph, its framing, examples, quality."""
        self.photo = photo_input("Photograph", elem_id="photo", height=260)
        gr.Examples([[str(path)] for path in EXAMPLES], self.photo, label="Synthetic people")
        self.framing = gr.Radio(label="Part of the picture", visible=False, elem_id="framing")
        self.by_hand = gr.Image(
            label=CLICK,
            format="webp",
            interactive=False,
            visible=False,
            height=300,
            elem_id="by-hand",
            buttons=[],
        )
        self.square = gr.Image(
            label="What the model sees",
            format="png",
            interactive=False,
            height=200,
            elem_id="square",
            buttons=[],
        )
        self.quality = gr.Radio(
            list(QUALITY), value="Fast", label="Quality", info=QUALITY_INFO, elem_id="quality"
        )

    def lay_out_results(self) -> None:
        """Right column, above: status, before and after."""
        self.status = gr.Markdown(WELCOME, elem_id="status")
        self.notice = gr.Markdown("", visible=False, elem_id="notice")
        with gr.Tab("Face"):
            self.result = _before_after("result")
        with gr.Tab("Whole photograph"):
            self.whole = _before_after("whole")
            self.pasting = gr.Radio(
                [ADD, REPLACE],
                value=ADD,
                label="How the edit returns to the photograph",
                info="Adding the change keeps the photograph's own sharpness.",
                elem_id="pasting",
            )
        with gr.Tab("The model's own picture"):
            self.raw = _before_after("raw")

    def lay_out_controls(self) -> None:
        """Right column, below: sliders, guidance scale, buttons."""
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
            self.save_face = _download("Save face", "save-face")
            self.save_whole = _download("Save photograph", "save-photo")
            self.save_preset = _download("Save preset", "save-preset")
            self.load_preset = gr.UploadButton(
                "Load preset", file_types=[".json"], size="sm", min_width=120, elem_id="load-preset"
            )

    @property
    def controls(self) -> list:
        """What the history remembers."""
        return [self.scale, *self.sliders.slots]

    @property
    def pictures(self) -> list:
        """What belongs to one picture and goes with it."""
        downloads = [self.save_face, self.save_whole, self.save_preset]
        return [self.result, self.whole, self.raw, *downloads]

    def connect(self) -> None:
        """Wire the events. Everything that runs the model waits in one line."""
        quiet = {"show_progress": "hidden"}
        self.rendering = {
            "fn": self.model.told(self.render),
            "inputs": [
                *(self.chosen, self.portrait, self.pasting, self.keep.state),
                *self.controls,
            ],
            "outputs": [*self.pictures, self.status],
            **quiet,
            **ONE_AT_A_TIME,
        }
        opening = {
            "fn": self.model.told(self.open),
            "inputs": [
                *(self.chosen, self.photo, self.framing, self.eyes, self.quality, self.codes),
            ],
            "outputs": [
                *(self.portrait, self.codes, self.square, self.notice, self.keep.canvas),
                *self.pictures,
                self.status,
            ],
            **quiet,
            **ONE_AT_A_TIME,
        }
        self.photo.change(
            self.offer_framings,
            [self.chosen, self.photo],
            self.emptying,
            **quiet,
            api_name="ui_choose",
            **OURS,
        ).success(**opening, api_name="ui_open", **OURS).success(**self.rendering, **HIDDEN)
        self._connect_framing(opening, quiet)
        self._connect_changes(quiet)
        self.load_preset.upload(
            self.preset_loaded,
            [self.chosen, self.load_preset, self.history],
            [self.history, *self.controls],
            **quiet,
            **HIDDEN,
        ).success(**self.rendering, **HIDDEN)

    def _connect_framing(self, opening: dict, quiet: dict) -> None:
        choosing = {"trigger_mode": "always_last", **HIDDEN}
        self.quality.input(**opening, **choosing).success(**self.rendering, **HIDDEN)
        self.framing.input(
            self.show_by_hand,
            [self.photo, self.framing],
            [self.by_hand, self.eyes],
            **quiet,
            **HIDDEN,
        ).success(**opening, **choosing).success(**self.rendering, **HIDDEN)
        self.by_hand.select(
            self.click_eye, [self.photo, self.eyes], [self.eyes, self.by_hand], **quiet, **HIDDEN
        ).success(**opening, **HIDDEN).success(**self.rendering, **HIDDEN)

    def _connect_changes(self, quiet: dict) -> None:
        """A change during a render stops it, and is not dropped: the last one wins."""
        last_wins = {**self.rendering, "trigger_mode": "always_last"}
        at_once = {"queue": False, **quiet, **HIDDEN}
        gr.on(
            [self.scale.release, *(slot.release for slot in self.sliders.slots)],
            self.remember,
            [self.chosen, self.portrait, self.history, *self.controls],
            self.history,
            **at_once,
        ).then(**last_wins, api_name="ui_render", **OURS)
        self.pasting.input(self.stop, self.portrait, **at_once).then(**last_wins, **HIDDEN)
        for change in self.keep.changes:
            change.success(self.stop, self.portrait, **at_once).then(**last_wins, **HIDDEN)
        for button, move in (
            (self.undo, History.undone),
            (self.redo, History.redone),
            (self.reset, lambda history: history.then(Settings())),
        ):
            button.click(
                self._moved_by(move),
                [self.chosen, self.portrait, self.history],
                [self.history, *self.controls],
                **at_once,
            ).success(**last_wins, **HIDDEN)
        self.stopping.click(self.stop, self.portrait, **at_once)

    @property
    def emptying(self) -> list:
        """What changes when another photograph, or another model, comes."""
        states = [self.portrait, self.history, self.eyes, self.keep.state, self.keep.canvas]
        shown = [self.framing, self.by_hand, self.square, self.notice, self.status]
        return [*states, *shown, *self.pictures, *self.controls]

    def emptied(self, editor: Editor, status: str = WELCOME) -> dict:
        """The page without a picture: everything on the right empty, sliders at rest."""
        nothing = [self.portrait, self.square, self.result, self.whole, self.raw, self.keep.state]
        downloads = (self.save_face, self.save_whole, self.save_preset)
        return (
            dict.fromkeys(nothing)
            | {button: gr.DownloadButton(value=None, interactive=False) for button in downloads}
            | {
                self.keep.canvas: None,
                self.history: History(),
                self.eyes: (),
                self.framing: gr.Radio(choices=[], value=None, visible=False),
                self.by_hand: gr.Image(value=None, visible=False),
                self.notice: gr.Markdown("", visible=False),
                self.status: status,
                self.scale: 1.0,
            }
            | self.sliders.at(editor, {})
        )

    @property
    def adapting(self) -> list:
        """What changes with the model."""
        return [*self.emptying, self.photo, self.strip.attribute]

    def adapted(self, editor: Editor) -> dict:
        """The tab for another model."""
        return self.emptied(editor) | {self.photo: None} | self.adapted_sliders(editor)

    def adapted_sliders(self, editor: Editor, sliders: dict[str, float] | None = None) -> dict:
        """The sliders of an editor, and the strip's choice of them."""
        return self.sliders.adapted(editor, sliders) | self.strip.adapted(editor)

    def _unchanged(self) -> dict:
        """Nothing new: a generator that yields nothing would empty its outputs."""
        return {self.status: gr.skip()}

    def offer_framings(self, chosen: Chosen, path: str | None) -> dict:
        """A new picture: offer its faces and its centre, and forget the last one."""
        editor = self.models.of(chosen)
        if path is None:
            return self.emptied(editor)
        try:
            choices = list(framings(open_photo(path), editor.framing))
        except PhotoError as error:
            gr.Warning(str(error))
            return self.emptied(editor, str(error))
        of_faces = FRAMINGS[editor.framing] is not None
        if of_faces:
            choices.append(BY_HAND)
        if of_faces and choices[0] == CENTER and not made_here(path):
            offer = gr.Radio(choices=choices, value=None, visible=True)
            return self.emptied(editor, NO_FACE) | {self.framing: offer}
        first = CENTER if made_here(path) else choices[0]
        offer = gr.Radio(choices=choices, value=first, visible=len(choices) > 1)
        return self.emptied(editor, "Reading the picture…") | {self.framing: offer}

    def show_by_hand(self, path: str | None, framing: str | None) -> dict:
        """The photograph to click on, where that was chosen."""
        if path is None or framing != BY_HAND:
            return {self.by_hand: gr.Image(visible=False), self.eyes: ()}
        small = open_photo(path)
        small.thumbnail((HAND_SIDE, HAND_SIDE))
        return {self.by_hand: gr.Image(value=small, label=CLICK, visible=True), self.eyes: ()}

    def click_eye(self, path: str | None, eyes: Eyes, event: gr.SelectData) -> dict:
        """Remember where an eye is, in pixels of the photograph; a third click begins anew."""
        if path is None:
            return {self.eyes: ()}
        photo = open_photo(path)
        shrunk = min(1.0, HAND_SIDE / max(photo.size))
        x, y = event.index
        eyes = (*(eyes if len(eyes) < 2 else ()), (x / shrunk, y / shrunk))
        told = "Now click on the other eye." if len(eyes) == 1 else CLICK
        return {self.eyes: eyes, self.by_hand: gr.Image(label=told)}

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
        yield {self.portrait: None, self.square: square, self.status: "Finding the code…"}
        told_at, key = start, (editor.title, path, alignment, steps)
        if key not in codes:
            for part, code in editor.encode_steps(photo, steps, alignment):  # noqa: B007
                if time.monotonic() - told_at > 0.3:
                    told_at = time.monotonic()
                    yield {self.status: f"Finding the code… {part:.0%}"}
            codes = dict([*codes.items(), (key, code)][-CODES_KEPT:])
        portrait = open_portrait(editor, photo, alignment, codes[key], steps)
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
            yield self._unchanged()
            return
        editor, turn = self.models.of(chosen), portrait.turn.number
        look = Look(pasting, keep, scale, self.sliders.read(editor, values))
        start, marks = time.monotonic(), preview_steps(portrait.steps)
        before = stored(portrait.view_file, "before.png")
        for progress in self._steps(editor, portrait, look):
            if portrait.turn.number != turn:
                yield self._unchanged()
                return
            if progress.step in marks and not progress.done:
                view = portrait.view_with(
                    portrait.kept(progress.image, progress.step, keep), progress.step
                )
                told = f"Step {progress.step} of {progress.steps}…"
                yield {self.result: (before, preview(view)), self.status: told}
        edited = portrait.kept(progress.image, portrait.steps, keep)
        told = f"Done in {time.monotonic() - start:.1f} s." if look.changed else READY
        face = saved(portrait.view_with(edited, portrait.steps), "face", self._recipe(editor, look))
        yield {self.result: (before, face), self.status: told}
        yield self._finished(editor, portrait, look, edited, face)

    def _steps(self, editor: Editor, portrait: Portrait, look: Look):
        code: Code = portrait.code
        keep = look.keep.weights(editor.image_size) if look.keep else None
        return editor.edit_steps(
            code, look.sliders, portrait.steps, look.scale, portrait.start, keep
        )

    def _recipe(self, editor: Editor, look: Look) -> Provenance:
        return Provenance(editor.title, {"edit": look.sliders, "scale": look.scale})

    def _finished(
        self, editor: Editor, portrait: Portrait, look: Look, edited: Image.Image, face: str
    ) -> dict:
        """What follows the finished face: the whole photograph, the model's square, downloads."""
        reference = None if look.pasting == REPLACE else portrait.reconstructions[portrait.steps]
        pasted = editor.paste(portrait.photo, portrait.code, edited, reference)
        recipe = self._recipe(editor, look)
        whole = saved(pasted, "edited", recipe)
        preset = Preset(look.sliders, look.scale, editor.title).to_json()
        files = {
            self.save_face: face,
            self.save_whole: whole,
            self.save_preset: stored(preset.encode(), "preset.json"),
        }
        before = stored(portrait.photo_file, "before.png")
        square = stored(portrait.square_file, "before.png")
        return {
            self.whole: (before, whole),
            self.raw: (square, saved(shown(edited), "raw", recipe)),
        } | {
            button: gr.DownloadButton(value=path, interactive=True)
            for button, path in files.items()
        }

    def stop(self, portrait: Portrait | None) -> None:
        """End the rendering that runs; also before a newer one begins."""
        if portrait is not None:
            portrait.turn.next()

    def remember(self, chosen, portrait, history: History, scale: float, *values: float) -> History:
        """A slider was let go: the newest wish, and one step to undo."""
        self.stop(portrait)
        sliders = self.sliders.read(self.models.of(chosen), values)
        return history.then(Settings(scale, tuple(sliders.items())))

    def _moved_by(self, move):
        """A handler that moves through the history and sets the sliders so."""

        def handler(chosen: Chosen, portrait: Portrait | None, history: History) -> dict:
            self.stop(portrait)
            return self._at(self.models.of(chosen), move(history))

        return handler

    def _at(self, editor: Editor, history: History) -> dict:
        now = history.now
        positions = self.sliders.at(editor, dict(now.sliders))
        return {self.history: history, self.scale: now.scale} | positions

    def preset_loaded(self, chosen: Chosen, path: str, history: History) -> dict:
        """The sliders as a preset's file says."""
        editor = self.models.of(chosen)
        try:
            with open(path, "rb") as file:
                preset = parse_preset(file.read(), editor.attributes)
        except EditError as error:
            raise gr.Error(str(error), print_exception=False) from error
        settings = Settings(preset.scale, tuple(preset.sliders.items()))
        return self._at(editor, history.then(settings))


def _before_after(elem_id: str) -> gr.ImageSlider:
    return gr.ImageSlider(
        label="Before and after",
        format="png",
        interactive=False,
        max_height=420,
        elem_id=elem_id,
        buttons=["fullscreen"],
    )


def _download(text: str, elem_id: str) -> gr.DownloadButton:
    return gr.DownloadButton(text, interactive=False, size="sm", min_width=120, elem_id=elem_id)
