"""The Film tab: one edit on all frames of a short film."""

import time

import gradio as gr

from pdae_app.clips import MOST_FRAMES, WRITERS, Clip, ClipError, Frame
from pdae_app.engine import QUALITY, Editor
from pdae_app.engine.moving import Moment, clip_seconds, edit_clip
from pdae_app.engine.quality import quality_steps
from pdae_app.engine.requests import EditRequest
from pdae_app.engine.waiting import spoken
from pdae_app.export.credentials import FILM_MIME, signed
from pdae_app.export.names import edited_name
from pdae_app.limits import Limits
from pdae_app.ui.events import ModelWorkers, long_run
from pdae_app.ui.files import preview, stored
from pdae_app.ui.history import History
from pdae_app.ui.live_panel import LivePanel
from pdae_app.ui.models import Chosen, Models

NOTE = """
A film of a face, and the edit of the sliders as they stand in the **Edit** tab, on every frame. Its
first {seconds:g} seconds are used, at most {frames} frames; the sound stays. The largest face is
edited.
"""
FILES = [".mp4", ".mov", ".m4v", ".webm", ".mkv", ".gif"]

PASSES = {"faces": "Finding the face", "codes": "Reading the face", "frames": "Editing"}
SHOWN = (640, 640)
# Seconds between two frames that are shown.
OFTEN = 1.0


class FilmTab:
    """A film in, a film out."""

    def __init__(self, models: Models, model: ModelWorkers, chosen: gr.State, history: gr.State):
        self.models = models
        gr.Markdown(NOTE.format(seconds=Limits.of().film_seconds, frames=MOST_FRAMES))
        with gr.Row():
            with gr.Column():
                self.film = gr.File(label="Film", file_types=FILES, height=140, elem_id="film")
                self.kind = gr.Radio(list(WRITERS), value="MP4", label="Save as", elem_id="film-as")
                self.quality = gr.Radio(list(QUALITY), value="Fast", label="Quality")
                with gr.Row():
                    self.run = gr.Button("Edit the film", variant="primary", elem_id="edit-film")
                    self.stop = gr.Button("Stop", elem_id="stop-film")
                self.status = gr.Markdown(elem_id="film-status")
            self.frame = gr.Image(
                label="Frame", interactive=False, height=360, buttons=[], elem_id="film-frame"
            )
        self.result = gr.File(label="The edited film", interactive=False, elem_id="film-result")
        long_run(
            model,
            (self.run, self.stop),
            self.status,
            self.edit,
            inputs=[chosen, history, self.film, self.kind, self.quality],
            outputs=[self.frame, self.result, self.status],
        )
        with gr.Accordion("Live, from the webcam", open=False):
            self.live = LivePanel(models, model, chosen, history)

    @property
    def adapting(self) -> list:
        """What changes with the model."""
        return self.live.adapting

    def adapted(self, editor: Editor) -> dict:
        """The tab for another model: whether it is fast enough for a webcam is asked anew."""
        return self.live.adapted()

    def edit(self, chosen: Chosen, history: History, path: str | None, kind: str, quality: str):
        """Edit frame after frame; yields what is done, at last the film."""
        if path is None:
            raise ClipError("Choose a film first.")
        editor, start, clip = self.models.of(chosen), time.monotonic(), Clip(path)
        request = EditRequest(history.now, quality_steps(quality))
        provenance, name = request.provenance(editor.title), edited_name(path, history.now.sliders)
        yield {self.frame: None, self.result: None, self.status: "Opening the film…"}
        shown = count = 0
        with WRITERS[kind](clip, provenance) as writer:
            for moment in edit_clip(editor, clip, request):
                count = max(count, moment.done)
                report = {self.status: progress_words(editor, moment, count, request.steps)}
                if moment.frame:
                    writer.add(moment.frame)
                    if time.monotonic() - shown > OFTEN:
                        shown = time.monotonic()
                        report[self.frame] = small_preview(moment.frame)
                yield report
            yield {self.status: "Writing the film…"}
            data = signed(writer.finish(), FILM_MIME[kind], provenance)
        yield {
            self.result: stored(data, f"{name}.{kind.lower()}"),
            self.status: f"{count} frames in {spoken(time.monotonic() - start)}.",
        }


def progress_words(editor: Editor, moment: Moment, count: int, steps: int) -> str:
    """How far it is, and once the frames are counted, how long it still takes."""
    text = f"{PASSES[moment.what]}: frame {moment.done}"
    if moment.what == "faces":
        return f"{text}…"
    left = count - moment.done if moment.what == "frames" else count
    return f"{text} of {count}, about {spoken(clip_seconds(editor, left, steps))} left…"


def small_preview(frame: Frame) -> str:
    """The path of the frame, small."""
    small = frame.image.copy()
    small.thumbnail(SHOWN)
    return preview(small)
