"""An image input that hands over the uploaded file as it is."""

import gradio as gr


class PhotoInput(gr.Image):
    """`gr.Image` without its own reading of the file.

    Gradio opens every upload with Pillow before a handler sees it, and a file that is no picture,
    or a huge one, ends there in a traceback. `open_photo` reads, bounds and explains instead.
    """

    # Tells Gradio to use Image's own front end.
    is_template = True

    def preprocess(self, payload) -> str | None:
        """The path of the uploaded file; a picture that is written out in the request has none."""
        return payload and payload.path


def photo_input(label: str, elem_id: str, height: int, value: str | None = None) -> PhotoInput:
    """Upload, webcam or clipboard, giving a path."""
    return PhotoInput(
        value=value,
        label=label,
        sources=["upload", "webcam", "clipboard"],
        type="filepath",
        image_mode=None,
        height=height,
        elem_id=elem_id,
    )
