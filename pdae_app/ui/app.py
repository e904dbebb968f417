"""The page: its tabs put together, its look, and how it is served."""

import os
from functools import partial

import gradio as gr
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from pdae_app import __version__
from pdae_app.bundle import BundleError
from pdae_app.engine import EditError, Editor
from pdae_app.limits import BusyError, Limits
from pdae_app.memory import resident_mb, settle
from pdae_app.private_folder import Sweep
from pdae_app.ui import api, log
from pdae_app.ui.about_tab import AboutTab
from pdae_app.ui.checked_inputs import CheckedBlocks
from pdae_app.ui.connections import be_patient
from pdae_app.ui.edit_tab import EditTab
from pdae_app.ui.events import HIDDEN, LAST_WINS, ONE_AT_A_TIME, ModelThread, Newest, explained
from pdae_app.ui.film_tab import FilmTab
from pdae_app.ui.generate_tab import GenerateTab
from pdae_app.ui.guard import LOOPBACK, Guard, Rules
from pdae_app.ui.inside_tab import InsideTab
from pdae_app.ui.interpolate_tab import InterpolateTab
from pdae_app.ui.many_tab import ManyTab
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.own_slider_tab import OwnSliderTab
from pdae_app.ui.sessions import forget_those_who_left

TITLE = "PDAE: edit a photograph by sliders"

THEME = gr.themes.Soft(
    primary_hue="teal",
    neutral_hue="slate",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    # Soft's own teal is too pale to be read on white, and under white.
    block_label_text_color="*primary_800",
    block_title_text_color="*primary_800",
    block_info_text_color="*neutral_600",
    checkbox_label_background_fill_selected="*primary_700",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
)

CSS = """
.gradio-container {
  width: 100%; max-width: min(1360px, 100vw) !important; margin: 0 auto !important;
  overflow: clip !important;  /* not hidden, within which nothing sticks */
}
/* On a telephone the row of tabs must not widen the page; what does not fit goes into its menu. */
.gradio-container main.contain { min-width: 0; max-width: 100%; }
.gradio-container .wrap:has(> main) { min-width: 0; max-width: 100%; }
.gradio-container .tabs, .gradio-container .tab-wrapper { min-width: 0; max-width: 100%; }
/* Tabs that make no sense for the model: Gradio cannot hide them later, but it can disable them. */
.tabs button[role=tab]:disabled, .tabs .overflow-dropdown button:disabled { display: none; }
#status p { margin: 0.2em 0; }
#notice { border-left: 4px solid #d97706; padding-left: 0.8em; }
.gradio-container h1 { margin: 0 !important; font-size: 1.5em !important; }
:focus-visible { outline: 3px solid #0f766e !important; outline-offset: 2px; }
/* Forty sliders must not push the picture out of sight. The groups' names come first in the page,
   and stand before their sliders by `order`. */
#sliders {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 6px;
  grid-auto-rows: max-content; max-height: calc(100vh - 260px); min-height: 300px; overflow-y: auto;
}
#sliders > .form { display: contents; }
.group-head { grid-column: 1 / -1; }
.group-head h3 { margin: 0; font-size: 1em; }
.head-0 { order: 0; } .group-0 { order: 1; } .head-1 { order: 2; } .group-1 { order: 3; }
.head-2 { order: 4; } .group-2 { order: 5; } .head-3 { order: 6; } .group-3 { order: 7; }
.attribute-slider { padding: 4px 8px !important; border-radius: 6px; }
/* Choices that stand among buttons look like them. */
#average, #save-kind {
  border-radius: var(--button-small-radius); box-shadow: var(--button-secondary-shadow);
  background: var(--button-secondary-background-fill);
}
#save-kind { flex: 0 1 84px; }
#average { flex: 1 1 150px; min-width: 150px !important; }
#average input, #save-kind input { font-size: var(--button-small-text-size); }
#actions { gap: 6px; }
#actions .row { gap: 6px; align-items: center; }
#actions button { white-space: nowrap; padding-inline: 6px; flex: 1 1 auto; }
/* The handle between before and after lies below the face. */
#pictures [data-testid="slider"] .icon-wrap { top: 92% !important; }
#pictures.comparing img.fixed { visibility: hidden; }
.gallery-container .grid-wrap { background: none; }
/* A slider's name has the width that it needs, and its number no more than it needs. */
.attribute-slider .head { align-items: center; flex-wrap: nowrap; min-height: 1.9em; }
.attribute-slider .head label { flex: 1; min-width: 0; }
.attribute-slider .head [data-testid="block-info"] {
  display: block; margin: 0; padding: 0; background: none; font-size: 0.92em; line-height: 1.2;
}
.attribute-slider .head .tab-like-container { flex: none; align-self: center; margin: 0; }
.attribute-slider .head input[type="number"] { width: 3.6em; padding: 2px 4px; }
/* On a telephone the picture stays in sight while the sliders below it are moved. */
@media (max-width: 700px) {
  #sliders { max-height: none; }
  #picture-column { display: contents; }
  .attribute-slider { scroll-margin: 380px 0 140px; }
}
@media (max-width: 700px) and (min-height: 640px) {
  #pictures { position: sticky; top: 0; z-index: 999; background: var(--body-background-fill); }
  #actions {
    position: sticky; bottom: 0; z-index: 999; order: 1; padding: 6px 0;
    background: var(--body-background-fill);
  }
}
/* Where there is room, the picture stays while the sliders are gone through. */
@media (min-width: 1000px) { #picture-column { position: sticky; top: 0; align-self: start; } }
/* The pictures' places are as high before the first picture as after. */
#result, #whole, #raw { min-height: 280px; }
.small-note { font-size: 0.92em; }
.tabs button[role=tab].selected { color: var(--primary-800) !important; }
.dark .tabs button[role=tab].selected { color: var(--primary-300) !important; }
.gradio-container .min_value, .gradio-container .max_value, footer .show-api {
  color: var(--body-text-color) !important;
}
"""

