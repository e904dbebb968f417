"""The tab for a slider of one's own: from a few pictures, for this session or to keep."""

import time
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from pdae_app.engine import Code, EditError, Editor
from pdae_app.engine.framing import frame
from pdae_app.engine.sliders import load_slider_of, save_slider_of
from pdae_app.faces.photo import PhotoError
from pdae_app.latents.few_shot import FewShot
from pdae_app.latents.slider_file import LONGEST_NAME, NAME
from pdae_app.ui.edit_tab import EditTab
from pdae_app.ui.events import HIDDEN, LAST_WINS, ModelThread, explained, long_run
from pdae_app.ui.files import stored
from pdae_app.ui.history import History
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.slider_pool import SLOTS

FEWEST, MOST = 5, 200
# z alone is wanted: one step of the inversion is made and thrown away.
ONE_STEP = 1
WHERE = "It stands in the **Edit** tab, behind the others."
NOTE = """
Upload at least five pictures of people who **have** what the slider is to change, and, better,
at least five of people who do **not**. Without the second kind they are compared with people whom
the model makes up. Take care that the two kinds differ in nothing else: same light, same mix of
ages. The score says how well the slider's direction tells pictures apart that it was not made from:
0.5 is chance, 1 perfect.
"""


class OwnSliderTab:
    """Pictures in, a slider out: it appears in the Edit tab at once."""

    def __init__(self, models: Models, model: ModelThread, chosen: gr.State, edit: EditTab):
        self.models, self.chosen, self.edit = models, chosen, edit
        self.fitted = gr.State(None)
        gr.Markdown(NOTE)
        self.name = gr.Textbox(
            label="Name of the slider", max_length=LONGEST_NAME, elem_id="own-name"
        )
        with gr.Row():
            files = {"file_count": "multiple", "file_types": ["image"], "height": 180}
            self.having = gr.File(label="Pictures that have it", elem_id="own-with", **files)
            self.lacking = gr.File(label="Pictures that do not", elem_id="own-without", **files)
        with gr.Row():
            self.make = gr.Button("Make the slider", variant="primary", elem_id="own-make")
            self.stop = gr.Button("Stop", elem_id="stop-own")
            self.save = gr.DownloadButton("Download", interactive=False, elem_id="own-save")
            self.load = gr.UploadButton(
                "Load a slider", file_types=[".safetensors"], elem_id="own-load"
            )
        self.status = gr.Markdown(elem_id="own-status")
        self._connect(model)

    def _connect(self, model: ModelThread) -> None:
        making = long_run(
            model,
            (self.make, self.stop),
            self.status,
            self.fit,
            [self.chosen, self.name, self.having, self.lacking],
            [self.fitted, self.status],
        )
        quiet = {"queue": False, "show_progress": "hidden", **HIDDEN, **LAST_WINS}
        loading = self.load.upload(
            explained(self.loaded), [self.chosen, self.load], [self.fitted, self.status], **quiet
        )
        outputs = [self.chosen, self.save, *self.edit.sliders.slots, self.edit.strip.attribute]
        for fitted in (making, loading):
            fitted.success(
                explained(self.taken),
                [self.chosen, self.edit.history, self.fitted],
                outputs,
                **quiet,
            )

    def fit(self, chosen: Chosen, name: str, having, lacking):
        """Encode the pictures and fit the direction."""
        editor, start = self.models.of(chosen), time.monotonic()
        yield {self.fitted: None}
        name = checked_name(name, editor, chosen)
        skipped: list[str] = []
        codes: dict[str, list[Code]] = {}
        given = {"with": checked_pictures(having), "without": checked_pictures(lacking)}
        for kind, paths in given.items():
            codes[kind] = []
            for number, path in enumerate(paths, 1):
                yield {self.status: f"Reading picture {number} of {len(paths)} {kind} it…"}
                code = readable(editor, path, skipped)
                codes[kind] += [code] if code else []
        check_counts(codes["with"], codes["without"], skipped)
        fitted = editor.fit_attribute(name, codes["with"], codes["without"])
        told = f"Done in {time.monotonic() - start:.1f} s. {score(fitted)} {told_skipped(skipped)}"
        yield {self.fitted: (chosen.title, fitted), self.status: f"{told} {WHERE}"}

    def loaded(self, chosen: Chosen, path: str) -> dict:
        """A slider from its file."""
        editor = self.models.of(chosen)
        fitted = load_slider_of(editor.bundle, path)
        checked_name(fitted.attribute.name, editor, chosen)
        told = f"{fitted.attribute.name} is loaded. {WHERE}"
        return {self.fitted: (chosen.title, fitted), self.status: told}

    def taken(self, chosen: Chosen, history: History, made: tuple[str, FewShot] | None) -> dict:
        """Put the slider into the Edit tab, where the others stay as they are."""
        if made is None or made[0] != chosen.title:  # another model was chosen meanwhile
            return {self.save: gr.skip()}
        fitted = made[1]
        chosen = chosen.with_slider(fitted)
        editor = self.models.of(chosen)
        return {
            self.chosen: chosen,
            self.save: gr.DownloadButton(value=slider_file(editor, fitted), interactive=True),
            **self.edit.adapted_sliders(editor, dict(history.now.sliders)),
        }


