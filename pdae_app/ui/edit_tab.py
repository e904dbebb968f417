"""The Edit tab: a photograph in, sliders, the edit out, coarse first and then final."""

import time

import gradio as gr
from PIL import Image

from pdae_app.engine import Editor
from pdae_app.faces.align import FRAMINGS, crop
from pdae_app.faces.photo import PhotoError, open_photo
from pdae_app.ui.events import ONE_AT_A_TIME, ModelThread, shown
from pdae_app.ui.files import saved, stored
from pdae_app.ui.framing import CENTER, framings
from pdae_app.ui.photo_input import photo_input
from pdae_app.ui.session import (
    EXAMPLES,
    TIME_TO_LIVE,
    Portrait,
    open_portrait,
    preview_steps,
)

WELCOME = "Choose a photograph, or click one of the synthetic people."
NO_FACE = (
    "No face was found. Use a picture where the face looks towards the camera and is well lit, "
    f"or choose **{CENTER}** on the left."
)
READY = "Ready: drag a slider and let go."
QUALITY = {"Fast": 10, "Best": 40}
QUALITY_INFO = ", ".join(f"{name}: {steps} steps" for name, steps in QUALITY.items())
CODES_KEPT = 6
ADD, REPLACE = "Add the change", "Replace the face"
SLIDER_NOTE = (
    "0 leaves the picture as it is, 1 makes a typical example of it, -1 a typical opposite."
)
SCALE_INFO = (
    "How strongly the code steers: 1 reconstructs, 0 ignores the code, above 1 exaggerates."
)


def build(editor: Editor, model: ModelThread) -> None:
    """Lay the tab out and connect it."""
    tab = EditTab(editor, model)
    with gr.Row():
        with gr.Column(scale=4, min_width=280):
            tab.lay_out_inputs()
        with gr.Column(scale=7, min_width=320):
            tab.lay_out_results()
            tab.lay_out_controls()
    tab.connect()


