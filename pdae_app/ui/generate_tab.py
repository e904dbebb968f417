"""The Generate tab: people who do not exist, from the latent diffusion model."""

import time
from dataclasses import asdict

import gradio as gr

from pdae_app.drawing import MOST_TEMPERATURE, MOST_VARIETY, Drawing
from pdae_app.engine import QUALITY, EditError, Editor
from pdae_app.engine.carry_out import generate
from pdae_app.engine.quality import quality_steps
from pdae_app.engine.requests import MOST_PICTURES, GenerationRequest, wanted_attributes
from pdae_app.ui.bounded import BoundedSlider
from pdae_app.ui.events import HIDDEN, ModelWorkers, long_run, shown
from pdae_app.ui.files import saved
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.slider_pool import label

SWEEP = (0.0, 0.5, 1.0, 1.5, 2.0)
COLUMNS = 6
VARIETY_INFO = "Below 1 the people are more typical, and less unlike one another."
TEMPERATURE_INFO = "Of the noise that a picture begins from: below 1 it is smoother."
UNGUIDED_INFO = "The last part of the steps that the model does without the code."
SCALE_INFO = "1 follows the code, 0 ignores it; above 1 the pictures become more typical."
WANTED_INFO = "New people are drawn until one fits your choice: what is rare takes longer."


