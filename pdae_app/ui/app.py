"""The page: its tabs put together, its look, and how it is served."""

import gradio as gr

from pdae_app.engine import Editor
from pdae_app.ui import about_tab, edit_tab, generate_tab, interpolate_tab
from pdae_app.ui.events import ONE_AT_A_TIME, ModelThread

TITLE = "PDAE: edit a photograph by sliders"

THEME = gr.themes.Soft(
    primary_hue="teal",
    neutral_hue="slate",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)

CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
#status p { margin: 0.2em 0; }
/* Forty sliders must not push the picture out of sight. */
#sliders { max-height: 640px; overflow-y: auto; }
.small-note { opacity: 0.75; font-size: 0.92em; }
"""

INTRO = """
# Edit a face by sliders
Choose a photograph, wait a moment while the model finds the face and its code, then drag a slider
and let go. Photographs stay in your session and are deleted within the hour.
"""

MAX_UPLOAD = "40mb"


def build(editor: Editor, model: ModelThread) -> gr.Blocks:
    """The whole page for one loaded model, which runs on its thread only."""
    # Files of the cache are looked at every ten minutes and deleted after an hour.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        if not editor.classes:
            gr.Markdown(INTRO)
            with gr.Tab("Edit"):
                edit_tab.build(editor, model)
            with gr.Tab("Interpolate"):
                interpolate_tab.build(editor, model)
        if editor.bundle.prior is not None or editor.classes:
            with gr.Tab("Generate"):
                generate_tab.build(editor, model)
        with gr.Tab("About"):
            about_tab.build(editor)
    return page.queue(max_size=40, default_concurrency_limit=ONE_AT_A_TIME["concurrency_limit"])


def launch(page: gr.Blocks, host: str | None = None, port: int | None = None, **options):
    """Serve the page; blocks until it is stopped, unless told otherwise in `options`."""
    return page.launch(
        server_name=host,
        server_port=port,
        theme=THEME,
        css=CSS,
        max_file_size=MAX_UPLOAD,
        run_history=False,
        footer_links=["api"],
        **options,
    )