# A slider moved by the arrow keys is let go when the key is: Gradio knows of pointers only. While
# *Hold to compare* is held, by pointer or key, the picture is seen unedited. Ctrl+Z undoes.
HEAD = """
<script>
const comparing = (on) => document.querySelector("#pictures")?.classList.toggle("comparing", on);
const onCompare = (event) => event.target.closest?.("#compare");
document.addEventListener("pointerdown", (event) => onCompare(event) && comparing(true));
for (const ended of ["pointerup", "pointercancel", "blur"]) {
  window.addEventListener(ended, () => comparing(false));
}
document.addEventListener("keydown", (event) => {
  if (onCompare(event) && [" ", "Enter"].includes(event.key)) comparing(true);
  const writes = event.target.matches?.("textarea, input:not([type=range]):not([type=radio])");
  if (!(event.ctrlKey || event.metaKey) || writes) return;
  const key = event.key.toLowerCase(), redo = key === "y" || (key === "z" && event.shiftKey);
  if (key !== "z" && !redo) return;
  const button = document.querySelector(redo ? "#redo" : "#undo");
  if (button?.offsetParent && !button.disabled) { button.click(); event.preventDefault(); }
});
document.addEventListener("keyup", () => comparing(false));
// What is told is read out, and pictures to choose by have names.
new MutationObserver(() => {
  for (const status of document.querySelectorAll("[id$=status]:not([aria-live])")) {
    status.setAttribute("role", "status");
    status.setAttribute("aria-live", "polite");
  }
  for (const image of document.querySelectorAll(".gallery-item img[alt='']")) {
    image.alt = decodeURIComponent(image.src.split("/").pop()).replace(/^\\d+-|\\.\\w+$/g, "")
      .replace(/-/g, " ");
  }
}).observe(document, { childList: true, subtree: true });
document.addEventListener("keyup", (event) => {
  const moves = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp",
    "PageDown"];
  if (event.target.type === "range" && moves.includes(event.key)) {
    event.target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
  }
});
</script>
"""

