"""The edit: before and after, in the face and in the whole photograph, and their files."""

from dataclasses import dataclass

import gradio as gr
from PIL import Image

from pdae_app.engine import Editor
from pdae_app.engine.preset import Preset
from pdae_app.export.provenance import Provenance
from pdae_app.ui.events import Newest, shown
from pdae_app.ui.files import preview, saved, stored
from pdae_app.ui.session import Keep, Portrait

ADD, REPLACE = "Add the change", "Replace the face"


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


@dataclass(frozen=True)
class Finished:
    """A rendering that came to its end, the file of its face, and which wish it was."""

    look: Look
    image: Image.Image
    face: str
    number: int
    seconds: float

    def older_than(self, rendering: Newest) -> bool:
        """Whether another look is wanted; not after *Stop*, which takes the last finished one."""
        return rendering.wish is not None and rendering.number != self.number


class ResultPanel:
    """The pictures of an edit as they become finer, and the downloads when it is done."""

    def __init__(self):
        with gr.Tabs(elem_id="pictures"):
            with gr.Tab("Face"):
                self.face = _before_after("result")
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

    def lay_out_downloads(self) -> None:
        """The buttons, wherever the page has them."""
        self.save_face = _download("Save face", "save-face")
        self.save_whole = _download("Save photograph", "save-photo")
        self.save_preset = _download("Save preset", "save-preset")

    @property
    def parts(self) -> list:
        """All that belongs to one picture and goes with it."""
        return [self.face, self.whole, self.raw, *self._downloads]

    @property
    def _downloads(self) -> list:
        return [self.save_face, self.save_whole, self.save_preset]

    def emptied(self) -> dict:
        """Without a picture."""
        nothing = gr.DownloadButton(value=None, interactive=False)
        return dict.fromkeys([self.face, self.whole, self.raw]) | dict.fromkeys(
            self._downloads, nothing
        )

    def glimpse(self, portrait: Portrait, look: Look, image: Image.Image, step: int) -> dict:
        """A preview of the face at a step of the way."""
        view = portrait.view_with(portrait.kept(image, step, look.keep), step)
        return {self.face: (_before(portrait), preview(view))}

    def finish(
        self, editor: Editor, portrait: Portrait, look: Look, image: Image.Image
    ) -> tuple[str, dict]:
        """The file of the face, and the face: it comes first, all else takes a moment more."""
        view = portrait.view_with(image, portrait.steps)
        face = saved(view, "face", _recipe(editor, look))
        return face, {self.face: (_before(portrait), face)}

    def shown_again(self, portrait: Portrait, finished: Finished) -> dict:
        """The face of a finished rendering, in place of a preview."""
        return {self.face: (_before(portrait), finished.face)}

    def completed(self, editor: Editor, portrait: Portrait, finished: Finished) -> dict:
        """What follows the face: the whole photograph, the model's square, the downloads."""
        look, edited = finished.look, finished.image
        reference = None if look.pasting == REPLACE else portrait.reconstructions[portrait.steps]
        photo = portrait.photo()
        pasted = editor.paste(photo, portrait.code, edited, reference)
        recipe = _recipe(editor, look)
        whole = saved(pasted, "edited", recipe)
        preset = Preset(look.sliders, look.scale, editor.title).to_json()
        files = {
            self.save_face: finished.face,
            self.save_whole: whole,
            self.save_preset: stored(preset.encode(), "preset.json"),
        }
        before = portrait.photo_file(photo)
        square = stored(portrait.square_file, "before.png")
        return {
            self.whole: (before, whole),
            self.raw: (square, saved(shown(edited), "raw", recipe)),
        } | _offer(files)


def _before(portrait: Portrait) -> str:
    return stored(portrait.view_file, "before.png")


def _recipe(editor: Editor, look: Look) -> Provenance:
    return Provenance(editor.title, {"edit": look.sliders, "scale": float(look.scale)})


def _offer(files: dict) -> dict:
    return {
        button: gr.DownloadButton(value=path, interactive=True) for button, path in files.items()
    }


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
