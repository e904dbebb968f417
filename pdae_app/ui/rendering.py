"""Edits of the opened photograph: previews, the final picture, its files. The last one wins."""

import functools
import time
from dataclasses import replace

import gradio as gr
from gradio.events import Dependency

from pdae_app.engine import Editor
from pdae_app.engine.carry_out import edit
from pdae_app.engine.keep import KeepMask
from pdae_app.engine.looks import TOO_LITTLE, TOO_STRONG, believable, held_back, shows_little
from pdae_app.engine.portrait import preview_steps
from pdae_app.engine.preset import Preset
from pdae_app.engine.requests import EditRequest
from pdae_app.ui.edit_panels import EditPanels
from pdae_app.ui.events import (
    AT_ONCE,
    HIDDEN,
    IN_LINE,
    LAST_WINS,
    NOT_BEGUN,
    OURS,
    QUIET,
    SENT_LAST,
    STOPPED,
    WAITING,
    ModelWorkers,
    Newest,
    in_words,
)
from pdae_app.ui.face_edits import FaceEdits, others
from pdae_app.ui.history import History
from pdae_app.ui.kept_settings import KeptSettings
from pdae_app.ui.models import Chosen
from pdae_app.ui.photo_panel import not_open_words
from pdae_app.ui.result_panel import COPY, REPLACE, Finished
from pdae_app.ui.session import Opened
from pdae_app.ui.settings import Settings
from pdae_app.ui.slider_pool import label

READY = "Ready: drag a slider and let go."
FINISHING = "Finishing…"
FURTHER = (
    "You go on with the edited photograph. Its sliders begin at 0, and Undo goes back no further "
    "than here."
)
ANOTHER_CAME = "Another photograph came meanwhile: drag the slider again."


