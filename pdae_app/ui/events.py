"""What all tabs share: one line before the model, and errors as sentences."""

import errno
import functools
import os
import traceback
from collections.abc import Callable

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
from pdae_app.ui.workers import WorkerError, Workers

# Every event that runs the model waits in one line for it; the page's default limit is the number
# of workers.
IN_LINE = {"concurrency_limit": "default", "concurrency_id": "model"}
# Of the page's own events: clients may call them, but their names are not promised.
OURS = {"api_visibility": "undocumented"}
HIDDEN = {"api_visibility": "private"}
# A wish that comes while an older one is being fulfilled is not dropped: the last one wins.
LAST_WINS = {"trigger_mode": "always_last"}
QUIET = {"show_progress": "hidden"}
# Of what is done in a moment, beside the model.
AT_ONCE = {"queue": False, **QUIET, **HIDDEN, **LAST_WINS}

# The last input of an event is when the browser sends it, in milliseconds.
SENT_LAST = "(...given) => [...given.slice(0, -1), performance.now()]"

# Of what changes wishes alone.
SENDING = {"js": SENT_LAST, "queue": False, **QUIET, **HIDDEN}

# Said at once, for others may be before this visitor.
WAITING = "Waiting for the model…"
STOPPED = "Stopped."
NOT_BEGUN = "This could not be begun. Try again in a moment."

WENT_WRONG = "Something went wrong here. Try again; if it happens again, tell who runs this page."

# What a person can do something about, told as a sentence.
EXPECTED = (
    *(PhotoError, EditError, SliderFileError, BundleError, CredentialsError, BusyError),
    WorkerError,
)

# A full disk, or a person's part of it.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
FULL_DISK = "There is no room on the disk at this moment. Try again in a few minutes."

# Seconds of a ZeroGPU lease for one request.
LEASE = 60


class Newest:
    """A visitor's newest wish for one kind of work; work for an older one ends within a step.

    `number` tells wishes apart, also where one has gone through another process. A wish of None:
    nothing is wanted, as after *Stop*. `era` counts the photographs, where wishes are for one.
    Two clicks may arrive in either order: `at` is when the browser sent the newest wish, where that
    is known, in milliseconds; what it sent before changes nothing. `stopped`: by a person.
    """

    def __init__(self):
        self.number, self.wish, self.era = 0, None, 0
        self.at, self.stopped = 0.0, False

    def overtaken(self, at: float | None) -> bool:
        """Whether something that was sent later has arrived before."""
        return at is not None and at < self.at

    def want(self, wish, at: float | None = None) -> None:
        """A newer wish, which ends the work for the older."""
        if not self.overtaken(at):
            self.number, self.wish, self.stopped = self.number + 1, wish, False
            self.at = self.at if at is None else at

    def drop(self) -> None:
        """Nothing is wanted any more."""
        self.want(None)

    def stop(self, at: float | None = None) -> None:
        """As `drop`, by a person who says so."""
        if not self.overtaken(at):
            self.want(None, at)
            self.stopped = True

    def begin_era(self) -> None:
        """What is wished for from now on is for another picture."""
        self.era += 1


class ModelWorkers(Workers):
    """The model's workers, as handlers know them: what they raise becomes sentences."""

    def explained(self, function: Callable) -> Callable:
        """A generator handler run by a worker, its expected errors told to the caller."""
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
        """A generator handler run by a worker, whose status says what went wrong.

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


def stops(
    button: gr.Button, newest: list[gr.State], running: list[Dependency], **stopped
) -> Dependency:
    """Let a button end running events, and what waits behind them; `stopped` is what follows.

    The cancel and the button's own event, which is returned, travel separately: a last report of
    the run could come after a word from the button. What follows a run's failure comes after all
    its reports.
    """

    def stop(*given) -> None:
        *wishes, at = given
        for wish in wishes:
            wish.stop(at)

    pressed = button.click(stop, [*newest, sent_at()], None, **SENDING)
    button.click(None, cancels=running, **HIDDEN)
    for run in running:
        run.failure(**stopped, queue=False, **QUIET, **HIDDEN)  # the line may be full
    return pressed


def sent_at() -> gr.Number:
    """What says when the browser sent an event, as its last input: see `SENT_LAST`."""
    return gr.Number(visible=False)


def last_word(run: Dependency, newest: gr.State, status: gr.Markdown) -> None:
    """Let *Stop* have the last word, where its run came to its end before it.

    A slow browser shows reports for a while after the last of them was sent.
    """
    run.success(lambda newest: STOPPED if newest.stopped else gr.skip(), newest, status, **AT_ONCE)


def long_run(
    model: ModelWorkers,
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
    quiet = {**QUIET, **LAST_WINS, **HIDDEN}
    start.click(None, None, status, js=f"() => '{WAITING}'", **quiet)
    start.click(wanted, [newest, sent_at()], None, **SENDING, **LAST_WINS)
    running = start.click(
        model.reported(while_newest(function, status), status),
        [newest, *inputs],
        outputs,
        **quiet,
        **IN_LINE,
    )
    stops(stop, [newest], [running], fn=ended, inputs=newest, outputs=status)
    last_word(running, newest, status)
    return running


def wanted(newest: Newest, at: float | None) -> None:
    """A run is wanted."""
    newest.want(True, at)


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
