"""A canvas to paint on, whose layers are read within our own bounds."""

from collections import OrderedDict
from functools import cached_property

import gradio as gr
from gradio.components.base import server
from gradio.components.image_editor import AcceptBlobs
from PIL import Image

from pdae_app.faces.photo import PhotoError, open_layer

MOST_LAYERS = 4
# Of all canvases of all visitors: layers wait here between being painted and being taken.
MOST_WAITING = 32 << 20


class WaitingLayers:
    """Layers by the name of their canvas, in all at most `MOST_WAITING` bytes; the oldest go."""

    def __init__(self, most: int = MOST_WAITING):
        self._most, self._layers = most, OrderedDict()

    def put(self, canvas: str, index: int, data: bytes) -> None:
        """Keep a layer of a canvas."""
        self._layers[canvas, index] = data
        while sum(map(len, self._layers.values())) > self._most:
            self._layers.popitem(last=False)

    def take(self, canvas: str) -> list[bytes]:
        """The layers of a canvas, which are kept no longer."""
        keys = sorted(key for key in list(self._layers) if key[0] == canvas)
        layers = (self._layers.pop(key, None) for key in keys)
        return [layer for layer in layers if layer is not None]


class Canvas(gr.ImageEditor):
    """`gr.ImageEditor` that hands over its painted layers alone, as a list.

    Gradio opens every file by any of Pillow's formats, and keeps what arrives piecemeal for as many
    canvases, and in as long lists, as requests name.
    """

    # Tells Gradio to use ImageEditor's own front end.
    is_template = True

    @cached_property
    def waiting(self) -> WaitingLayers:
        """What was sent and not yet taken. Gradio reads our parent's settings off `__init__`."""
        return WaitingLayers()

    def preprocess(self, payload) -> list[Image.Image]:
        """The painted layers, RGBA.

        Raises:
            gr.Error: a layer that is no small picture.
        """
        if payload is None:
            return []
        piecemeal = self.waiting.take(payload.id) if payload.id else None
        layers = piecemeal or [layer.path for layer in payload.layers]
        try:
            return [open_layer(layer) for layer in layers[:MOST_LAYERS]]
        except PhotoError as error:
            raise gr.Error(str(error), print_exception=False) from error

    @server
    def accept_blobs(self, data: AcceptBlobs) -> None:
        """Keep a layer that the page sends as soon as it is painted; nothing else is needed."""
        try:
            facts, ((_, content), *_) = data.data, data.files
            kind, canvas, index = facts["type"], facts["id"], int(str(facts["index"])[:9])
        except (AttributeError, KeyError, TypeError, ValueError):
            return
        if kind == "layer" and isinstance(canvas, str) and 0 <= index < MOST_LAYERS:
            self.waiting.put(canvas[:40], index, content)
