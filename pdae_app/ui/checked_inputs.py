"""What is sent to an event and cannot be its input ends in a sentence, before a handler begins."""

import gradio as gr
from gradio.exceptions import InvalidPathError
from gradio_client.utils import is_file_obj_with_meta, is_http_url_like, traverse

from pdae_app.ui.events import sentence
from pdae_app.ui.turns import TurnsQueue

NOT_UPLOADED = "A file that is named here was not uploaded, or is gone by now. Upload it again."
NOT_FETCHED = "Nothing is fetched from an address here: upload the file itself."
UNFIT = "What was sent does not fit the inputs that are asked for: see “Use via API” on the page."


class CheckedBlocks(gr.Blocks):
    """`gr.Blocks` that tells the sender what Gradio by itself tells the log, in a traceback."""

    def queue(self, *args, **kwargs):
        """As Gradio's; where events may run at the same time, a visitor's take turns."""
        super().queue(*args, **kwargs)
        if self._queue.default_concurrency_limit != 1:
            self._queue.__class__ = TurnsQueue  # Gradio makes it itself, and asks for no class
        return self

    async def preprocess_data(self, block_fn, inputs, *args, **kwargs):
        """As Gradio's, but no address is fetched: its answer has no bound, and lies in memory.

        Raises:
            gr.Error: the inputs cannot be used; nothing of ours has begun, so it is what was sent.
        """
        try:
            traverse(inputs, _refuse_addresses, is_file_obj_with_meta)
            return await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        except Exception as error:
            gone = isinstance(error, InvalidPathError | FileNotFoundError)
            text = sentence(error) or (NOT_UPLOADED if gone else UNFIT)
            raise gr.Error(text, print_exception=False) from error


def _refuse_addresses(file: dict) -> dict:
    if is_http_url_like(file["path"]):
        raise gr.Error(NOT_FETCHED)
    return file
