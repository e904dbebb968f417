"""The Interpolate tab: from one photograph to another, by code or by trajectory."""

import time
from functools import partial

import gradio as gr
from PIL import Image

from pdae_app.engine import Editor
from pdae_app.faces.photo import open_photo
from pdae_app.ui.events import ONE_AT_A_TIME, ModelThread, shown
from pdae_app.ui.framing import largest_face
from pdae_app.ui.photo_input import photo_input
from pdae_app.ui.session import EXAMPLES

MODES = {
    "By trajectory (the two pulls are blended at every step)": "trajectory",
    "By code (one code between the two)": "latent",
}
STEPS = 10


def build(editor: Editor, model: ModelThread) -> None:
    """Lay the tab out and connect it."""
    gr.Markdown("Two photographs, and the people in between.")
    with gr.Row():
        first = photo_input("First photograph", "first", 240, str(EXAMPLES[0]))
        second = photo_input("Second photograph", "second", 240, str(EXAMPLES[1]))
    with gr.Row():
        mode = gr.Radio(list(MODES), value=next(iter(MODES)), label="Way", elem_id="mode")
        frames = gr.Slider(3, 15, value=7, step=1, label="Frames", elem_id="frames")
        center = gr.Checkbox(label="Use the centre square where no face is found")
    with gr.Row():
        run = gr.Button("Interpolate", variant="primary", elem_id="interpolate")
        stop = gr.Button("Stop", elem_id="stop-interpolation")
    status = gr.Markdown(elem_id="interpolation-status")
    gallery = gr.Gallery(
        label="Frames",
        format="png",
        columns=7,
        height=320,
        object_fit="contain",
        buttons=["download_all", "fullscreen"],
        elem_id="frames-gallery",
    )
    running = run.click(
        model.told(partial(_interpolate, editor)),
        [first, second, mode, frames, center],
        [gallery, status],
        show_progress="hidden",
        api_name="interpolate",
        **ONE_AT_A_TIME,
    )
    stop.click(lambda: "Stopped.", None, status, cancels=[running], api_visibility="private")


def _interpolate(editor: Editor, first, second, mode: str, frames: float, use_center: bool):
    """Encode both pictures, then yield the growing gallery with a status line."""
    if first is None or second is None:
        raise gr.Error("Choose two photographs first.", print_exception=False)
    start, codes = time.monotonic(), []
    for number, path in enumerate((first, second), 1):
        photo = open_photo(path)
        alignment = largest_face(photo, editor.framing, use_center)
        yield gr.skip(), f"Finding the code of photograph {number}…"
        codes.append(editor.encode(photo, STEPS, alignment))
    done: list[Image.Image] = []
    for image in editor.interpolate_frames(*codes, int(frames), MODES[mode], STEPS):
        done.append(shown(image))
        yield done, f"Frame {len(done)} of {int(frames)}…"
    yield done, f"Done in {time.monotonic() - start:.1f} s."
