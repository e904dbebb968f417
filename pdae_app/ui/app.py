"""The page: its tabs put together, its look, and how it is served."""

import gradio as gr

from pdae_app.bundle import BundleError
from pdae_app.engine import EditError, Editor
from pdae_app.ui import api
from pdae_app.ui.about_tab import AboutTab
from pdae_app.ui.edit_tab import EditTab
from pdae_app.ui.events import HIDDEN, ONE_AT_A_TIME, ModelThread
from pdae_app.ui.generate_tab import GenerateTab
from pdae_app.ui.inside_tab import InsideTab
from pdae_app.ui.interpolate_tab import InterpolateTab
from pdae_app.ui.many_tab import ManyTab
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.own_slider_tab import OwnSliderTab

TITLE = "PDAE: edit a photograph by sliders"

THEME = gr.themes.Soft(
    primary_hue="teal",
    neutral_hue="slate",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)

CSS = """
.gradio-container { max-width: min(1180px, 100vw) !important; margin: 0 auto !important; }
/* On a telephone the row of tabs must not widen the page; what does not fit goes into its menu. */
.gradio-container main.contain { min-width: 0; max-width: 100%; }
.gradio-container .wrap:has(> main) { min-width: 0; max-width: 100%; }
.gradio-container .tabs, .gradio-container .tab-wrapper { min-width: 0; max-width: 100%; }
#status p { margin: 0.2em 0; }
#notice { border-left: 4px solid #d97706; padding-left: 0.8em; }
/* Forty sliders must not push the picture out of sight. */
#sliders > .form {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 8px;
  grid-auto-rows: max-content;
  max-height: 640px; overflow-y: auto;
}
@media (max-width: 640px) { #sliders > .form { max-height: none; } }
/* The pictures' places are as high before the first picture as after. */
#result, #whole, #raw { min-height: 300px; }
.small-note { opacity: 0.75; font-size: 0.92em; }
"""

# A slider moved by the arrow keys is let go when the key is: Gradio knows of pointers only.
HEAD = """
<script>
document.addEventListener("keyup", (event) => {
  const moves = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp",
    "PageDown"];
  if (event.target.type === "range" && moves.includes(event.key)) {
    event.target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
  }
});
</script>
"""

INTRO = """
# Edit a face by sliders
Choose a photograph, wait a moment while the model finds the face and its code, then drag a slider
and let go. Use pictures of people who agree, and do not pass an edit off as a photograph.
Photographs stay in your session and are deleted within the hour.
"""

MAX_UPLOAD = "40mb"
LINE = 40


class Page:
    """All tabs, and the choice of the model that they share."""

    def __init__(self, models: Models, model: ModelThread):
        self.models = models
        gr.Markdown(INTRO)
        self.chosen = gr.State(Chosen(models.first.title))
        self.picker = gr.Dropdown(
            models.titles,
            value=models.first.title,
            label="Model",
            allow_custom_value=models.free,
            visible=models.free or len(models.titles) > 1,
            elem_id="model",
        )
        shown = self._visible(models.first)
        with gr.Tab("Edit", visible=shown["Edit"], id="edit") as edit:
            self.edit = EditTab(models, model, self.chosen)
        with gr.Tab("Interpolate", visible=shown["Interpolate"]) as interpolate:
            self.interpolate = InterpolateTab(models, model, self.chosen)
        with gr.Tab("Generate", visible=shown["Generate"]) as generate:
            self.generate = GenerateTab(models, model, self.chosen)
        with gr.Tab("Your own slider", visible=shown["Your own slider"]) as own:
            self.own = OwnSliderTab(models, model, self.chosen, self.edit)
        with gr.Tab("Many pictures", visible=shown["Many pictures"]) as many:
            self.many = ManyTab(models, model, self.chosen, self.edit.history)
        with gr.Tab("Look inside", visible=shown["Look inside"]) as inside:
            self.inside = InsideTab(models, model, self.chosen)
        with gr.Tab("About"):
            self.about = AboutTab(models)
        self.tabs = [edit, interpolate, generate, own, many, inside]
        self._connect(model)

    def _visible(self, editor: Editor) -> dict[str, bool]:
        """Which tabs make sense for a model."""
        reads = not editor.classes
        generates = editor.bundle.prior is not None or bool(editor.classes)
        fits = reads and editor.bundle.latents is not None
        names = ("Edit", "Interpolate", "Generate", "Your own slider", "Many pictures")
        values = (reads, reads, generates, fits, reads and bool(editor.attributes))
        return dict(zip(names, values, strict=True)) | {"Look inside": reads}

    def _connect(self, model: ModelThread) -> None:
        self.picker.input(
            model.told(self.switch),
            [self.picker, self.chosen],
            [self.picker, self.chosen, *self.tabs, *self._adapting],
            show_progress="hidden",
            **HIDDEN,
            **ONE_AT_A_TIME,
        )
        self.generate.edit.click(
            lambda path: path, self.generate.picked, self.edit.photo, queue=False, **HIDDEN
        ).then(None, js="() => document.querySelector('button[role=tab]').click()", **HIDDEN)

    @property
    def _parts(self) -> tuple:
        """The tabs that look different for another model."""
        return self.edit, self.generate, self.inside, self.about

    @property
    def _adapting(self) -> list:
        return [component for part in self._parts for component in part.adapting]

    def _adapted(self, editor: Editor) -> dict:
        return {key: value for part in self._parts for key, value in part.adapted(editor).items()}

    def switch(self, title: str | None, chosen: Chosen):
        """Load another model; where that fails, everything stays as it was."""
        try:
            editor = self.models.named(title)
        except (BundleError, EditError) as error:
            gr.Warning(str(error))
            yield {self.picker: chosen.title}
            return
        shown = self._visible(editor).values()
        tabs = {tab: gr.Tab(visible=seen) for tab, seen in zip(self.tabs, shown, strict=True)}
        yield {self.chosen: Chosen(editor.title), **tabs, **self._adapted(editor)}


def build(models: Models, model: ModelThread) -> gr.Blocks:
    """The whole page; the models run on their thread only."""
    # Files of the cache are looked at every ten minutes and deleted after an hour.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        # First, so that the endpoints have their names before the page's own events.
        api.build(models, model)
        Page(models, model)
    limit = ONE_AT_A_TIME["concurrency_limit"]
    return page.queue(max_size=LINE, default_concurrency_limit=limit)


def launch(page: gr.Blocks, host: str | None = None, port: int | None = None, **options):
    """Serve the page; blocks until it is stopped, unless told otherwise in `options`."""
    return page.launch(
        server_name=host,
        server_port=port,
        theme=THEME,
        css=CSS,
        head=HEAD,
        max_file_size=MAX_UPLOAD,
        run_history=False,
        footer_links=["api"],
        **options,
    )
