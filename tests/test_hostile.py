"""What is sent to a running page to harm it ends in a sentence."""

from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.components.image_editor import EditorData
from gradio.data_classes import FileData
from PIL import Image

from pdae_app.ui.canvas import MOST_LAYERS, Canvas
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
