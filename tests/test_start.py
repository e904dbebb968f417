"""The app starts on a machine that is too slow for Gradio's own patience."""

import asyncio
import urllib.request

import gradio as gr

from pdae_app.ui import app
from pdae_app.ui.guard import Guard
from tests.running import free_port

# Gradio asks its own page, and waits for 3 s.
SLOW = 4


class SlowGuard(Guard):
    """The page is put up as slowly as where many other programs run."""

    async def __call__(self, scope, receive, send):
        if scope.get("path") == "/":
            await asyncio.sleep(SLOW)
        await super().__call__(scope, receive, send)


def test_a_page_that_takes_long_is_served_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(app, "Guard", SlowGuard)
    with gr.Blocks() as page:
        gr.Markdown("Here")
    try:
        _, address, _ = app.launch(page, port=free_port(), prevent_thread_lock=True)
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert answer.status == 200 and b"gradio" in answer.read()
    finally:
        page.close()
