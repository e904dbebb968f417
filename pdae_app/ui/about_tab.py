"""The About tab: what the sliders do, how good they are, and what the model cannot do."""

import gradio as gr

from pdae_app.engine import Editor

TEXT = """
### What happens to your picture
1. The face is found and turned so that the eyes are level; the model sees a square of
   {size} x {size} pixels.
2. An encoder reduces the square to a code of {dim} numbers: who it is, hair, glasses, expression.
   A diffusion model, run backwards, finds the noise that holds the remaining detail.
3. A slider moves the code along one direction, learned from labelled portraits, and the
   diffusion model paints the picture again. The small change is enlarged and added to your
   photograph's own pixels.

### What it cannot do
- It works at {size} x {size} pixels: large features change, fine texture does not.
- It learned from official portraits: frontal faces, even light, suits; mostly older, mostly men.
  Profiles, hands before the face, hats and children come out worse.
- Attributes go together in the training pictures, so a slider may bring its companions along:
  grey hair and age, smile and open mouth.
- Do not use it to deceive, to impersonate anyone, or to judge people. Ask before you edit
  somebody else's picture.
"""


CLASS_TEXT = """
### What happens
This model makes new pictures of {count} classes, {size} x {size} pixels each. A diffusion model
that knows no classes paints; a second network, told the class, steers it. The guidance scale says
how strongly: above 1 the pictures become more typical of their class, and less various.
"""


def build(editor: Editor) -> None:
    """Lay the tab out."""
    if editor.classes:
        gr.Markdown(CLASS_TEXT.format(count=len(editor.classes), size=editor.image_size))
        return
    z_dim = editor.bundle.model.config.encoder.z_dim
    gr.Markdown(TEXT.format(size=editor.image_size, dim=z_dim))
    if editor.attributes:
        gr.Markdown("### How well the directions tell people apart (AUROC on held-out people)")
        rows = [
            [a.name.replace("_", " "), a.auroc, a.positives, a.negatives]
            for a in editor.bundle.latents.attributes
        ]
        headers = ["Attribute", "AUROC", "Training pictures with it", "without it"]
        gr.Dataframe(rows, headers=headers, interactive=False)
