"""The Edit tab's left column: a photograph, the part of it that the model sees, the quality."""

import gradio as gr
from gradio.events import Dependency
from PIL import Image, ImageDraw

from pdae_app.engine import QUALITY, EditError, Editor
from pdae_app.engine.framing import Eyes, Photograph
from pdae_app.faces.photo import opened
from pdae_app.ui.events import AT_ONCE, NOT_BEGUN, Newest, explained
from pdae_app.ui.framing import BY_HAND, CENTER, FACE, made_here, squares
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.photo_input import photo_input
from pdae_app.ui.session import EXAMPLES, TIME_TO_LIVE, Opening

NO_FACE = (
    "No face was found. Use a picture where the face looks towards the camera and is well lit, "
    f"or choose **{CENTER}** or **{BY_HAND}** on the left."
)
NO_FACE_THERE = (
    "There is no face where you clicked. Click on a face, or choose a part of the picture below."
)
READING = "Reading the picture…"
BEING_READ = "The photograph is read first, and then edited so."
NOTHING_YET = "Choose a photograph first: there is nothing yet that a slider could change."
READING_STOPPED = "The photograph was not read to its end. Choose it again, and then drag a slider."
CLICK = "Click on one eye, then on the other."
CLICK_OTHER = "Now click on the other eye."
QUALITY_INFO = f"Best takes {QUALITY['Best'] // QUALITY['Fast']} times as long as Fast."
HAND_SIDE = 700
THUMBNAIL = 96
# Of a mark on an eye, in pixels.
MARK = 7


class PhotoPanel:
    """What is opened, and how."""

    def __init__(self, models: Models, chosen: gr.State):
        self.models, self.chosen, editor = models, chosen, models.first
        self.opening = gr.State(Newest(), time_to_live=TIME_TO_LIVE)
        self.eyes = gr.State(())
        self.photo = photo_input("Photograph", elem_id="photo", height=260)
        with gr.Column(visible=editor.of_faces, elem_id="examples") as self.examples:
            self.samples = gr.Dataset(
                components=[self.photo],
                samples=[[str(path)] for path in EXAMPLES],
                label="Synthetic people",
                type="index",
            )
        self.people = gr.Gallery(
            label="Faces: click on one, here or in the photograph",
            show_label=False,  # it would lie on the faces
            format="png",
            columns=4,
            fit_columns=False,
            height="auto",
            allow_preview=False,
            visible=False,
            buttons=[],
            elem_id="faces",
        )
        self.framing = gr.Radio(label="Part of the picture", visible=False, elem_id="framing")
        picture = {"interactive": False, "buttons": []}
        self.by_hand = gr.Image(
            label=CLICK, format="webp", visible=False, height=300, elem_id="by-hand", **picture
        )
        self.quality = gr.Radio(
            list(QUALITY), value="Fast", label="Quality", info=QUALITY_INFO, elem_id="quality"
        )
        with gr.Accordion("What the model sees", open=False, elem_id="sees"):
            self.square = gr.Image(
                show_label=False, format="png", height=200, elem_id="square", **picture
            )

    @property
    def choice(self) -> list:
        """What says which square of which picture is opened."""
        return [self.opening, self.photo, self.framing, self.eyes]

    def connect_samples(self, status: gr.Markdown) -> None:
        """A click on an example: the browser says so at once, on a busy machine seconds earlier."""
        self.samples.click(None, None, status, js=f"() => {READING!r}", **AT_ONCE)
        given = self.samples.click(
            lambda number: str(EXAMPLES[number]), self.samples, self.photo, **AT_ONCE
        )
        given.failure(lambda: NOT_BEGUN, None, status, **AT_ONCE)

    @property
    def emptying(self) -> list:
        """What changes when another photograph comes."""
        return [self.eyes, self.framing, self.people, self.by_hand, self.square]

    def emptied(self) -> dict:
        """Nothing chosen yet."""
        return {
            self.eyes: (),
            self.framing: gr.Radio(choices=[], value=None, visible=False),
            self.people: gr.Gallery(value=[], visible=False),
            self.by_hand: gr.Image(value=None, visible=False),
            self.square: None,
        }

    def adapted(self, editor: Editor) -> dict:
        """The column for another model; a photograph stays, where the model reads any."""
        gone = {self.photo: None} if editor.classes else {}
        return gone | {self.examples: gr.Column(visible=editor.of_faces)}

    def offered(self, editor: Editor, photograph: Photograph) -> tuple[Opening, dict]:
        """The square that is opened first, and the choice of a picture's faces and its centre.

        Raises:
            PhotoError: the picture cannot be used.
        """
        choices = list(squares(photograph, editor.framing))
        made = made_here(photograph.source)
        faceless = editor.of_faces and choices[0] == CENTER and not made
        if editor.of_faces:
            choices.append(BY_HAND)
        first = None if faceless else CENTER if made else choices[0]
        offer = gr.Radio(choices=choices, value=first, visible=len(choices) > 1)
        wish = Opening(photograph, first, status=NO_FACE if faceless else READING)
        return wish, {self.framing: offer} | self._people(editor, photograph)

    def _people(self, editor: Editor, photograph: Photograph) -> dict:
        """Small pictures of the faces to choose by, where there are several."""
        faces = [
            (photograph.framed(editor.framing, square).view(THUMBNAIL), name)
            for name, square in squares(photograph, editor.framing).items()
            if name.startswith(FACE)
        ]
        several = len(faces) > 1
        return {self.people: gr.Gallery(value=faces if several else [], visible=several)}

    def choosing(self, quiet: dict) -> tuple[list[Dependency], Dependency]:
        """The choices of another square, and a click on an eye.

        After either the photograph is opened anew.
        """
        shown = {
            "fn": explained(self.show_by_hand),
            "inputs": [self.opening, self.photo, self.framing],
            "outputs": [self.by_hand, self.eyes],
            **quiet,
        }
        picked = self.people.select(self.pick, None, self.framing, **quiet)
        pointed = self.photo.select(
            explained(self.pick_at), [self.chosen, self.opening, self.photo], self.framing, **quiet
        )
        picks = [picked.success(**shown), pointed.success(**shown)]
        framed = [self.framing.input(**shown), *picks]
        clicked = self.by_hand.select(
            self.click_eye,
            [self.opening, self.photo, self.eyes],
            [self.eyes, self.by_hand],
            **quiet,
        )
        return framed, clicked

    def pick(self, event: gr.SelectData) -> str:
        """The name of the face that was clicked on."""
        return event.value["caption"]

    def pick_at(self, chosen: Chosen, opening: Newest, path: str, event: gr.SelectData) -> str:
        """The name of the face where the photograph was clicked on.

        Raises:
            EditError: there is none.
        """
        editor, photograph = self.models.of(chosen), wanted_photograph(opening, path)
        if not editor.of_faces:
            return CENTER
        number = photograph.face_at(*(reduced(photograph) * part for part in event.index))
        if number is None:
            raise EditError(NO_FACE_THERE)
        return list(squares(photograph, editor.framing))[number - 1]

    def show_by_hand(self, opening: Newest, path: str | None, choice: str | None) -> dict:
        """The photograph to click on, where that was chosen."""
        if path is None or choice != BY_HAND:
            return {self.by_hand: gr.Image(visible=False), self.eyes: ()}
        photograph = wanted_photograph(opening, path)
        small = marked(photograph, ())
        return {self.by_hand: gr.Image(value=small, label=CLICK, visible=True), self.eyes: ()}

    def click_eye(
        self, opening: Newest, path: str | None, eyes: Eyes, event: gr.SelectData
    ) -> dict:
        """Remember where an eye is, in pixels of the photograph; a third click begins anew."""
        if path is None:
            return {self.eyes: ()}
        photograph = wanted_photograph(opening, path)
        shrunk, (x, y) = _shrunk(photograph), event.index
        eyes = (*(eyes if len(eyes) < 2 else ()), (x / shrunk, y / shrunk))
        label = CLICK_OTHER if len(eyes) == 1 else CLICK
        return {self.eyes: eyes, self.by_hand: gr.Image(marked(photograph, eyes), label=label)}


