"""What all tabs share: one model at a time, on one thread, and errors as sentences."""

import contextvars
import errno
import functools
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import gradio as gr
from gradio.events import Dependency
from PIL import Image

from pdae_app.bundle import BundleError
from pdae_app.engine import EditError
from pdae_app.engine.portrait import VIEW_SIDE
from pdae_app.export.credentials import CredentialsError
from pdae_app.faces.photo import PhotoError
from pdae_app.latents.slider_file import SliderFileError
from pdae_app.limits import BusyError, Limits


class ModelThreadError(RuntimeError):
    """The thread of the model came to an end while it worked."""


# Every event that runs the model waits in one line for it.
ONE_AT_A_TIME = {"concurrency_limit": 1, "concurrency_id": "model"}
# Of the page's own events: clients may call them, but their names are not promised.
OURS = {"api_visibility": "undocumented"}
HIDDEN = {"api_visibility": "private"}
# A wish that comes while an older one is being fulfilled is not dropped: the last one wins.
LAST_WINS = {"trigger_mode": "always_last"}
QUIET = {"show_progress": "hidden"}
# Of what is done in a moment, beside the model.
AT_ONCE = {"queue": False, **QUIET, **HIDDEN, **LAST_WINS}

# Said at once, for others may be before this visitor.
WAITING = "Waiting for the model…"
STOPPED = "Stopped."
NOT_BEGUN = "This could not be begun. Try again in a moment."
INTERRUPTED = "The model was interrupted. Try again."

WENT_WRONG = "Something went wrong here. Try again; if it happens again, tell who runs this page."

# What a person can do something about, told as a sentence.
EXPECTED = (
    *(PhotoError, EditError, SliderFileError, BundleError, CredentialsError, BusyError),
    ModelThreadError,
)

# A full disk, or a person's part of it.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
FULL_DISK = "There is no room on the disk at this moment. Try again in a few minutes."

# Seconds between two looks at whether the model's thread lives, while something waits for it.
LOOK_EVERY = 2

# Seconds of a ZeroGPU lease for one request.
LEASE = 60


class Newest:
    """A visitor's newest wish for one kind of work; work for an older one ends within a step.

    `number` tells wishes apart, also where one has gone through another process. A wish of None:
    nothing is wanted, as after *Stop*.
    """

    def __init__(self):
        self.number, self.wish = 0, None

    def want(self, wish) -> None:
        """A newer wish, which ends the work for the older."""
        self.number, self.wish = self.number + 1, wish

    def drop(self) -> None:
        """Nothing is wanted any more."""
        self.want(None)


class ModelThread:
    """The one thread that loads and runs the model.

    OpenMP keeps a pool of workers for every thread that calls it, and when the pools have more
    threads than the machine has cores, each parallel loop sleeps and wakes instead of spinning:
    the same edit takes twice as long. Gradio's handlers come on changing threads.
    """

    def __init__(self):
        self._process, self._lock = os.getpid(), threading.Lock()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._thread = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model", initializer=self._begin)

    def _begin(self) -> None:
        self._thread = threading.current_thread()

    def call(self, function: Callable, *args, **kwargs):
        """The function's result; what it raises is raised here.

        On the thread itself, and in a forked process, which has none, the function runs at once.

        Raises:
            ModelThreadError: the thread came to an end meanwhile; the next call has a new one.
        """
        if threading.current_thread() is self._thread or os.getpid() != self._process:
            return function(*args, **kwargs)
        context = contextvars.copy_context()  # Gradio's messages find their page by it
        with self._lock:
            if self._ended:
                self._begin_anew()
            future = self._pool.submit(context.run, function, *args, **kwargs)
        return self._result(future)

    @property
    def _ended(self) -> bool:
        return self._thread is not None and not self._thread.is_alive()

    def _result(self, future: Future):
        """What comes of a call; a thread that ends leaves its calls without an answer."""
        while not wait([future], LOOK_EVERY).done:
            if self._ended and not future.done():
                raise ModelThreadError(INTERRUPTED)
        try:
            return future.result()
        except SystemExit as error:  # of this thread alone, and not of the program
            raise ModelThreadError(INTERRUPTED) from error

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

    def explained(self, function: Callable) -> Callable:
        """A generator handler run on the thread, its expected errors told to the caller."""
        run = self._running(function)

        @functools.wraps(function)
        def handler(*args, **kwargs):
            try:
                Limits.of().check_memory()
                yield from run(*args, **kwargs)
            except (*EXPECTED, OSError) as error:
                raise _for_page(error) from error

        return handler

    def reported(self, function: Callable, status: gr.Markdown) -> Callable:
        """A generator handler run on the thread, whose status says what went wrong.

        It never fails: Gradio drops the wish that waits for an event that failed, and a failure
        would be taken for *Stop*.
        """
        run = self._running(function)

        @functools.wraps(function)
        def handler(*args, **kwargs):
            try:
                Limits.of().check_memory()
                yield from run(*args, **kwargs)
            except Exception as error:
                yield {status: in_words(error)}

        return handler

    def _running(self, function: Callable) -> Callable:
        leased = on_zero_gpu(function)
        return leased or (lambda *args, **kwargs: self.iterate(function(*args, **kwargs)))


