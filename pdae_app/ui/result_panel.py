"""The edit: before and after, in the face and in the whole photograph, and their files."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import gradio as gr
from PIL import Image

from pdae_app.engine import Progress
from pdae_app.engine.portrait import Layer
from pdae_app.engine.requests import EditRequest
from pdae_app.export import STILLS
from pdae_app.export.names import edited_name
from pdae_app.ui.events import Newest, shown
from pdae_app.ui.files import preview, saved, stored
from pdae_app.ui.session import Opened

# The saved photograph as PNG, the one kind that every browser's clipboard takes.
COPY = """async (file) => {
  const png = async () => {
    const blob = await (await fetch(file.url)).blob();
    if (blob.type === "image/png") return blob;
    const bitmap = await createImageBitmap(blob);
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    return canvas.convertToBlob({ type: "image/png" });
  };
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": png() })]);
    return "Copied. Paste it where you want it.";
  } catch {
    return "This browser does not let a page copy pictures. Use “Save photograph”.";
  }
}"""

# Percent of the width: most of the edited picture is seen, and that there is one before.
HANDLE_AT = 8

ADD, REPLACE = "Add the change", "Replace the face"


@dataclass(frozen=True)
class Finished:
    """A rendering that came to its end, the file of its face, and which wish it was."""

    request: EditRequest
    image: Image.Image
    face: str
    number: int
    seconds: float

    def older_than(self, rendering: Newest) -> bool:
        """Whether another edit is wanted; not after *Stop*, which takes the last finished one."""
        return rendering.wish is not None and rendering.number != self.number


@dataclass(frozen=True)
class Pasted:
    """The edit of another face of the photograph: how it lies on it, and what was asked for."""

    layer: Layer
    request: EditRequest


class ResultPanel:
    """The pictures of an edit as they become finer, and the downloads when it is done."""

    def __init__(self):
        with gr.Tabs(elem_id="pictures"):
            with gr.Tab("Face"):
                self.face = _before_after("result")
            with gr.Tab("Whole photograph"):
                self.whole = _before_after("whole")
            with gr.Tab("The model's own picture"):
                self.raw = _before_after("raw")

    def lay_out_downloads(self) -> None:
        """The buttons, wherever the page has them."""
        self.save_whole = _download("Save photograph", "save-photo", variant="primary")
        self.save_face = _download("Save face", "save-face")
        self.copy = gr.Button(
            "Copy", size="sm", min_width=60, interactive=False, elem_id="copy-photo"
        )
        self.kind = gr.Dropdown(
            list(STILLS),
            value="PNG",
            label="Save as",
            container=False,
            min_width=80,
            elem_id="save-kind",
        )

    def lay_out_compare(self) -> None:
        """The button under which the picture is seen unedited (`look.HEAD`)."""
        self.compare = gr.Button(
            "Hold to compare", size="sm", min_width=60, interactive=False, elem_id="compare"
        )

    def lay_out_again(self) -> None:
        """The button that takes the result as the next photograph."""
        self.again = gr.Button(
            "Edit further", size="sm", min_width=60, interactive=False, elem_id="edit-further"
        )

    def lay_out_preset(self) -> None:
        """The button that saves how the sliders stand."""
        self.save_preset = _download("Save preset", "save-preset")

    def lay_out_pasting(self) -> None:
        """How a face goes back into its photograph."""
        self.pasting = gr.Radio(
            [ADD, REPLACE],
            value=ADD,
            label="How the edit returns to the photograph",
            info="Adding the change keeps the photograph's own sharpness.",
            elem_id="pasting",
        )

    @property
    def parts(self) -> list:
        """All that belongs to one picture and goes with it."""
        return [self.face, self.whole, self.raw, *self._buttons, *self._downloads]

    @property
    def _buttons(self) -> list:
        return [self.compare, self.again, self.copy]

    @property
    def _downloads(self) -> list:
        return [self.save_face, self.save_whole, self.save_preset]

    def emptied(self) -> dict:
        """Without a picture."""
        nothing = gr.DownloadButton(value=None, interactive=False)
        return {
            **dict.fromkeys([self.face, self.whole, self.raw]),
            **dict.fromkeys(self._downloads, nothing),
            **dict.fromkeys(self._buttons, gr.Button(interactive=False)),
        }

    def glimpse(self, opened: Opened, progress: Progress) -> dict:
        """A preview of the face at a step of the way."""
        view = opened.portrait.view_with(progress.image, progress.step)
        return {self.face: (opened.view_file, preview(view))}

    def finish(
        self, title: str, opened: Opened, request: EditRequest, image: Image.Image
    ) -> tuple[str, dict]:
        """The file of the face, and the face: it comes first, all else takes a moment more."""
        view = opened.portrait.view_with(image)
        face = saved(view, "face", request.provenance(title))
        return face, {self.face: (opened.view_file, face)}

    def shown_again(self, opened: Opened, finished: Finished) -> dict:
        """The face of a finished rendering, in place of a preview."""
        return {self.face: (opened.view_file, finished.face)}

    def completed(
        self,
        title: str,
        opened: Opened,
        finished: Finished,
        kind: str = "PNG",
        others: Mapping[str, Pasted] | None = None,
    ) -> dict:
        """What follows the face: the whole photograph, the model's square, the downloads.

        Args:
            kind: of the saved files, one of `STILLS`.
            others: edits of other faces in the same photograph, by the faces' names.
        """
        request, edited, portrait = finished.request, finished.image, opened.portrait
        provenance = request.provenance(title)
        name = edited_name(str(portrait.photograph.source), request.preset.sliders)
        others = others or {}
        whole = portrait.whole_with(edited, request.replace, [o.layer for o in others.values()])
        of_all = request.provenance(title, {face: o.request for face, o in others.items()})
        whole = saved(whole, name, of_all, kind)
        preset = replace(request.preset, model=title).to_json()
        files = {
            self.save_face: saved(portrait.view_with(edited), f"{name}-face", provenance, kind),
            self.save_whole: whole,
            self.save_preset: stored(preset.encode(), "preset.json"),
        }
        return {
            self.whole: (opened.photo_file, whole),
            self.raw: (opened.square_file, saved(shown(edited), "raw", provenance)),
            **dict.fromkeys(self._buttons, gr.Button(interactive=True)),
        } | _offer(files)


def _offer(files: dict) -> dict:
    return {
        button: gr.DownloadButton(value=path, interactive=True) for button, path in files.items()
    }


def _before_after(elem_id: str) -> gr.ImageSlider:
    return gr.ImageSlider(
        label="Before and after",
        show_label=False,
        format="png",
        interactive=False,
        slider_position=HANDLE_AT,
        max_height=340,
        elem_id=elem_id,
        buttons=["fullscreen"],
    )


def _download(text: str, elem_id: str, **look) -> gr.DownloadButton:
    return gr.DownloadButton(
        text, interactive=False, size="sm", min_width=80, elem_id=elem_id, **look
    )
