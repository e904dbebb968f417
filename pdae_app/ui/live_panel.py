"""The webcam, edited as it is seen: one frame after the other, none of which becomes a file."""

import base64
import binascii
import io
import os
import time

import gradio as gr
from PIL import Image

from pdae_app.engine import EditError, Editor
from pdae_app.engine.moving import clip_seconds, edit_frame
from pdae_app.engine.requests import EditRequest
from pdae_app.faces.photo import open_photo
from pdae_app.limits import Limits
from pdae_app.ui.events import (
    EXPECTED,
    HIDDEN,
    IN_LINE,
    QUIET,
    ModelWorkers,
    sentence,
)
from pdae_app.ui.history import History
from pdae_app.ui.models import Chosen, Models

# Fewer than for a film: who moves sees no difference.
STEPS = 4
# Seconds between two frames that a browser sends; one that comes too soon replaces the one before.
EVERY = 0.1
# Seconds for one visitor, after which the browser joins the line anew.
LONGEST = 60
# Visitors who do this at a time; their frames take turns with all that the model does.
SEVERAL = {"concurrency_limit": 4, "concurrency_id": "live"}
SHOWN, FORMAT = (640, 640), {"format": "webp", "quality": 80, "method": 0}
DATA = ";base64,"

BEGIN = "Press *Record* below the camera, and set sliders in the **Edit** tab."
NOT_THERE = "The picture of the webcam did not arrive whole."
NO_FACE = "No face is seen: look towards the camera, in good light."
NO_SLIDER = "Set a slider in the **Edit** tab."
RENTED = "The GPU of this Space is rented by the request: it is too far away for a webcam."


class Camera(gr.Image):
    """`gr.Image` of a webcam that hands over a frame's bytes, which are in the request itself."""

    # Tells Gradio to use Image's own front end.
    is_template = True

    def preprocess(self, payload) -> bytes:
        """The bytes of the frame's file; empty where there are none."""
        _, _, data = ((payload and payload.url) or "").partition(DATA)
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            return b""


class LivePanel:
    """The camera beside its edited picture, where the machine is fast enough."""

    def __init__(self, models: Models, model: ModelWorkers, chosen: gr.State, history: gr.State):
        self.models, self.model = models, model
        begin = gr.Button("Use the webcam", size="sm", elem_id="live-begin")
        self.status = gr.Markdown(elem_id="live-status")
        with gr.Row(visible=False) as self.row:
            self.camera = Camera(
                label="Webcam", sources=["webcam"], streaming=True, height=360, elem_id="camera"
            )
            self.picture = gr.HTML(elem_id="live")
        begin.click(
            model.reported(self.begin, self.status),
            chosen,
            [self.row, self.status],
            **QUIET,
            **HIDDEN,
            **IN_LINE,
        )
        self.camera.stream(
            self.edit,
            [chosen, history, self.camera],
            [self.picture, self.status],
            stream_every=EVERY,
            time_limit=LONGEST,
            **QUIET,
            **HIDDEN,
            **SEVERAL,
        )
        self.adapting = [self.row, self.status]

    def adapted(self) -> dict:
        """For another model: as at first."""
        return {self.row: gr.Row(visible=False), self.status: ""}

    def begin(self, chosen: Chosen):
        """Offer the camera, or say why not."""
        why = too_slow(self.models.of(chosen))
        yield {self.row: gr.Row(visible=not why), self.status: why or BEGIN}

    def edit(self, chosen: Chosen, history: History, data: bytes) -> dict:
        """One frame edited as the sliders stand; what goes wrong is said, and the next comes."""
        begun, request = time.monotonic(), EditRequest(history.now, STEPS)
        try:
            Limits.of().check_memory()
            frame = edited = _read(data)
            if request.changes:
                edited = self.model.call(self._edited, chosen, frame, request)
        except (*EXPECTED, OSError) as error:
            return {self.status: sentence(error) or NOT_THERE}
        said = ""
        if edited is frame:
            said = NO_FACE if request.changes else NO_SLIDER
        # The time stands with the picture: a status is read aloud whenever it changes.
        return {self.picture: written_out(edited, time.monotonic() - begun), self.status: said}

    def _edited(self, chosen: Chosen, frame: Image.Image, request: EditRequest) -> Image.Image:
        editor = self.models.of(chosen)
        if why := too_slow(editor):  # of an event that no page of ours sent
            raise EditError(why)
        return edit_frame(editor, frame, request)


def too_slow(editor: Editor) -> str:
    """Why a model edits no webcam here; empty where it does."""
    if os.environ.get("SPACES_ZERO_GPU"):
        return RENTED
    seconds, most = clip_seconds(editor, 1, STEPS), Limits.of().live_seconds
    if seconds <= most:
        return ""
    return (
        f"On this computer a frame takes about {seconds:.1f} s, too long for a live picture: "
        f"{most:g} s would do. Record a short film instead, and edit it above."
    )


def _read(data: bytes) -> Image.Image:
    if not data:
        raise EditError(NOT_THERE)
    image = open_photo(data)
    image.thumbnail(SHOWN)
    return image


def written_out(image: Image.Image, seconds: float) -> str:
    """The picture and its time within the page's text: a file of it would stay."""
    buffer = io.BytesIO()
    image.save(buffer, **FORMAT)
    data = base64.b64encode(buffer.getvalue()).decode()
    img = f'<img alt="You, edited" style="width: 100%" src="data:image/webp{DATA}{data}">'
    return f"{img}<small>{seconds:.2f} s a frame</small>"
