"""What is sent to an event and cannot be its input ends in a sentence, before a handler begins."""

import gradio as gr
from gradio.exceptions import InvalidPathError

from pdae_app.ui.events import sentence

NOT_UPLOADED = "A file that is named here was not uploaded, or is gone by now. Upload it again."
UNFIT = "What was sent does not fit the inputs that are asked for: see “Use via API” on the page."


class CheckedBlocks(gr.Blocks):
    """`gr.Blocks` that tells the sender what Gradio by itself tells the log, in a traceback."""

    async def preprocess_data(self, *args, **kwargs):
        """As Gradio's.

        Raises:
            gr.Error: the inputs cannot be used; nothing of ours has begun, so it is what was sent.
        """
        try:
            return await super().preprocess_data(*args, **kwargs)
        except Exception as error:
            gone = isinstance(error, InvalidPathError | FileNotFoundError)
            text = sentence(error) or (NOT_UPLOADED if gone else UNFIT)
            raise gr.Error(text, print_exception=False) from error