FACES = """
# Edit a face by sliders
Choose a photograph, wait a moment, then drag a slider and let go. Use pictures of people who agree,
and do not pass an edit off as a photograph. Photographs are deleted within the hour.
"""

PICTURES = """
# Edit a picture by sliders
Choose a picture, wait a moment, then drag a slider and let go. Do not pass an edit off as a
photograph. Pictures are deleted within the hour.
"""

CLASSES = """
# New pictures of a class
Choose a class and how many pictures you want. Do not pass them off as photographs.
"""

MAX_UPLOAD = "40mb"
LINE = 40
# Visitors who wait for a model that is being fetched.
SEVERAL_FETCHED = {"concurrency_limit": 4, "concurrency_id": "fetching"}


class Page:
    """All tabs, and the choice of the model that they share."""

    def __init__(self, models: Models, model: ModelThread):
        self.models = models
        self.intro = gr.Markdown(introduction(models.first))
        self.chosen = gr.State(Chosen(models.first.title))
        self.wanted = gr.State(Newest())
        self.picker = gr.Dropdown(
            models.titles,
            value=models.first.title,
            label="Model",
            container=False,
            allow_custom_value=models.free,
            visible=models.free or len(models.titles) > 1,
            elem_id="model",
        )
        self.fetched = gr.Markdown(visible=models.free, elem_id="fetching")
        with gr.Tabs(selected=first_tab(models.first)) as self.row:
            self._lay_out(model)
        self._connect(model)

    def _lay_out(self, model: ModelThread) -> None:
        shared = (self.models, model, self.chosen)
        fitting = fitting_tabs(self.models.first)
        self.tabs = {}

        def tab(name: str) -> gr.Tab:
            self.tabs[name] = gr.Tab(name, id=name, interactive=fitting[name])
            return self.tabs[name]

        with tab("Edit"):
            edit = EditTab(*shared)
            self.edit, self.opening = edit.panels, edit.rendering.kept.restoring
        with tab("Interpolate"):
            InterpolateTab(*shared)
        with tab("Generate"):
            self.generate = GenerateTab(*shared)
        with tab("Your own slider"):
            self.own = OwnSliderTab(*shared, self.edit)
        with tab("Many pictures"):
            ManyTab(*shared, self.edit.history)
        with tab("Film"):
            FilmTab(*shared, self.edit.history)
        with tab("Look inside"):
            self.inside = InsideTab(*shared)
        with tab("About"):
            self.about = AboutTab(self.models)

    def _connect(self, model: ModelThread) -> None:
        quiet = {"show_progress": "hidden", **LAST_WINS, **HIDDEN}
        self.picker.input(
            Newest.want, [self.wanted, self.picker], None, queue=False, **quiet
        ).success(self.fetch, self.wanted, self.fetched, **quiet, **SEVERAL_FETCHED).success(
            explained(self.switch),
            [self.wanted, self.chosen],
            self._adapting,
            **quiet,
            **ONE_AT_A_TIME,
        )
        self.generate.edit.click(
            lambda path: path, self.generate.picked, self.edit.panel.photo, queue=False, **quiet
        ).then(None, js="() => document.querySelector('button[role=tab]').click()", **HIDDEN)

    @property
    def _parts(self) -> tuple:
        """The tabs that look different for another model."""
        return self.edit, self.generate, self.own, self.inside, self.about

    @property
    def _adapting(self) -> list:
        own = [self.picker, self.chosen, self.intro, self.row, *self.tabs.values()]
        return own + [component for part in self._parts for component in part.adapting]

    def _adapted(self, editor: Editor) -> dict:
        return {key: value for part in self._parts for key, value in part.adapted(editor).items()}

    def fetch(self, wanted: Newest):
        """Wait for a model that was named, and say how far it is; nobody else waits for it."""
        number = wanted.number
        for report in self.models.fetching(wanted.wish):
            if wanted.number != number:
                return
            yield report
        yield ""

    def switch(self, wanted: Newest, chosen: Chosen):
        """Load the model that was chosen last; where that fails, everything stays as it was.

        No generator: what one yields last comes once more at its end, and would take away the
        photograph that somebody has chosen in the meantime.
        """
        try:
            editor = self.models.named(wanted.wish)
        except (BundleError, BusyError, EditError) as error:
            gr.Warning(str(error))
            return {self.picker: chosen.title}
        fitting = fitting_tabs(editor)
        tabs = {tab: gr.Tab(interactive=fitting[name]) for name, tab in self.tabs.items()}
        if fitting != fitting_tabs(self.models.of(chosen)):
            tabs[self.row] = gr.Tabs(selected=first_tab(editor))  # the open one may be hidden
        changes = {self.chosen: Chosen(editor.title), self.intro: introduction(editor)}
        return changes | tabs | self._adapted(editor)