class GenerateTab:
    """Seeds, what they are to have, and the pictures."""

    def __init__(self, models: Models, model: ModelWorkers, chosen: gr.State):
        self.models, self.picked = models, gr.State(None)
        gr.Markdown("New pictures: each seed is one, the same again whenever you ask.")
        self._lay_out_wishes()
        with gr.Row():
            self.run = gr.Button("Generate", variant="primary", elem_id="generate")
            self.stop = gr.Button("Stop", elem_id="stop-generation")
            self.edit = gr.Button(
                "Edit the picked one",
                interactive=False,
                visible=not models.first.classes,
                elem_id="edit-this",
            )
        self.status = gr.Markdown(elem_id="generation-status")
        self.gallery = gr.Gallery(
            label="Pictures",
            format="png",
            columns=COLUMNS,
            fit_columns=False,
            height="auto",
            object_fit="contain",
            buttons=["download_all", "fullscreen"],
            elem_id="generated",
        )
        self._connect(model, chosen)

    def _lay_out_wishes(self) -> None:
        wishes = self.wishes(self.models.first)
        self.label = gr.Dropdown(label="Class", elem_id="class", **wishes[0])
        with gr.Row():
            self.count = BoundedSlider(
                1, MOST_PICTURES, value=6, step=1, label="Pictures", elem_id="count", buttons=[]
            )
            self.seed = gr.Number(0, label="First seed", precision=0, elem_id="seed")
        with gr.Row():
            self.having = gr.Dropdown(label="With", elem_id="with", **wishes[1])
            self.lacking = gr.Dropdown(label="Without", elem_id="without", **wishes[1])
        self.quality = gr.Radio(
            list(QUALITY), value="Fast", label="Quality", elem_id="generation-quality"
        )
        with gr.Accordion("Advanced", open=False, elem_id="generation-advanced"):
            self._lay_out_drawing(self.models.first.bundle.drawing)

    def _lay_out_drawing(self, drawing: Drawing) -> None:
        with gr.Row():
            self.drawing = {
                "variety": BoundedSlider(
                    *(0, MOST_VARIETY, drawing.variety, 0.05), label="Variety", info=VARIETY_INFO
                ),
                "temperature": BoundedSlider(
                    *(0, MOST_TEMPERATURE, drawing.temperature, 0.05),
                    label="Temperature",
                    info=TEMPERATURE_INFO,
                ),
                "unguided": BoundedSlider(
                    *(0, 1, drawing.unguided, 0.05), label="Unguided tail", info=UNGUIDED_INFO
                ),
            }
        with gr.Row():
            self.scale = BoundedSlider(
                0, 3, value=1, step=0.05, label="Guidance scale", info=SCALE_INFO, buttons=[]
            )
            self.sweep = gr.Checkbox(
                label="Every picture at guidance scales 0 to 2", elem_id="sweep"
            )

    def wishes(self, editor: Editor) -> tuple[dict, dict]:
        """What can be asked of an editor: a class, or attributes."""
        classes = list(editor.classes)
        first = classes[0] if classes else None
        attributes = [(label(name), name) for name in editor.attributes]
        conditions = {
            "choices": attributes,
            "value": [],
            "multiselect": True,
            "info": WANTED_INFO,
            "visible": bool(attributes) and not classes,
        }
        return {"choices": classes, "value": first, "visible": bool(classes)}, conditions

    @property
    def adapting(self) -> list:
        """What changes with the model."""
        wishes = [self.label, self.having, self.lacking]
        return [*wishes, *self.drawing.values(), self.gallery, self.picked, self.edit, self.status]

    def adapted(self, editor: Editor) -> dict:
        """The tab for another model."""
        classes, conditions = self.wishes(editor)
        settings = asdict(editor.bundle.drawing)
        return {
            **{slider: settings[name] for name, slider in self.drawing.items()},
            self.label: gr.Dropdown(**classes),
            self.having: gr.Dropdown(**conditions),
            self.lacking: gr.Dropdown(**conditions),
            self.gallery: [],
            self.picked: None,
            self.edit: gr.Button(interactive=False, visible=not editor.classes),
            self.status: "",
        }

    def _connect(self, model: ModelWorkers, chosen: gr.State) -> None:
        quiet = {"show_progress": "hidden", "queue": False, **HIDDEN}
        long_run(
            model,
            (self.run, self.stop),
            self.status,
            self.generate,
            inputs=[
                *(chosen, self.count, self.seed, self.scale, self.label),
                *(self.having, self.lacking, self.sweep, self.quality, *self.drawing.values()),
            ],
            outputs=[self.gallery, self.picked, self.edit, self.status],
        )
        # Not the last alone, for a click that waits would come with the one before it.
        self.gallery.select(
            self.pick, None, [self.picked, self.edit], trigger_mode="multiple", **quiet
        )

    def pick(self, event: gr.SelectData) -> dict:
        """Remember the picture that was clicked on, for *Edit the picked one*."""
        path = event.value["image"]["path"]
        return {self.picked: path, self.edit: gr.Button(interactive=True)}

    def generate(
        self,
        chosen: Chosen,
        count: float,
        seed: float | None,
        scale: float,
        label: str | None,
        having: list[str],
        lacking: list[str],
        sweep: bool,
        quality: str,
        *drawing: float,
    ):
        """Yield the growing gallery with a status line; captions name the seeds."""
        if seed is None:
            raise EditError("The first seed must be a whole number.")
        editor, start, done, tries = self.models.of(chosen), time.monotonic(), [], {}
        request = GenerationRequest(
            range(int(seed), int(seed) + int(count)),
            SWEEP if sweep else (scale,),
            dict(zip(self.drawing, drawing, strict=True)),
            wanted=wanted_attributes(having, lacking),
            label=label,
            steps=quality_steps(quality),
        )
        gallery = gr.Gallery(value=[], columns=len(SWEEP) if sweep else COLUMNS)
        yield {self.gallery: gallery, self.picked: None, self.edit: gr.Button(interactive=False)}
        yield {self.status: f"Picture 1 of {request.count}…"}
        for made in generate(editor, request):
            path = saved(shown(made.image), f"seed-{made.seed}", made.provenance)
            caption = f"seed {made.seed}" + (f", scale {made.scale:g}" if sweep else "")
            done, tries[made.seed] = [*done, (path, caption)], made.tries
            following = min(len(done) + 1, request.count)
            yield {self.gallery: done, self.status: f"Picture {following} of {request.count}…"}
        seeds, drawn = len(request.seeds), sum(tries.values())
        accepted = f"{seeds} of {drawn} candidates were accepted ({seeds / drawn:.0%})."
        accepted = accepted if request.wanted else ""
        yield {self.status: f"Done in {time.monotonic() - start:.1f} s. {accepted}"}
