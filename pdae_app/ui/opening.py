"""A photograph is opened: chosen, framed, encoded. The last one that was chosen wins."""

import time
from dataclasses import replace

import gradio as gr
from gradio.events import Dependency

from pdae_app.engine import QUALITY, Editor
from pdae_app.engine.framing import Framed, Photograph
from pdae_app.engine.portrait import make_portrait, read_steps
from pdae_app.engine.waiting import opening_seconds, waiting_sentence
from pdae_app.faces.photo import PhotoError
from pdae_app.ui.edit_panels import WELCOME, EditPanels
from pdae_app.ui.events import (
    AT_ONCE,
    HIDDEN,
    IN_LINE,
    LAST_WINS,
    NOT_BEGUN,
    OURS,
    QUIET,
    STOPPED,
    ModelWorkers,
    Newest,
    shown,
)
from pdae_app.ui.face_edits import FaceEdit, FaceEdits, left
from pdae_app.ui.framing import chosen_square
from pdae_app.ui.history import History
from pdae_app.ui.models import Chosen
from pdae_app.ui.photo_panel import READING, click_words, other_being_read, wanted_photograph
from pdae_app.ui.rendering import Rendering
from pdae_app.ui.result_panel import Finished
from pdae_app.ui.session import Opened, Opening

CODES_KEPT = 6
# Pixels of a photograph that are kept while it waits for the model; larger ones are read again.
LARGEST_WAITING = 4_000_000
# Seconds between two reports of the code's progress.
REPORT_EVERY = 0.3


