"""What all tabs share: one model at a time, and errors as sentences."""

import functools
import inspect

import gradio as gr
from PIL import Image

from pdae_app.engine import EditError
from pdae_app.faces.photo import PhotoError

# Every event that runs the model waits in one line for it.
ONE_AT_A_TIME = {"concurrency_limit": 1, "concurrency_id": "model"}

# Previews are small pictures; they are shown enlarged, smoothly.
SHOWN_SIDE = 384


def told(function):
    """Let expected errors of a handler, plain or generator, reach the person as a message."""
    expected = (PhotoError, EditError)

    @functools.wraps(function)
    def plain(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except expected as error:
            raise gr.Error(str(error), print_exception=False) from error

    @functools.wraps(function)
    def generator(*args, **kwargs):
        try:
            yield from function(*args, **kwargs)
        except expected as error:
            raise gr.Error(str(error), print_exception=False) from error

    return generator if inspect.isgeneratorfunction(function) else plain


def shown(square: Image.Image) -> Image.Image:
    """A model's square, enlarged for the screen."""
    return square.resize((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.BICUBIC)