def in_words(error: Exception) -> str:
    """What an error says to a person, who is warned too; of an unexpected one the log has all."""
    text = sentence(error)
    if text is None:
        traceback.print_exception(error)
        text = WENT_WRONG
    gr.Warning(text)
    return text


def explained(function: Callable) -> Callable:
    """A handler that does not run the model, its expected errors told to the person."""

    @functools.wraps(function)
    def handler(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except (*EXPECTED, OSError) as error:
            raise _for_page(error) from error

    return handler


def _for_page(error: Exception) -> Exception:
    """The error for the page, where a person can do something about it; else as it is."""
    text = sentence(error)
    return error if text is None else gr.Error(text, print_exception=False)


def sentence(error: Exception) -> str | None:
    """What an expected error says."""
    if isinstance(error, gr.Error):  # as ZeroGPU's, of its quota
        return str(error.message)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return FULL_DISK
    return str(error) if isinstance(error, EXPECTED) else None


def on_zero_gpu(function: Callable) -> Callable | None:
    """The function under a lease of a ZeroGPU Space's GPU; None anywhere else.

    A lease runs in a forked process, which has none of this one's threads.
    """
    if not os.environ.get("SPACES_ZERO_GPU"):
        return None
    import spaces  # on ZeroGPU only

    return spaces.GPU(duration=LEASE)(function)


def stops(button: gr.Button, newest: list[gr.State], running: list[Dependency], **stopped) -> None:
    """Let a button end running events, and what waits behind them; `stopped` is what follows.

    The cancel and the button's own event travel separately: a last report of the run could
    come after a word from the button. What follows a run's failure comes after all its reports.
    """

    def drop(*wishes: Newest) -> None:
        for wish in wishes:
            wish.drop()

    button.click(drop, newest, None, queue=False, show_progress="hidden", **HIDDEN)
    button.click(None, cancels=running, **HIDDEN)
    for run in running:
        run.failure(
            **stopped, queue=False, show_progress="hidden", **HIDDEN
        )  # the line may be full


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
    (start, stop), newest = buttons, gr.State(Newest())
    quiet = {"show_progress": "hidden", **LAST_WINS, **HIDDEN}
    start.click(None, None, status, js=f"() => '{WAITING}'", **quiet)
    start.click(lambda newest: newest.want(True), newest, None, queue=False, **quiet)
    running = start.click(
        model.reported(while_newest(function, status), status),
        [newest, *inputs],
        outputs,
        **quiet,
        **ONE_AT_A_TIME,
    )
    stops(stop, [newest], [running], fn=ended, inputs=newest, outputs=status)
    return running


def ended(newest: Newest) -> str:
    """What is said of a run that failed: it was stopped, or it never came into the line."""
    return STOPPED if newest.wish is None else NOT_BEGUN


def while_newest(function: Callable, status: gr.Markdown) -> Callable:
    """A generator handler that ends at the first report after a newer wish or *Stop*."""

    def handler(newest: Newest, *args):
        number = newest.number
        yield {status: gr.skip()}  # a generator that yields nothing would empty its outputs
        if newest.wish is None:
            yield {status: STOPPED}
            return
        for report in function(*args):
            if newest.number != number:
                # *Stop* may come here before the cancel does, and then nothing fails.
                yield {status: STOPPED if newest.wish is None else gr.skip()}
                return
            yield report

    return handler


def shown(square: Image.Image) -> Image.Image:
    """A model's square, enlarged smoothly for the screen."""
    return square.resize((VIEW_SIDE, VIEW_SIDE), Image.Resampling.BICUBIC)
