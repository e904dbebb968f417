"""The Look inside tab: what the model does with a picture, for those who want to see it."""

import time

import gradio as gr
import pandas as pd
from PIL import Image

from pdae_app.engine import EditError, Editor
from pdae_app.engine.framing import Square, frame
from pdae_app.engine.generation import check_seed
from pdae_app.engine.inside import (
    EVALUATIONS,
    OneStep,
    encodes,
    encoding_maps,
    one_step,
    variations,
    weighting_curves,
)
from pdae_app.engine.waiting import run_seconds, run_sentence
from pdae_app.ui.events import ModelWorkers, long_run, shown
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.photo_input import photo_input
from pdae_app.ui.session import EXAMPLES

ONE_STEP_NOTE = """
**One step.** The picture with more and more noise, and what one step makes of it: by the frozen
model alone, which knows no picture, and with the shift, which knows the code (PDAE, Fig. 5). The
last row is the shift itself: grey where it changes nothing (Fig. 13). The numbers are t.
"""
GAP_NOTE = """
**The gap** between the true posterior mean and the predicted one, a pixel, as a part of the frozen
model's. Where the curve is low, the code supplies what the frozen model cannot know.
"""
VARIATION_NOTE = """
**What the code alone holds.** The same code under drawn noise: what the pictures share lies in the
code (mean), what differs in the noise (standard deviation, scaled).
"""
ENCODING_NOTE = """
**What the encoder moves.** DiffEnc noises an encoded picture: where the encoding makes it brighter
(red) and darker (blue) with time, from little noise to much (DiffEnc, Fig. 2).
"""
WEIGHTING_NOTE = """
**Weightings of the training loss** over t, relative to the variational bound's, each divided by its
largest value (PDAE, Fig. 4).
"""


class InsideTab:
    """A picture, and four views of what happens to it."""

    def __init__(self, models: Models, model: ModelWorkers, chosen: gr.State):
        self.models = models
        with gr.Row():
            with gr.Column(scale=3, min_width=240):
                self.photo = photo_input("Photograph", "inside-photo", 240, str(EXAMPLES[1]))
            with gr.Column(scale=2, min_width=200):
                self.seed = gr.Number(0, label="Seed of the noise", precision=0)
                self.center = gr.Checkbox(label="Use the centre square where no face is found")
                self.run = gr.Button("Look inside", variant="primary", elem_id="inside")
                self.stop = gr.Button("Stop", elem_id="stop-inside")
                self.status = gr.Markdown(elem_id="inside-status")
        self._lay_out_results()
        outputs = [self.steps, self.gap, self.variations, self.encoding, self.status]
        long_run(
            model,
            (self.run, self.stop),
            self.status,
            self.look,
            inputs=[chosen, self.photo, self.seed, self.center],
            outputs=outputs,
        )

    def _lay_out_results(self) -> None:
        pictures = {"format": "png", "object_fit": "contain", "buttons": ["fullscreen"]}
        pictures |= {"columns": 8, "fit_columns": False}
        gr.Markdown(ONE_STEP_NOTE)
        self.steps = gr.Gallery(label="One step", height=560, elem_id="inside-steps", **pictures)
        gr.Markdown(GAP_NOTE)
        self.gap = gr.LinePlot(
            x="t",
            y="part of the gap",
            color="model",
            tooltip="all",
            y_lim=[0, None],
            height=260,
            elem_id="inside-gap",
        )
        gr.Markdown(VARIATION_NOTE)
        self.variations = gr.Gallery(
            label="Variations", height=200, elem_id="inside-variations", **pictures
        )
        with gr.Column(visible=encodes(self.models.first.bundle)) as self.encoding_part:
            gr.Markdown(ENCODING_NOTE)
            self.encoding = gr.Gallery(
                label="Encoding", height=200, elem_id="inside-encoding", **pictures
            )
        gr.Markdown(WEIGHTING_NOTE)
        self.weightings = gr.LinePlot(
            self.curves(self.models.first),
            x="t",
            y="weight",
            color="weighting",
            tooltip="all",
            height=260,
            elem_id="inside-weightings",
        )

    def curves(self, editor: Editor) -> pd.DataFrame:
        """The weightings over the model's timesteps."""
        return pd.DataFrame(weighting_curves(editor.bundle.diffusion.schedule))

    @property
    def adapting(self) -> list:
        """What changes with the model."""
        results = [self.steps, self.gap, self.variations, self.encoding, self.weightings]
        return [*results, self.encoding_part, self.status]

    def adapted(self, editor: Editor) -> dict:
        """The tab for another model."""
        return {
            self.steps: [],
            self.gap: None,
            self.variations: [],
            self.encoding: [],
            self.encoding_part: gr.update(visible=encodes(editor.bundle)),
            self.weightings: self.curves(editor),
            self.status: "",
        }

    def look(self, chosen: Chosen, path: str | None, seed: float | None, center: bool):
        """Yield the views one after the other."""
        if path is None:
            raise EditError("Choose a photograph first.")
        start = time.monotonic()
        seed = int(seed) if seed is not None else None
        check_seed(seed)
        editor = self.models.of(chosen)
        framed = frame(path, editor.framing, Square(or_center=center))
        square = framed.square(editor.image_size)
        takes = run_sentence(run_seconds(editor, EVALUATIONS, opening=True))
        yield {self.status: f"Reading the picture… {takes}"}
        code = editor.encode(framed)
        steps: list[OneStep] = []
        for step in one_step(editor, square, code, seed=seed):
            steps.append(step)
            yield {self.status: f"One step at t = {step.t:.4g}…"}
        yield {
            self.steps: rows_of(steps),
            self.gap: gap_curve(steps),
            self.status: "Drawing variations…",
        }
        found = variations(editor, code, seed=seed)
        captions = [f"noise {i}" for i in range(1, len(found.pictures) + 1)]
        named = [*zip(found.pictures, captions, strict=True)]
        named += [(found.mean, "mean"), (found.deviation, "deviation")]
        yield {
            self.variations: [(shown(image), caption) for image, caption in named],
            self.encoding: encoding_rows(editor, square),
            self.status: f"Done in {time.monotonic() - start:.1f} s.",
        }


def encoding_rows(editor: Editor, square: Image.Image) -> list[tuple]:
    """Maps of the encoding, named by their times; none where nothing is encoded."""
    if not encodes(editor.bundle):
        return []
    return [(shown(image), f"t = {t:g}") for t, image in encoding_maps(editor, square)]


def rows_of(steps: list[OneStep]) -> list[tuple]:
    """Four rows of pictures, named by t: noised, one step without and with the shift, the shift."""
    rows = (("noised", "noised"), ("without", "alone"), ("shifted", "shifted"), ("shift", "shift"))
    return [
        (shown(getattr(step, field)), f"{caption} {step.t:.4g}")
        for field, caption in rows
        for step in steps
    ]


def gap_curve(steps: list[OneStep]) -> pd.DataFrame:
    """Both gaps over t as a part of the frozen model's."""
    rows = []
    for step in steps:
        rows.append({"t": step.t, "model": "alone", "part of the gap": 1.0})
        part = step.gap_shifted / max(step.gap_without, 1e-30)
        rows.append({"t": step.t, "model": "with the shift", "part of the gap": part})
    return pd.DataFrame(rows)
