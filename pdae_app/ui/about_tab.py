"""The About tab: what the sliders do, how good they are, and what the model cannot do."""

import gradio as gr

from pdae_app.engine import Editor
from pdae_app.ui.models import Models
from pdae_app.ui.slider_pool import label

FACE_SQUARE = """
1. The face is found and turned so that the eyes are level; the model sees a square of
   {size} x {size} pixels.
2. An encoder reduces the square to a code of {dim} numbers: who it is, hair, glasses, expression.
"""

CENTER_SQUARE = """
1. The model sees the picture's centre square, at {size} x {size} pixels.
2. An encoder reduces the square to a code of {dim} numbers: what it shows, and how.
"""

TEXT = """
### What happens to your picture
{square}   A diffusion model, run backwards, finds the noise that holds the remaining detail.
3. A slider moves the code along one direction, learned from labelled pictures, and the
   diffusion model paints the picture again. The small change is enlarged and added to your
   photograph's own pixels.

### What it cannot do
- It works at {size} x {size} pixels: large features change, fine texture does not.
{limits}- Attributes go together in the training pictures: a slider may bring companions along.
- Do not use it to deceive, to impersonate anyone, or to judge people. Ask before you edit
  somebody else's picture.

### What happens to your data
- Photographs and results lie in a private folder of this app and are deleted within the hour, and
  when it stops. Nothing of a face is written to a log, and nothing is sent anywhere.
- Every picture that you save says in its metadata that this model made it, and how.
"""

CLASS_TEXT = """
### What happens
This model makes new pictures of {count} classes, {size} x {size} pixels each. A diffusion model
that knows no classes paints; a second network, told the class, steers it. The guidance scale says
how strongly: above 1 the pictures become more typical of their class, and less various.
"""

SCORES = "### How well the directions tell pictures apart (AUROC on held-out pictures)"
HEADERS = ["Attribute", "AUROC", "Training pictures with it", "without it"]


class AboutTab:
    """A text, and a table of the sliders' scores."""

    def __init__(self, models: Models):
        text, title, table = self._contents(models.first)
        self.text = gr.Markdown(**text)
        self.title = gr.Markdown(SCORES, **title)
        self.table = gr.Dataframe(headers=HEADERS, interactive=False, **table)
        self.adapting = [self.text, self.title, self.table]

    def adapted(self, editor: Editor) -> dict:
        """The tab for another model."""
        text, title, table = self._contents(editor)
        return {
            self.text: gr.Markdown(**text),
            self.title: gr.Markdown(**title),
            self.table: gr.Dataframe(headers=HEADERS, **table),
        }

    def _contents(self, editor: Editor) -> tuple[dict, dict, dict]:
        attributes = editor.bundle.latents.attributes if editor.bundle.latents else ()
        rows = [[label(a.name), a.auroc, a.positives, a.negatives] for a in attributes]
        seen = {"visible": bool(rows)}
        return {"value": described(editor)}, seen, {"value": rows, **seen}


def described(editor: Editor) -> str:
    """What happens in this model; what it learned from and lacks, as its bundle's `info` says."""
    size, info = editor.image_size, editor.bundle.info
    if editor.classes:
        return CLASS_TEXT.format(count=len(editor.classes), size=size)
    square = FACE_SQUARE if editor.of_faces else CENTER_SQUARE
    dim = editor.bundle.model.config.encoder.z_dim
    sentences = [f"It learned from {info['data']}."] if "data" in info else []
    sentences += [info["limits"]] if "limits" in info else []
    limits = "".join(f"- {sentence}\n" for sentence in sentences)
    return TEXT.format(size=size, limits=limits, square=square.format(size=size, dim=dim))
