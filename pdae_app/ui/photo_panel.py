"""The Edit tab's left column: a photograph, the part of it that the model sees, the quality."""

import gradio as gr
from gradio.events import Dependency

from pdae_app.engine import QUALITY, Editor
from pdae_app.engine.framing import Eyes, Photograph
from pdae_app.ui.events import HIDDEN, LAST_WINS, Newest, explained
from pdae_app.ui.framing import BY_HAND, CENTER, made_here, squares
from pdae_app.ui.photo_input import photo_input
from pdae_app.ui.session import EXAMPLES, TIME_TO_LIVE, Opening

NO_FACE = (
    "No face was found. Use a picture where the face looks towards the camera and is well lit, "
    f"or choose **{CENTER}** or **{BY_HAND}** on the left."
)
READING = "Reading the picture…"
CLICK = "Click on one eye, then on the other."
QUALITY_INFO = ", ".join(f"{name}: {steps} steps" for name, steps in QUALITY.items())
HAND_SIDE = 700


class PhotoPanel:
    """What is opened, and how."""

    def __init__(self, editor: Editor):
        self.opening = gr.State(Newest(), time_to_live=TIME_TO_LIVE)
        self.eyes = gr.State(())
        self.photo = photo_input("Photograph", elem_id="photo", height=260)
        with gr.Column(visible=editor.of_faces) as self.examples:
            people = gr.Dataset(
                components=[self.photo],
                samples=[[str(path)] for path in EXAMPLES],
                label="Synthetic people",
                type="index",
            )
            people.click(
                lambda number: str(EXAMPLES[number]),
                people,
                self.photo,
                queue=False,
                show_progress="hidden",
                **HIDDEN,
                **LAST_WINS,
            )
        self.framing = gr.Radio(label="Part of the picture", visible=False, elem_id="framing")
        picture = {"interactive": False, "buttons": []}
        self.by_hand = gr.Image(
            label=CLICK, format="webp", visible=False, height=300, elem_id="by-hand", **picture
        )
        self.square = gr.Image(
            label="What the model sees", format="png", height=200, elem_id="square", **picture
        )
        self.quality = gr.Radio(
            list(QUALITY), value="Fast", label="Quality", info=QUALITY_INFO, elem_id="quality"
        )

    @property
    def choice(self) -> list:
        """What says which square of which picture is opened."""
        return [self.opening, self.photo, self.framing, self.eyes]

    @property
    def emptying(self) -> list:
        """What changes when another photograph comes."""
        return [self.eyes, self.framing, self.by_hand, self.square]

    def emptied(self) -> dict:
        """Nothing chosen yet."""
        return {
            self.eyes: (),
            self.framing: gr.Radio(choices=[], value=None, visible=False),
            self.by_hand: gr.Image(value=None, visible=False),
            self.square: None,
        }

    def adapted(self, editor: Editor) -> dict:
        """The column for another model."""
        return {self.photo: None, self.examples: gr.Column(visible=editor.of_faces)}

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
        return wish, {self.framing: offer}

    def choosing(self, quiet: dict) -> list[Dependency]:
        """The choices of another square, after which the photograph is opened anew."""
        framed = self.framing.input(
            explained(self.show_by_hand),
            [self.opening, self.photo, self.framing],
            [self.by_hand, self.eyes],
            **quiet,
        )
        clicked = self.by_hand.select(
            self.click_eye,
            [self.opening, self.photo, self.eyes],
            [self.eyes, self.by_hand],
            **quiet,
        )
        return [framed, clicked]

    def show_by_hand(self, opening: Newest, path: str | None, choice: str | None) -> dict:
        """The photograph to click on, where that was chosen."""
        if path is None or choice != BY_HAND:
            return {self.by_hand: gr.Image(visible=False), self.eyes: ()}
        photograph = wanted_photograph(opening, path)
        small = photograph.image.resize([round(_shrunk(photograph) * n) for n in photograph.size])
        photograph.release()
        return {self.by_hand: gr.Image(value=small, label=CLICK, visible=True), self.eyes: ()}

    def click_eye(
        self, opening: Newest, path: str | None, eyes: Eyes, event: gr.SelectData
    ) -> dict:
        """Remember where an eye is, in pixels of the photograph; a third click begins anew."""
        if path is None:
            return {self.eyes: ()}
        shrunk, (x, y) = _shrunk(wanted_photograph(opening, path)), event.index
        eyes = (*(eyes if len(eyes) < 2 else ()), (x / shrunk, y / shrunk))
        label = "Now click on the other eye." if len(eyes) == 1 else CLICK
        return {self.eyes: eyes, self.by_hand: gr.Image(label=label)}


def wanted_photograph(opening: Newest, path: str) -> Photograph:
    """The photograph that is being opened, or was last; after *Stop*, read anew."""
    wish = opening.wish
    known = wish is not None and wish.photograph is not None and wish.photograph.source == path
    return wish.photograph if known else Photograph(path)


def _shrunk(photograph: Photograph) -> float:
    """How much smaller it is shown to click on."""
    return min(1.0, HAND_SIDE / max(photograph.size))