def wanted_photograph(opening: Newest, path: str) -> Photograph:
    """The photograph that is being opened, or was last; after *Stop*, read anew."""
    wish = opening.wish
    known = wish is not None and wish.photograph is not None and wish.photograph.source == path
    return wish.photograph if known else Photograph(path)


def other_being_read(opening: Newest, path: str) -> bool:
    """Whether a face of another photograph than this one is wanted so far."""
    wish = opening.wish
    if wish is None or wish.photograph is None or wish.choice is None:
        return False
    return wish.photograph.source != path


def click_words(wish: Opening) -> str:
    """Which eye is to be clicked on next."""
    return CLICK_OTHER if len(wish.eyes) == 1 else CLICK


def not_open_words(opening: Newest) -> str:
    """Why there is nothing yet that a slider could change."""
    wish = opening.wish
    if wish is None and opening.number:
        return READING_STOPPED
    if wish is None or wish.photograph is None:
        return NOTHING_YET
    if wish.choice is None:  # no face was found
        return wish.status
    return click_words(wish) if wish.choice == BY_HAND and len(wish.eyes) < 2 else BEING_READ


def reduced(photograph: Photograph) -> float:
    """How much smaller it was decoded than the browser shows it: a very large JPEG is."""
    with opened(photograph.source) as whole:
        return max(photograph.size) / max(whole.size)


def marked(photograph: Photograph, eyes: Eyes) -> Image.Image:
    """The photograph, small, with a mark on every eye that was clicked on."""
    shrunk = _shrunk(photograph)
    small = photograph.image.resize([round(shrunk * n) for n in photograph.size])
    photograph.release()
    draw = ImageDraw.Draw(small)
    for x, y in eyes:
        place = (shrunk * x, shrunk * y)
        draw.circle(place, MARK, outline="white", width=3)
        draw.circle(place, MARK - 2, outline="black", width=1)
    return small


def _shrunk(photograph: Photograph) -> float:
    """How much smaller it is shown to click on."""
    return min(1.0, HAND_SIDE / max(photograph.size))
