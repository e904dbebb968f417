"""The Interpolate tab: from one photograph to another, by code or by trajectory."""

import time

import gradio as gr
from PIL import Image

from pdae_app.engine import EditError
from pdae_app.engine.carry_out import encode_end, interpolate
from pdae_app.engine.framing import Square
from pdae_app.engine.requests import InterpolationRequest
from pdae_app.export import FILMS
from pdae_app.export.provenance import Provenance
from pdae_app.ui.bounded import BoundedSlider
from pdae_app.ui.events import HIDDEN, LAST_WINS, ModelWorkers, explained, long_run, shown
from pdae_app.ui.files import saved
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.photo_input import photo_input
from pdae_app.ui.session import EXAMPLES, TIME_TO_LIVE
from pdae_app.ui.strip_panel import SHEET, exported

MODES = {
    "By trajectory (the two pulls are blended at every step)": "trajectory",
    "By code (one code between the two)": "latent",
}
FEWEST, MOST = 3, 15


class InterpolateTab:
    """Two photographs, the frames between them, a slider to look through them, and a film."""

    def __init__(self, models: Models, model: ModelWorkers, chosen: gr.State):
        self.models = models
        self.frames = gr.State([], time_to_live=TIME_TO_LIVE)
        self.provenance = gr.State(None, time_to_live=TIME_TO_LIVE)
        gr.Markdown("Two photographs, and the people in between.")
        with gr.Row():
            self.first = photo_input("First photograph", "first", 240, str(EXAMPLES[0]))
            self.second = photo_input("Second photograph", "second", 240, str(EXAMPLES[1]))
        with gr.Row():
            self.mode = gr.Radio(list(MODES), value=next(iter(MODES)), label="Way", elem_id="mode")
            self.count = BoundedSlider(
                FEWEST, MOST, value=7, step=1, label="Frames", elem_id="frames", buttons=[]
            )
            self.center = gr.Checkbox(label="Use the centre square where no face is found")
        with gr.Row():
            self.run = gr.Button("Interpolate", variant="primary", elem_id="interpolate")
            self.stop = gr.Button("Stop", elem_id="stop-interpolation")
        self.status = gr.Markdown(elem_id="interpolation-status")
        self._lay_out_results()
        self._connect(model, chosen)

    def _lay_out_results(self) -> None:
        self.gallery = gr.Gallery(
            label="Frames",
            format="png",
            columns=7,
            fit_columns=False,
            height="auto",
            object_fit="contain",
            buttons=["download_all", "fullscreen"],
            elem_id="frames-gallery",
        )
        with gr.Row():
            with gr.Column(scale=3):
                self.scrub = BoundedSlider(
                    1, 7, value=1, step=1, label="Look through the frames", elem_id="scrub"
                )
                self.kind = gr.Dropdown(
                    [*reversed(FILMS), SHEET], value="MP4", label="Save as", elem_id="film-kind"
                )
                self.make = gr.Button("Make the file", elem_id="make-film")
                self.save = gr.DownloadButton("Save", interactive=False, elem_id="save-film")
            self.frame = gr.Image(
                label="Frame",
                format="png",
                interactive=False,
                height=280,
                elem_id="frame",
                buttons=["fullscreen"],
            )

    def _connect(self, model: ModelWorkers, chosen: gr.State) -> None:
        quiet = {"show_progress": "hidden", **HIDDEN, **LAST_WINS}
        long_run(
            model,
            (self.run, self.stop),
            self.status,
            self.interpolate,
            inputs=[chosen, self.first, self.second, self.mode, self.count, self.center],
            outputs=[
                *(self.gallery, self.frames, self.provenance, self.scrub, self.frame),
                *(self.save, self.status),
            ],
        )
        self.scrub.input(self.at, [self.frames, self.scrub], self.frame, queue=False, **quiet)
        self.make.click(
            explained(self.film),
            [self.frames, self.provenance, self.kind],
            [self.save, self.status],
            **quiet,
        )

    def interpolate(self, chosen: Chosen, first, second, mode: str, count: float, center: bool):
        """Encode both pictures, then yield the growing gallery with a status line."""
        if first is None or second is None:
            raise EditError("Choose two photographs first.")
        editor, start, codes = self.models.of(chosen), time.monotonic(), []
        request = InterpolationRequest(MODES[mode], int(count), square=Square(or_center=center))
        unsaved = gr.DownloadButton(value=None, interactive=False)
        yield {self.frames: [], self.gallery: [], self.frame: None, self.save: unsaved}
        for number, path in enumerate((first, second), 1):
            yield {self.status: f"Reading photograph {number}…"}
            codes.append(encode_end(editor, path, request))
        done: list[Image.Image] = []
        files: list[str] = []
        provenance = request.provenance(editor.title)
        for image in interpolate(editor, codes, request):
            done.append(shown(image))
            files = [*files, saved(done[-1], f"frame-{len(done)}", provenance)]
            yield {self.gallery: files, self.status: f"Frame {len(done)} of {request.frames}…"}
        yield {
            **{self.frames: done, self.provenance: provenance},
            self.scrub: gr.Slider(maximum=len(done), value=1),
            self.frame: done[0],
            self.status: f"Done in {time.monotonic() - start:.1f} s.",
        }

    def at(self, frames: list[Image.Image], number: float) -> Image.Image | None:
        """The frame that the slider points at."""
        return frames[min(int(number), len(frames)) - 1] if frames else None

    def film(self, frames: list[Image.Image], provenance: Provenance | None, kind: str) -> dict:
        """The finished frames as one file."""
        if not frames:
            raise EditError("Press Interpolate first, and wait until all frames are there.")
        path = exported(frames, kind, provenance, "interpolation")
        button = gr.DownloadButton(value=path, interactive=True)
        return {self.save: button, self.status: "The file is ready: press *Save*."}