def checked_name(name: str | None, editor: Editor, chosen: Chosen | None = None) -> str:
    """A name that can stand beside the others.

    Raises:
        EditError: it is empty, too long, or taken.
    """
    name = (name or "").strip()
    if not NAME.fullmatch(name):
        raise EditError(
            f"Give the slider a name of letters, digits and spaces, at most {LONGEST_NAME}."
        )
    own = {fitted.attribute.name for fitted in chosen.own} if chosen else set()
    if name in editor.attributes and name not in own:
        raise EditError(f"There is a slider {name!r} already. Choose another name.")
    if name not in own and len(editor.attributes) >= SLOTS:
        raise EditError(f"There are {SLOTS} sliders already, which is all the page has room for.")
    return name


def checked_pictures(paths: list[str] | None) -> list[str]:
    """The pictures of a kind; none where there are none.

    Raises:
        EditError: too many.
    """
    if len(paths or []) > MOST:
        raise EditError(f"Use at most {MOST} pictures of a kind, not {len(paths)}.")
    return paths or []


def readable(editor: Editor, path: str, skipped: list[str]) -> Code | None:
    """The picture's code; None, and its name among the skipped, where it cannot be used."""
    try:
        return editor.encode(frame(path, editor.framing), ONE_STEP, iterations=0)
    except PhotoError as error:
        skipped.append(f"{Path(path).name}: {error}")
        return None


def check_counts(having: list[Code], lacking: list[Code], skipped: list[str]) -> None:
    """Enough pictures, or a sentence that says how many there are.

    Raises:
        EditError: fewer than `FEWEST` of a kind that was given.
    """
    for kind, codes, needed in (("have", having, True), ("lack", lacking, bool(lacking))):
        if needed and len(codes) < FEWEST:
            raise EditError(
                f"At least {FEWEST} usable pictures that {kind} it are needed, got {len(codes)}. "
                f"{told_skipped(skipped)}"
            )


def score(fitted: FewShot) -> str:
    """The held-out score in words."""
    facts = fitted.attribute
    others = f"{facts.negatives} without" if facts.negatives else "made-up people"
    text = f"Score {facts.auroc:.2f} on pictures left out, {facts.positives} with it, {others}."
    return text if facts.auroc > 0.7 else f"{text} That is little better than chance: use more."


def told_skipped(skipped: list[str]) -> str:
    """The pictures that could not be used."""
    return f"Skipped: {'; '.join(skipped)}" if skipped else ""


def slider_file(editor: Editor, fitted: FewShot) -> str:
    """The path of the slider's file."""
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".slider-{time.monotonic_ns()}"
    try:
        save_slider_of(editor.bundle, fitted, partial)
        return stored(partial.read_bytes(), f"{fitted.attribute.name}.safetensors")
    finally:
        partial.unlink(missing_ok=True)
