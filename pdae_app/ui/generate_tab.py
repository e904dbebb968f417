"""The Generate tab: people who do not exist, from the latent diffusion model."""

import time
from functools import partial

import gradio as gr

from pdae_app.engine import Editor
from pdae_app.ui.events import ONE_AT_A_TIME, ModelThread, shown

MOST = 12
STEPS = 15
LARGEST_SEED = 2**31 - 1
UNGUIDED_INFO = "The last part of the steps that the model does without the code."
SCALE_INFO = "1 follows the code, 0 ignores it; above 1 the pictures become more typical."


def build(editor: Editor, model: ModelThread) -> None:
    """Lay the tab out and connect it."""
    gr.Markdown("New pictures: each seed is one, the same again whenever you ask.")
    label = gr.Dropdown(
        list(editor.classes),
        label="Class",
        value=editor.classes[0] if editor.classes else None,
        visible=bool(editor.classes),
        elem_id="class",
    )
    with gr.Row():
        count = gr.Slider(1, MOST, value=6, step=1, label="Pictures", elem_id="count")
        seed = gr.Number(0, label="First seed", precision=0, elem_id="seed")
    with gr.Row():
        scale = gr.Slider(0, 3, value=1, step=0.05, label="Guidance scale", info=SCALE_INFO)
        unguided = gr.Slider(0, 1, value=0.3, step=0.05, label="Unguided tail", info=UNGUIDED_INFO)
    with gr.Row():
        run = gr.Button("Generate", variant="primary", elem_id="generate")
        stop = gr.Button("Stop", elem_id="stop-generation")
    status = gr.Markdown(elem_id="generation-status")
    gallery = gr.Gallery(
        label="Pictures",
        format="png",
        columns=6,
        height=420,
        object_fit="contain",
        buttons=["download_all", "fullscreen"],
        elem_id="generated",
    )
    running = run.click(
        model.told(partial(_generate, editor)),
        [count, seed, scale, unguided, label],
        [gallery, status],
        show_progress="hidden",
        api_name="generate",
        **ONE_AT_A_TIME,
    )
    stop.click(lambda: "Stopped.", None, status, cancels=[running], api_visibility="private")


def _generate(
    editor: Editor,
    count: float,
    seed: float,
    scale: float,
    unguided: float,
    label: str | None = None,
):
    """Yield the growing gallery with a status line; captions name the seeds."""
    if seed is None or not 0 <= seed <= LARGEST_SEED:
        message = f"The first seed must be a whole number from 0 to {LARGEST_SEED}."
        raise gr.Error(message, print_exception=False)
    start, done = time.monotonic(), []
    for number in range(int(seed), int(seed) + int(count)):
        yield done, f"Picture {len(done) + 1} of {int(count)}…"
        (picture,) = editor.generate([number], STEPS, scale, unguided, label)
        done = [*done, (shown(picture), f"seed {number}")]
    yield done, f"Done in {time.monotonic() - start:.1f} s."