class PhotographOpening:
    """The handlers from a chosen file to an opened photograph."""

    def __init__(self, panels: EditPanels, rendering: Rendering):
        self.panels, self.rendering = panels, rendering

    def connect(self, model: ModelWorkers) -> list[Dependency]:
        """Wire the events; those that run the model."""
        panels = self.panels
        opening = {
            "fn": model.reported(self.open, panels.status),
            "inputs": [
                *(panels.chosen, panels.opening, panels.panel.quality),
                *(panels.codes, panels.opened),
            ],
            "outputs": [
                *(panels.opened, panels.finished, panels.codes, panels.panel.square),
                *(panels.notice, panels.keep.canvas, panels.status),
            ],
            **QUIET,
            **IN_LINE,
            **LAST_WINS,
        }
        chosen = gr.on(
            [panels.panel.photo.change, panels.adapted_to.change],
            self.choose,
            [
                *(panels.chosen, panels.opening, panels.rendering, panels.result.pasting),
                *(panels.opened, panels.history, panels.panel.photo),
            ],
            panels.emptying,
            **QUIET,
            **LAST_WINS,
            api_name="ui_choose",
            **OURS,
        )
        panels.panel.connect_samples(panels.status)
        chosen.failure(self.not_begun, panels.rendering, [panels.era, panels.status], **AT_ONCE)
        openings = [chosen.success(**opening, api_name="ui_open", **OURS)]
        reopening = {
            "fn": self.reopen,
            "inputs": [*panels.panel.choice, *panels.wanted],
            "outputs": panels.status,
            **AT_ONCE,
        }
        turning = {
            "fn": self.turn,
            "inputs": [
                *(panels.chosen, panels.faces, panels.finished),
                *(*panels.panel.choice, *panels.wanted),
            ],
            "outputs": [panels.faces, panels.keep.state, panels.era, *panels.moving],
            **AT_ONCE,
        }
        framed, clicked = panels.panel.choosing({**QUIET, **HIDDEN})
        changes = [*(choice.success(**turning) for choice in framed), clicked.success(**reopening)]
        for change in (panels.panel.quality.input(**reopening), *changes):
            openings.append(change.success(**opening, **HIDDEN))
        return openings

    def choose(
        self,
        chosen: Chosen,
        opening: Newest,
        rendering: Newest,
        pasting: str,
        opened: Opened | None,
        history: History,
        path: str | None,
    ) -> dict:
        """A new picture, or another model: offer its faces and its centre, and forget the last one.

        Sliders that were set while there was no picture are for the one that comes, if its model
        has them; those that were set while another was being read were for that one. A file that
        is put in another's place is told twice by the browser, and opened once.
        """
        panels, editor = self.panels, self.panels.models.of(chosen)
        given = (editor.title, path)
        if opening.wish is not None and opening.wish.given == given:
            return {panels.era: rendering.era}
        unknown = history.now.sliders.keys() - set(editor.attributes)
        anew = (
            opened is not None or path is None or bool(unknown) or other_being_read(opening, path)
        )
        if anew:
            rendering.begin_era()
            history = History()
        opening.drop()
        number = opening.number
        rendering.want(self.rendering.request(pasting, preset=history.now))
        wish, offer = self.offered(editor, path)
        if opening.number != number and opening.wish is None:  # *Stop*, meanwhile
            wish, offer = Opening(None, None, status=STOPPED), {}
        else:
            opening.want(replace(wish, given=given))
        # What was wished meanwhile was meant for this photograph, unless another was there.
        if not anew and rendering.wish is not None:
            history = history.then(rendering.wish.preset)
        rendering.want(self.rendering.request(pasting, preset=history.now))
        era = {panels.era: rendering.era}
        return panels.emptied(editor, wish.status, history) | offer | era

    def offered(self, editor: Editor, path: str | None) -> tuple[Opening, dict]:
        """What is opened first of a file, and the choice of its squares."""
        if path is None or editor.classes:
            return Opening(None, None, status=WELCOME), {}
        try:
            wish, offer = self.panels.panel.offered(editor, Photograph(path))
            wish.photograph.release(above=LARGEST_WAITING)
        except PhotoError as error:
            gr.Warning(str(error))
            return Opening(None, None, status=str(error)), {}
        return wish, offer

    def not_begun(self, rendering: Newest) -> dict:
        """A photograph that did not come as far as `choose`: the one before stays, and sliders."""
        return {self.panels.era: rendering.era, self.panels.status: NOT_BEGUN}

    def reopen(self, opening: Newest, path: str | None, choice, eyes, *wanted) -> dict:
        """Another square of the picture, or another quality."""
        status = opening.wish.status if opening.wish else STOPPED
        photograph = None if path is None else wanted_photograph(opening, path)
        opening.want(Opening(photograph, choice, eyes, status))
        return self.rendering.supersede(*wanted)

    def turn(self, chosen: Chosen, faces: FaceEdits, finished: Finished | None, *values) -> dict:
        """Another face of the picture, with its own edit; the one before keeps its own."""
        opening, path, choice, eyes, opened, _, rendering, pasting, keep, history = values
        panels = self.panels
        faces = left(faces, opened, finished, FaceEdit(history, keep))
        entered = faces.get(choice, FaceEdit())
        rendering.begin_era()
        wanted = (opened, opening, rendering, pasting, entered.keep, entered.history)
        status = self.reopen(opening, path, choice, eyes, *wanted)
        moved = panels.positions(panels.models.of(chosen), entered.history)
        kept = {panels.faces: faces, panels.keep.state: entered.keep, panels.era: rendering.era}
        return kept | moved | status

    def open(
        self,
        chosen: Chosen,
        opening: Newest,
        quality: str,
        codes: dict,
        opened: Opened | None = None,
    ):
        """Encode the picture that was chosen last and render its reconstruction.

        Yields the progress; ends within a step when another is chosen. `codes` are the visitor's
        last ones, so that going back to a picture costs nothing.
        """
        number, wish = opening.number, opening.wish
        if opened is not None and opened.number == number:
            yield {self.panels.status: gr.skip()}
            return
        if wish is None or wish.choice is None or wish.photograph is None:
            yield self._closed(wish.status if wish else STOPPED)
            return
        editor, read = self.panels.models.of(chosen), False
        try:
            for report in self._reports(editor, opening, QUALITY[quality], codes):
                if opening.number != number:
                    yield {self.panels.status: gr.skip()}
                    return
                if report:
                    read = report.get(self.panels.opened) is not None
                    yield report
        finally:
            if not read:  # nobody may come back to it
                wish.photograph.release()

    def _closed(self, status: str) -> dict:
        """Without a picture: said once more, after whatever was on its way."""
        panels = self.panels
        gone = [panels.opened, panels.finished, panels.panel.square, panels.keep.canvas]
        return dict.fromkeys(gone) | {
            panels.notice: gr.Markdown("", visible=False),
            panels.status: status,
        }

    def _reports(self, editor: Editor, opening: Newest, steps: int, codes: dict):
        """What is reported of an opening, at last the portrait; None where nothing is new."""
        panels, start = self.panels, time.monotonic()
        number, wish = opening.number, opening.wish
        square = chosen_square(wish.photograph, editor.framing, wish.choice, wish.eyes)
        if square is None:
            yield {
                **dict.fromkeys([panels.opened, panels.finished]),
                panels.status: click_words(wish),
            }
            return
        framed = wish.photograph.framed(editor.framing, square)
        yield {
            **{panels.opened: None, panels.finished: None},
            panels.panel.square: shown(framed.square(editor.image_size)),
            panels.status: READING,
        }
        key = (editor.title, wish.photograph.source, framed.alignment, steps)
        if key in codes:
            portrait = make_portrait(editor, framed, codes[key])
        else:
            if waiting := waiting_sentence(opening_seconds(editor, steps)):
                yield {panels.status: f"{READING} {waiting}"}
            portrait = yield from self._read(editor, framed, steps)
            codes = dict([*codes.items(), (key, portrait.code)][-CODES_KEPT:])
        yield {
            panels.opened: Opened(portrait, wish.choice, number),
            panels.codes: codes,
            panels.keep.canvas: panels.keep.over(portrait),
            panels.notice: gr.Markdown(portrait.notice, visible=bool(portrait.notice)),
            panels.status: f"Read in {time.monotonic() - start:.1f} s.",
        }

    def _read(self, editor: Editor, framed: Framed, steps: int):
        """Reports of the progress now and then; returns the portrait."""
        reported = time.monotonic()
        for part, portrait in read_steps(editor, framed, steps):  # noqa: B007
            due = time.monotonic() - reported > REPORT_EVERY
            reported = time.monotonic() if due else reported
            yield {self.panels.status: f"{READING} {part:.0%}"} if due else None
        return portrait