class Rendering:
    """The handlers from a released slider to the saved picture."""

    def __init__(self, panels: EditPanels, model: ModelWorkers):
        self.panels, self.model = panels, model
        self.kept = KeptSettings(panels)

    def connect(self) -> list[Dependency]:
        """Wire what renders anew, stopping the rendering before; what runs the model."""
        panels = self.panels
        released = gr.on(
            [panels.scale.release, *(slot.release for slot in panels.sliders.slots)],
            self.remember,
            [panels.chosen, *panels.wanted, *panels.controls, panels.era, panels.sent],
            [panels.history, panels.undo, panels.redo, panels.status],
            js=SENT_LAST,
            **AT_ONCE | OURS,
            api_name="ui_release",
        )
        completing = {"api_name": "ui_complete", **OURS}
        rendered = self.after(released, completing, api_name="ui_render", **OURS)
        superseding = {
            "fn": self.supersede,
            "inputs": panels.wanted,
            "outputs": panels.status,
            **AT_ONCE,
        }
        changes = [
            panels.result.pasting.input(**superseding),
            *(kept.success(**superseding) for kept in panels.keep.changes),
            *self._connect_history(),
            *Settings(self).connect(),
        ]
        panels.result.kind.input(**self.completing, **AT_ONCE)
        panels.result.again.click(  # in a line of its own: toasts do not come without
            taken_further, panels.result.save_whole, panels.panel.photo, **QUIET, **HIDDEN
        )
        panels.result.copy.click(
            None, panels.result.save_whole, panels.status, js=COPY, **HIDDEN, **QUIET
        )
        return [rendered, *(self.after(change, **HIDDEN) for change in changes)]

    def _connect_history(self) -> list[Dependency]:
        """What goes through the history."""
        panels = self.panels
        moves = (
            (panels.undo, History.undone),
            (panels.redo, History.redone),
            (panels.reset, lambda history: history.then(Preset())),
        )
        inputs = [panels.chosen, *panels.wanted]
        return [
            button.click(self.moved_by(move), inputs, panels.moving, **AT_ONCE)
            for button, move in moves
        ]

    def after(self, event: Dependency, completing=HIDDEN, **options) -> Dependency:
        """Render after an event. Its reports reach few components: Gradio rebuilds all others."""
        panels = self.panels
        rendering = event.success(
            self.model.reported(self.render, panels.status),
            [panels.chosen, panels.opened, panels.rendering, panels.finished],
            [panels.result.face, panels.finished, panels.status],
            **QUIET,
            **IN_LINE,
            **LAST_WINS,
            **options,
        )
        rendering.success(**self.completing, **{**AT_ONCE, **completing})
        event.success(**self.kept.keeping)
        return rendering

    @property
    def completing(self) -> dict:
        """The event that follows a finished face."""
        panels = self.panels
        given = [panels.chosen, panels.opened, panels.rendering, panels.finished]
        return {
            "fn": self.reported(self.complete),
            "inputs": [*given, panels.faces, panels.result.kind],
            "outputs": [*panels.result.parts, panels.status],
        }

    def reported(self, function):
        """A handler off the model's thread whose status says what went wrong; it never fails."""

        @functools.wraps(function)
        def handler(*args):
            try:
                return function(*args)
            except Exception as error:
                return {self.panels.status: in_words(error)}

        return handler

    def unchanged(self) -> dict:
        """Nothing new: a generator that yields nothing would empty its outputs."""
        return {self.panels.status: gr.skip()}

    def request(
        self, pasting: str, keep: KeepMask | None = None, preset: Preset | None = None
    ) -> EditRequest:
        """What the page's controls ask for."""
        return EditRequest(preset or Preset(), keep=keep, replace=pasting == REPLACE)

    def render(
        self,
        chosen: Chosen,
        opened: Opened | None,
        rendering: Newest,
        finished: Finished | None,
    ):
        """The picture as it was wished for last; yields previews, then the final one."""
        number, request, panels = rendering.number, rendering.wish, self.panels
        if opened is None:
            yield {panels.result.face: None, panels.finished: None}
            return
        if request is None or (finished is not None and finished.number == number):
            yield self.unchanged()
            return
        editor, start = panels.models.of(chosen), time.monotonic()
        request = replace(request, steps=opened.portrait.steps)
        previews = preview_steps(request.steps)
        for progress in edit(editor, opened.portrait, request):
            if rendering.number != number:
                yield self.unchanged()
                return
            if progress.step in previews and not progress.done:
                status = f"Step {progress.step} of {progress.steps}…"
                yield panels.result.glimpse(opened, progress) | {panels.status: status}
        image = progress.image
        file, face = panels.result.finish(editor.title, opened, request, image)
        finished = Finished(request, image, file, number, time.monotonic() - start)
        yield face | {panels.finished: finished, panels.status: FINISHING}

    def complete(
        self,
        chosen: Chosen,
        opened: Opened | None,
        rendering: Newest,
        finished: Finished | None,
        faces: FaceEdits,
        kind: str = "PNG",
    ) -> dict:
        """The whole photograph and the downloads of the newest rendering, if it has finished."""
        panels = self.panels
        if opened is None:
            return panels.result.emptied()
        if finished is None or finished.older_than(rendering):
            return self.unchanged() if rendering.wish else {panels.status: STOPPED}
        title = panels.models.of(chosen).title
        parts = panels.result.completed(title, opened, finished, kind, others(faces, opened))
        opened.portrait.photograph.release()
        if finished.older_than(rendering):
            return self.unchanged()
        status = said(panels.models.of(chosen), opened, finished)
        return parts | {panels.status: status if rendering.wish else STOPPED}

    def stopped(
        self,
        chosen: Chosen,
        opening: Newest,
        rendering: Newest,
        opened: Opened | None,
        history: History,
        finished: Finished | None,
    ) -> dict:
        """After *Stop*: the last finished picture, and the sliders as they stand in it.

        What failed without it never came into the line of the model, and says so.
        """
        panels, status = self.panels, {self.panels.status: STOPPED}
        if opening.wish is not None or rendering.wish is not None:
            return {panels.status: NOT_BEGUN}
        if opened is not None:
            opened.portrait.photograph.release()
        if opened is None:
            return status
        history = history.back_to(finished.request.preset if finished else Preset())
        face = panels.result.shown_again(opened, finished) if finished else {}
        return panels.positions(panels.models.of(chosen), history) | face | status

    def set_back(self, chosen: Chosen, opening: Newest, rendering: Newest, *shown) -> dict:
        """As `stopped`, as soon as *Stop* is pressed, if nothing has been wished for since."""
        if opening.wish is not None or rendering.wish is not None:
            return self.unchanged()
        return self.stopped(chosen, opening, rendering, *shown)

    def supersede(
        self,
        opened: Opened | None,
        opening: Newest,
        rendering: Newest,
        pasting: str,
        keep: KeepMask | None,
        history: History,
        sent: float | None = None,
    ) -> dict:
        """A newer edit is wanted, which ends the rendering of the older."""
        rendering.want(self.request(pasting, keep, history.now), sent)
        return {self.panels.status: WAITING if opened else not_open_words(opening)}

    def remember(self, chosen: Chosen, *values) -> dict:
        """A slider was let go: the newest edit, and one step to undo.

        Sliders of the picture before are no wish for this one, of which the browser had not heard.
        """
        count = len(self.panels.wanted)
        opened, opening, rendering, pasting, keep, history = values[:count]
        scale, *positions, era, sent = values[count:]
        if era is not None and era < rendering.era:
            return {self.panels.status: ANOTHER_CAME}
        if rendering.overtaken(sent):  # by *Stop*
            return {self.panels.status: STOPPED}
        sliders = self.panels.sliders.read(self.panels.models.of(chosen), positions)
        history = history.then(Preset(sliders, scale))
        wanted = (opened, opening, rendering, pasting, keep, history)
        return self.panels.remembered(history) | self.supersede(*wanted, sent)

    def moved_by(self, move):
        """A handler that moves through the history and sets the sliders so."""

        def handler(chosen: Chosen, *wanted) -> dict:
            *rest, history = wanted
            moved = move(history)
            status = self.supersede(*rest, moved)
            return self.panels.positions(self.panels.models.of(chosen), moved) | status

        return handler


def taken_further(path: str) -> str:
    """The edited photograph, as the next to be edited."""
    gr.Info(FURTHER)
    return path


def against_words(names: list[str]) -> str:
    """What is said of sliders that others hold back."""
    if len(names) == 1:
        return f"*{label(names[0])}* hardly changes: other sliders pull against it."
    several = " and ".join(f"*{label(name)}*" for name in names)
    return f"{several} hardly change: sliders pull against one another."


def said(editor: Editor, opened: Opened, finished: Finished) -> str:
    """What the status says of a finished edit."""
    request, code = finished.request, opened.portrait.code
    if not request.changes:
        return READY
    sliders = request.preset.sliders
    words = [f"Done in {finished.seconds:.1f} s."]
    if against := held_back(editor, code, sliders):
        words.append(against_words(against))
    if believable(editor, code, sliders) < 1:
        words.append(TOO_STRONG)
    elif not against and request.keep is None and _unseen(opened, finished):
        words.append(TOO_LITTLE)
    return " ".join(words)


def _unseen(opened: Opened, finished: Finished) -> bool:
    before, sliders = opened.portrait.reconstruction, finished.request.preset.sliders
    return shows_little(before, finished.image, sliders)