class EditTab:
    """The tab's components and their handlers. A visitor's data lies in `portrait` alone."""

    def __init__(self, editor: Editor, model: ModelThread):
        self.editor, self.model = editor, model
        self.portrait = gr.State(None, time_to_live=TIME_TO_LIVE)
        self.codes = gr.State({}, time_to_live=TIME_TO_LIVE)

    def lay_out_inputs(self) -> None:
        """Left column: the photograph, its framing, examples, quality."""
        self.photo = photo_input("Photograph", elem_id="photo", height=260)
        gr.Examples([[str(path)] for path in EXAMPLES], self.photo, label="Synthetic people")
        self.framing = gr.Radio(label="Part of the picture", visible=False, elem_id="framing")
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
        """Right column, above: status, before and after, downloads."""
        self.status = gr.Markdown(WELCOME, elem_id="status")
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
        self.sliders = {}
        with gr.Column(elem_id="sliders"):
            for row in range(0, len(self.editor.attributes), 3):
                with gr.Row():
                    for name in self.editor.attributes[row : row + 3]:
                        self.sliders[name] = _attribute_slider(name)
        self.scale = gr.Slider(
            0, 3, value=1, step=0.05, label="Guidance scale", info=SCALE_INFO, elem_id="scale"
        )
        with gr.Row():
            self.reset = gr.Button("Reset all sliders", elem_id="reset")
            self.stopping = gr.Button("Stop", elem_id="stop-edit")
            self.save_face = gr.DownloadButton(
                "Save face (PNG)", interactive=False, elem_id="save-face"
            )
            self.save_whole = gr.DownloadButton(
                "Save photograph (PNG)", interactive=False, elem_id="save-photo"
            )

    def connect(self) -> None:
        """Wire the events. Everything that runs the model waits in one line."""
        pictures = [self.result, self.whole, self.raw, self.save_face, self.save_whole]
        rendering = {
            "fn": self.model.told(self.render),
            "inputs": [self.portrait, self.pasting, self.scale, *self.sliders.values()],
            "outputs": [*pictures, self.status],
            "show_progress": "hidden",
            **ONE_AT_A_TIME,
        }
        opening = {
            "fn": self.model.told(self.open),
            "inputs": [self.photo, self.framing, self.quality, self.codes],
            "outputs": [self.portrait, self.codes, self.square, *pictures, self.status],
            "show_progress": "hidden",
            **ONE_AT_A_TIME,
        }
        controls = [self.scale, *self.sliders.values()]
        self.photo.change(
            self.offer_framings,
            self.photo,
            [self.framing, self.portrait, self.square, *pictures, self.status, *controls],
            show_progress="hidden",
            api_name="choose",
        ).success(**opening, api_name="open").success(**rendering, api_visibility="private")
        # A change during a render stops it, and is not dropped: the last one wins.
        last_wins = {**rendering, "trigger_mode": "always_last"}
        at_once = {
            "fn": self.stop,
            "inputs": self.portrait,
            "outputs": None,
            "queue": False,
            "show_progress": "hidden",
            "api_visibility": "private",
        }
        for choice in (self.framing, self.quality):
            choice.input(**opening, trigger_mode="always_last", api_visibility="private").success(
                **rendering, api_visibility="private"
            )
        self.pasting.input(**at_once).then(**last_wins, api_visibility="private")
        self.scale.release(**at_once).then(**last_wins, api_name="edit")
        for slider in self.sliders.values():
            slider.release(**at_once).then(**last_wins, api_visibility="private")
        self.stopping.click(**at_once)
        self.reset.click(**at_once).then(
            self.at_rest, None, controls, api_visibility="private"
        ).success(**rendering, api_visibility="private")

    def at_rest(self) -> dict:
        """All sliders where they change nothing."""
        return {self.scale: 1.0} | dict.fromkeys(self.sliders.values(), 0.0)

    def _emptied(self, status: str) -> dict:
        """The page without a picture: everything on the right empty, sliders at rest."""
        nothing = dict.fromkeys([self.portrait, self.square, self.result, self.whole, self.raw])
        no_file = gr.DownloadButton(value=None, interactive=False)
        files = {self.save_face: no_file, self.save_whole: no_file}
        return nothing | files | self.at_rest() | {self.status: status}

    def _unchanged(self) -> dict:
        """Nothing new: a generator that yields nothing would empty its outputs."""
        return {self.status: gr.skip()}

    def offer_framings(self, path: str | None) -> dict:
        """A new picture: offer its faces and its centre, and forget the last one."""
        hidden = gr.Radio(choices=[], value=None, visible=False)
        if path is None:
            return {self.framing: hidden} | self._emptied(WELCOME)
        try:
            choices = list(framings(open_photo(path), self.editor.framing))
        except PhotoError as error:
            gr.Warning(str(error))
            return {self.framing: hidden} | self._emptied(str(error))
        if choices == [CENTER] and FRAMINGS[self.editor.framing] is not None:
            offer = gr.Radio(choices=choices, value=None, visible=True)
            return {self.framing: offer} | self._emptied(NO_FACE)
        # With one face there is nothing to choose from.
        offer = gr.Radio(choices=choices, value=choices[0], visible=len(choices) > 2)
        return {self.framing: offer} | self._emptied("Reading the picture…")

    def open(self, path: str | None, framing: str | None, quality: str, codes: dict):
        """Encode a picture and render its reconstruction; yields the progress.

        `codes` are the visitor's last ones, so that going back to a picture costs nothing.
        """
        if path is None or framing is None:
            yield self._unchanged()
            return
        start, steps = time.monotonic(), QUALITY[quality]
        photo = open_photo(path)
        alignment = framings(photo, self.editor.framing)[framing]
        square = shown(crop(photo, alignment, self.editor.image_size))
        yield {self.portrait: None, self.square: square, self.status: "Finding the code…"}
        told_at, key = start, (path, framing, steps)
        if key not in codes:
            for part, code in self.editor.encode_steps(photo, steps, alignment):  # noqa: B007
                if time.monotonic() - told_at > 0.3:
                    told_at = time.monotonic()
                    yield {self.status: f"Finding the code… {part:.0%}"}
            codes = dict([*codes.items(), (key, code)][-CODES_KEPT:])
        code = codes[key]
        portrait = open_portrait(self.editor, photo, alignment, code, steps)
        yield {
            self.portrait: portrait,
            self.codes: codes,
            self.status: f"Code found in {time.monotonic() - start:.1f} s.",
        }

    def render(self, portrait: Portrait | None, pasting: str, scale: float, *values: float):
        """The picture with the sliders as they stand; yields previews, then the final one."""
        if portrait is None:
            yield self._unchanged()
            return
        start, marks, turn = time.monotonic(), preview_steps(portrait.steps), portrait.turn.number
        sliders = {name: v for name, v in zip(self.sliders, values, strict=True) if v}
        code, steps, first = portrait.code, portrait.steps, portrait.start
        for progress in self.editor.edit_steps(code, sliders, steps, scale, first):
            if portrait.turn.number != turn:
                yield self._unchanged()
                return
            if progress.step in marks:
                view = portrait.view_with(progress.image, progress.step)
                face = saved(view, "face", preview=not progress.done)
                told = f"Step {progress.step} of {progress.steps}…"
                if progress.done:
                    changed = bool(sliders) or scale != 1
                    told = f"Done in {time.monotonic() - start:.1f} s." if changed else READY
                before = stored(portrait.view_file)
                yield {self.result: (before, face), self.status: told}
        yield self._finished(portrait, progress.image, face, pasting)

    def _finished(self, portrait: Portrait, edited: Image.Image, face: str, pasting: str) -> dict:
        """What follows the finished face: the whole photograph, the model's square, downloads."""
        reference = None if pasting == REPLACE else portrait.reconstructions[portrait.steps]
        pasted = self.editor.paste(portrait.photo, portrait.code, edited, reference)
        whole = saved(pasted, "edited")
        return {
            self.whole: (stored(portrait.photo_file), whole),
            self.raw: (stored(portrait.square_file), saved(shown(edited))),
            self.save_face: gr.DownloadButton(value=face, interactive=True),
            self.save_whole: gr.DownloadButton(value=whole, interactive=True),
        }

    def stop(self, portrait: Portrait | None) -> None:
        """End the rendering that runs; also before a newer one begins."""
        if portrait is not None:
            portrait.turn.next()


def _before_after(elem_id: str) -> gr.ImageSlider:
    return gr.ImageSlider(
        label="Before and after",
        format="png",
        interactive=False,
        max_height=420,
        elem_id=elem_id,
        buttons=["fullscreen"],
    )


def _attribute_slider(name: str) -> gr.Slider:
    return gr.Slider(
        -2,
        2,
        value=0,
        step=0.05,
        label=name.replace("_", " "),
        elem_id=f"slider-{name}",
        min_width=150,
    )
