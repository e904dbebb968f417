"""An image input that hands over the uploaded file as it is."""

import gradio as gr

from gradio.events import Dependency

class PhotoInput(gr.Image):
    """`gr.Image` without its own reading of the file.

    Gradio opens every upload with Pillow before a handler sees it, and a file that is no picture,
    or a huge one, ends there in a traceback. `open_photo` reads, bounds and explains instead.
    """

    # Tells Gradio to use Image's own front end.
    is_template = True

    def preprocess(self, payload) -> str | None:
        """The path of the uploaded file."""
        if payload is None or payload.path:
            return payload and payload.path
        return super().preprocess(payload)
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component