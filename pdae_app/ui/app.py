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
from pdae_app.ui.events import HIDDEN, IN_LINE, LAST_WINS, ModelWorkers, Newest, explained
from pdae_app.ui.film_tab import FilmTab
from pdae_app.ui.forgetting import forget_those_who_left
from pdae_app.ui.generate_tab import GenerateTab
from pdae_app.ui.guard import LOOPBACK, Guard, Rules
from pdae_app.ui.inside_tab import InsideTab
from pdae_app.ui.interpolate_tab import InterpolateTab
from pdae_app.ui.look import CSS, HEAD, THEME
from pdae_app.ui.many_tab import ManyTab
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.own_slider_tab import OwnSliderTab

TITLE = "PDAE: edit a photograph by sliders"

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

TO_THE_FIRST_TAB = """() => {
  document.querySelector("button[role=tab]").click();
  scrollTo(0, 0);
}"""


class Page:
    """All tabs, and the choice of the model that they share."""

    def __init__(self, models: Models, model: ModelWorkers):
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
        with gr.Tabs(**row_of(models.first)) as self.row:
            self._lay_out(model)
        self._connect(model)

    def _lay_out(self, model: ModelWorkers) -> None:
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
            self.film = FilmTab(*shared, self.edit.history)
        with tab("Look inside"):
            self.inside = InsideTab(*shared)
        with tab("About"):
            self.about = AboutTab(self.models)

    def _connect(self, model: ModelWorkers) -> None:
        quiet = {"show_progress": "hidden", **LAST_WINS, **HIDDEN}
        self.picker.input(
            Newest.want, [self.wanted, self.picker], None, queue=False, **quiet
        ).success(self.fetch, self.wanted, self.fetched, **quiet, **SEVERAL_FETCHED).success(
            explained(self.switch),
            [self.wanted, self.chosen, self.edit.rendering],
            self._adapting,
            **quiet,
            **IN_LINE,
        )
        self.generate.edit.click(
            lambda path: path, self.generate.picked, self.edit.panel.photo, queue=False, **quiet
        ).then(None, js=TO_THE_FIRST_TAB, **HIDDEN)

    @property
    def _parts(self) -> tuple:
        """The tabs that look different for another model."""
        return self.edit, self.generate, self.own, self.film, self.inside, self.about

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

    def switch(self, wanted: Newest, chosen: Chosen, rendering: Newest):
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
            tabs[self.row] = gr.Tabs(**row_of(editor))  # the open one may be hidden
        changes = {self.chosen: Chosen(editor.title), self.intro: introduction(editor)}
        rendering.begin_era()  # sliders on their way are the other model's
        return changes | tabs | self._adapted(editor) | {self.edit.era: rendering.era}


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


def row_of(editor: Editor) -> dict:
    """The row of tabs for a model: the open one, and which are left out (see `HEAD`)."""
    left_out = [name for name, fits in fitting_tabs(editor).items() if not fits]
    classes = [f"without-{name.lower().replace(' ', '-')}" for name in left_out]
    return {"selected": first_tab(editor), "elem_classes": classes}


def introduction(editor: Editor) -> str:
    """What to do with a model, in a few words."""
    if editor.classes:
        return CLASSES
    return FACES if editor.of_faces else PICTURES


def build(models: Models, model: ModelWorkers) -> gr.Blocks:
    """The whole page; the models are run by their workers only."""
    # Files of the cache are looked at every ten minutes and deleted after an hour.
    with CheckedBlocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        # First, so that the endpoints have their names before the page's own events.
        api.build(models, model)
        whole = Page(models, model)
        page.load(**whole.opening)
    return page.queue(max_size=LINE, default_concurrency_limit=len(model))


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
