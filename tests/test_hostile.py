"""What is sent to a running page to harm it ends in a sentence."""

import contextlib
import ctypes
import threading
import time
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.components.image_editor import EditorData
from gradio.data_classes import FileData
from PIL import Image

from pdae_app.engine import EditError
from pdae_app.ui.api_sliders import SliderEndpoints
from pdae_app.ui.canvas import MOST_LAYERS, Canvas
from pdae_app.ui.events import ModelWorkers, WorkerError
from pdae_app.ui.models import Models
from tests.attacks import ENDLESS_EPS, encoded


@pytest.fixture
def canvas():
    with gr.Blocks():
        return Canvas()


def drawing(*paths):
    return EditorData(layers=[FileData(path=str(path)) for path in paths])


def test_a_canvas_starts_no_other_program(canvas, tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("started"))
    path = tmp_path / "layer.png"
    path.write_bytes(ENDLESS_EPS)
    with pytest.raises(gr.Error, match="not a picture"):
        canvas.preprocess(drawing(path))


def piece(canvas, index, data=b"layer", name="a"):
    facts = {"type": "layer", "id": name, "index": index}
    canvas.accept_blobs(SimpleNamespace(data=facts, files=[("layer.png", data)]))


def test_a_painted_layer_arrives_in_pieces_and_is_taken_once(canvas):
    layer = encoded(Image.new("RGBA", (20, 20), (1, 2, 3, 200)), "PNG")
    piece(canvas, "0", layer)
    (taken,) = canvas.preprocess(EditorData(id="a"))
    assert taken.getpixel((3, 3)) == (1, 2, 3, 200)
    assert canvas.preprocess(EditorData(id="a")) == []


@pytest.mark.parametrize("index", [10**7, -1, 10**400, "99999999999", None, "null", [], 1e300])
def test_no_list_grows_to_the_index_that_is_asked_for(canvas, index):
    piece(canvas, index)
    canvas.accept_blobs({"anything": index})
    assert len(canvas.waiting.take("a")) <= MOST_LAYERS
    assert not canvas.blob_storage


def test_canvases_of_all_visitors_have_one_bound(canvas):
    for number in range(50):
        piece(canvas, 0, bytes(1 << 20), str(number))
    kept = [number for number in range(50) if canvas.waiting.take(str(number))]
    assert kept == list(range(18, 50))


def test_a_request_for_a_slider_has_a_bound(editor):
    """Else one request held the model for as many pictures as eight megabytes name."""
    with gr.Blocks():
        endpoints = SliderEndpoints(Models(editor))
    with pytest.raises(EditError, match="at most 200 pictures"):
        list(endpoints.fit_attribute("Grin", ["a.png"] * 201))


@pytest.mark.parametrize("while_it_works", [True, False])
def test_a_model_thread_that_dies_is_replaced(while_it_works):
    model, begun = ModelWorkers(), threading.Event()
    ident = model.call(threading.get_ident)

    def die():
        exception = ctypes.py_object(SystemExit)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), exception)

    def work():
        begun.set()
        while True:
            time.sleep(0.01)

    if while_it_works:
        threading.Thread(target=lambda: (begun.wait(), die()), daemon=True).start()
        with pytest.raises(WorkerError):
            model.call(work)
    else:
        die()
    for _ in range(2):  # an idle thread notices at its next call, which is lost with it
        with contextlib.suppress(WorkerError):
            model.call(int)
    assert model.call(int, "7") == 7
