"""The endpoint that edits a film."""

import gradio as gr

from pdae_app.clips import WRITERS, Clip
from pdae_app.engine import EditError
from pdae_app.engine.moving import edit_clip
from pdae_app.engine.quality import quality_steps
from pdae_app.engine.requests import EditRequest
from pdae_app.export.credentials import FILM_MIME, signed
from pdae_app.export.names import edited_name
from pdae_app.typed_config import short
from pdae_app.ui.api_arguments import (
    connect,
    editor_named,
    given,
    json_arg,
    number_arg,
    person_args,
    preset_of,
    square_of,
    text_arg,
)
from pdae_app.ui.events import ModelWorkers
from pdae_app.ui.files import stored
from pdae_app.ui.models import Models


class FilmEndpoints:
    """One method an endpoint; its docstring is what clients read."""

    def __init__(self, models: Models):
        self.models = models

    def connect(self, model: ModelWorkers) -> None:
        """Hidden components give every argument its type."""
        sliders = json_arg("sliders", {"Smiling": 1.0})
        how = [number_arg("scale", 1), text_arg("kind", "MP4"), text_arg("quality", "Fast")]
        where = person_args()
        inputs = [gr.File(label="film"), sliders, *how, *where]
        connect(model, {self.film: (inputs, [gr.File(label="edited"), json_arg("progress")])})

    def film(
        self,
        film,
        sliders,
        scale=1,
        kind="MP4",
        quality="Fast",
        face=1,
        center=False,
        model="",
    ):
        """Change attributes in a short film of a face.

        Args:
            film: an MP4, MOV, WebM or GIF file; its first seconds are used.
            sliders: attribute strengths such as {"Smiling": 1.0}.
            scale: guidance scale.
            kind: "MP4", "GIF" or "WebP".
            quality: "Fast" or "Best".
            face: which face of the first frames, the largest being 1.
            center: use the centre square instead of a face.
            model: one of the models that the page offers; empty is the first.

        Returns:
            The edited film, at the end; {"what", "frames", "done"}: "faces", "codes", "frames" are
            gone through one after another.
        """
        editor, path = editor_named(self.models, model), given(film, "film")
        if not isinstance(kind, str) or kind not in WRITERS:
            raise EditError(f"The kind must be one of {', '.join(WRITERS)}, got {short(kind)}.")
        preset = preset_of(editor, sliders, scale)
        request = EditRequest(preset, quality_steps(quality), square_of(face, center))
        provenance, clip = request.provenance(editor.title), Clip(path)
        with WRITERS[kind](clip, provenance) as writer:
            for moment in edit_clip(editor, clip, request):
                if moment.frame:
                    writer.add(moment.frame)
                yield gr.skip(), {"what": moment.what, "frames": moment.done, "done": False}
            data = signed(writer.finish(), FILM_MIME[kind], provenance)
        name = f"{edited_name(path, preset.sliders)}.{kind.lower()}"
        yield stored(data, name), {"what": "frames", "frames": moment.done, "done": True}
