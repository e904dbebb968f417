"""What all tabs share: one model at a time, on one thread, and errors as sentences."""

import contextvars
import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import gradio as gr
from gradio.events import Dependency
from PIL import Image

from pdae_app.bundle import BundleError
from pdae_app.engine import EditError
from pdae_app.export.credentials import CredentialsError
from pdae_app.faces.photo import PhotoError
from pdae_app.latents.slider_file import SliderFileError
from pdae_app.limits import BusyError, Limits

# Every event that runs the model waits in one line for it.
ONE_AT_A_TIME = {"concurrency_limit": 1, "concurrency_id": "model"}
# Of the page's own events: clients may call them, but their names are not promised.
OURS = {"api_visibility": "undocumented"}
HIDDEN = {"api_visibility": "private"}

# Said at once, for others may be before this visitor.
WAITING = "Waiting for the model…"

# Previews are small pictures; they are shown enlarged, smoothly.
SHOWN_SIDE = 384

# What a person can do something about, told as a sentence.
EXPECTED = (PhotoError, EditError, SliderFileError, BundleError, CredentialsError, BusyError)

# Seconds of a ZeroGPU lease for one request.
LEASE = 60


class ModelThread:
    """The one thread that loads and runs the model.

    OpenMP keeps a pool of workers for every thread that calls it, and when the pools have more
    threads than the machine has cores, each parallel loop sleeps and wakes instead of spinning:
    the same edit takes twice as long. Gradio's handlers come on changing threads.
    """

    def __init__(self):
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    def call(self, function: Callable, *args, **kwargs):
        """The function's result; what it raises is raised here."""
        context = contextvars.copy_context()  # Gradio's messages find their page by it
        return self._pool.submit(context.run, function, *args, **kwargs).result()

    def iterate(self, generator: Iterator) -> Iterator:
        """The generator's items, each made on the thread; closing this closes the generator."""
        done = object()
        try:
            while (item := self.call(next, generator, done)) is not done:
                yield item
        finally:
            try:
                self.call(generator.close)
            except RuntimeError:  # the program ends, and takes no more calls
                generator.close()

    def told(self, function: Callable) -> Callable:
        """A generator handler run on the thread, its expected errors told to the person."""
        leased = on_zero_gpu(function)

        @functools.wraps(function)
        def handler(*args, **kwargs):
            try:
                Limits.of().check_memory()
                if leased is not None:
                    yield from leased(*args, **kwargs)
                else:
                    yield from self.iterate(function(*args, **kwargs))
            except EXPECTED as error:
                raise gr.Error(str(error), print_exception=False) from error

        return handler


def explained(function: Callable) -> Callable:
    """A handler that does not run the model, its expected errors told to the person."""

    @functools.wraps(function)
    def handler(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except EXPECTED as error:
            raise gr.Error(str(error), print_exception=False) from error

    return handler


def on_zero_gpu(function: Callable) -> Callable | None:
    """The function under a lease of a ZeroGPU Space's GPU; None anywhere else.

    A lease runs in a forked process, which has none of this one's threads.
    """
    if not os.environ.get("SPACES_ZERO_GPU"):
        return None
    import spaces  # on ZeroGPU only

    return spaces.GPU(duration=LEASE)(function)


def stops(button: gr.Button, status: gr.Markdown, *running: Dependency) -> None:
    """Let a button end running events, whose status then says so.

    The cancel and the button's own event travel separately: a last report of the run could
    come after a word from the button. What follows a run's failure comes after all its reports.
    """
    button.click(None, cancels=list(running), **HIDDEN)
    for run in running:
        run.failure(lambda: "Stopped.", None, status, show_progress="hidden", **HIDDEN)


def long_run(
    model: ModelThread,
    buttons: tuple[gr.Button, gr.Button],
    status: gr.Markdown,
    function: Callable,
    inputs: list,
    outputs: list,
) -> Dependency:
    """Buttons that start and stop a generator of reports, which waits in the model's line.

    Gradio rebuilds every output that a report leaves out, in some milliseconds each: what changes
    at the end only, and is much, belongs to an event that follows.
    """
    start, stop = buttons
    start.click(None, None, status, js=f"() => '{WAITING}'", show_progress="hidden", **HIDDEN)
    running = start.click(
        model.told(function), inputs, outputs, show_progress="hidden", **HIDDEN, **ONE_AT_A_TIME
    )
    stops(stop, status, running)
    return running


def shown(square: Image.Image) -> Image.Image:
    """A model's square, enlarged for the screen."""
    return square.resize((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.BICUBIC)