def fitting_tabs(editor: Editor) -> dict[str, bool]:
    """Which tabs make sense for a model."""
    reads = not editor.classes
    return {
        "Edit": reads,
        "Interpolate": reads,
        "Generate": editor.bundle.generates,
        "Your own slider": reads and editor.bundle.latents is not None,
        "Many pictures": reads and bool(editor.attributes),
        "Film": reads and bool(editor.attributes) and editor.bundle.coupled_from is not None,
        "Look inside": reads,
        "About": True,
    }


def first_tab(editor: Editor) -> str:
    """The tab that is open at first."""
    return next(name for name, fits in fitting_tabs(editor).items() if fits)


def introduction(editor: Editor) -> str:
    """What to do with a model, in a few words."""
    if editor.classes:
        return CLASSES
    return FACES if editor.of_faces else PICTURES


def build(models: Models, model: ModelThread) -> gr.Blocks:
    """The whole page; the models run on their thread only."""
    # Files of the cache are looked at every ten minutes and deleted after an hour.
    with CheckedBlocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        # First, so that the endpoints have their names before the page's own events.
        api.build(models, model)
        whole = Page(models, model)
        page.load(**whole.opening)
    limit = ONE_AT_A_TIME["concurrency_limit"]
    return page.queue(max_size=LINE, default_concurrency_limit=limit)


def launch(page: gr.Blocks, host: str | None = None, port: int | None = None, **options):
    """Serve the page; blocks until it is stopped, unless told otherwise in `options`."""
    limits = Limits.of()
    sweep = Sweep(get_upload_folder(), most=limits.disk_mb * 1e6)
    sweep.start(also=partial(forget_those_who_left, page))
    host = host or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    rules = Rules(
        answered_hosts(host, os.environ.get("PDAE_HOSTS", "")),
        int(limits.upload_mb * 1e6),
        int(limits.in_flight_mb * 1e6),
        take_room=sweep.take_room,
        check_memory=limits.check_memory,
        facts=lambda: {"version": __version__, "memory_mb": round(resident_mb())},
    )
    middleware = [Middleware(Guard, rules=rules)]
    if log.wanted():
        middleware.insert(0, Middleware(log.Logged, write=log.to_stderr))
    waits = options.pop("prevent_thread_lock", False)
    be_patient()
    settle()
    served = page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        app_kwargs={"middleware": middleware},
        state_session_capacity=int(limits.sessions),
        theme=THEME,
        css=CSS,
        head=HEAD,
        max_file_size=MAX_UPLOAD,
        run_history=False,
        footer_links=["api"],
        # Else Gradio asks its own page, and ends the app where the answer takes over 3 s.
        _frontend=False,
        **options,
    )
    if not waits:
        page.block_thread()
    return served


def answered_hosts(host: str, named: str) -> frozenset[str] | None:
    """The names that an app answers to which listens at `host`; None is any.

    On the visitor's own machine it answers to that machine's names, and to those that the operator
    `named`, as behind a proxy; on a network, to any, unless some are named.
    """
    names = frozenset(named.lower().split())
    return names | LOOPBACK if names or host in LOOPBACK else None
