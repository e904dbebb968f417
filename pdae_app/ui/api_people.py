"""Endpoints that say how the sliders of a person could stand: looks, another's, the average."""

import gradio as gr

from pdae_app.engine.aims import averaged, borrowed, read_only
from pdae_app.engine.looks import rendered_looks
from pdae_app.engine.portrait import make_portrait
from pdae_app.engine.quality import quality_steps
from pdae_app.export.provenance import Provenance
from pdae_app.ui.api_arguments import (
    connect,
    editor_named,
    framed_photo,
    given,
    json_arg,
    names_of,
    person_args,
    photo_arg,
    square_of,
    text_arg,
)
from pdae_app.ui.events import ModelWorkers
from pdae_app.ui.files import saved
from pdae_app.ui.models import Models


class PeopleEndpoints:
    """One method an endpoint; its docstring is what clients read."""

    def __init__(self, models: Models):
        self.models = models

    def connect(self, model: ModelWorkers) -> None:
        """Hidden components give every argument its type."""
        photo, attributes = photo_arg("photo"), json_arg("attributes", ["Smiling"])
        where = person_args()
        sliders = json_arg("sliders", {"Smiling": 0.8})
        connect(
            model,
            {
                self.looks: (
                    [photo, text_arg("quality", "Fast"), *where],
                    [gr.Gallery(label="pictures", format="png"), json_arg("looks")],
                ),
                self.borrow: ([photo, photo_arg("other"), attributes, *where], [sliders]),
                self.average: ([photo, attributes, *where], [sliders]),
            },
        )

    def looks(self, photo, quality="Fast", face=1, center=False, model=""):
        """The looks on this person, each as strong as it can be believed.

        Args:
            photo: a picture file with a face.
            quality: "Fast" or "Best".
            face: which face, the largest being 1.
            center: use the centre square instead of a face.
            model: one of the models that the page offers; empty is the first.

        Returns:
            The faces with their names; the sliders of each, for /edit.
        """
        editor, steps = editor_named(self.models, model), quality_steps(quality)
        framed = framed_photo(editor, photo, square_of(face, center))
        portrait = make_portrait(editor, framed, editor.encode(framed, steps))
        pictures, sliders = [], {}
        for look in rendered_looks(editor, portrait.code, steps):
            sliders[look.name] = look.preset.sliders
            recipe = Provenance(editor.title, {"look": look.name, "edit": look.preset.sliders})
            path = saved(portrait.view_with(look.image), look.name.replace(" ", "-"), recipe)
            pictures = [*pictures, (path, look.name)]
            yield pictures, sliders

    def borrow(self, photo, other, attributes=None, face=1, center=False, model=""):
        """The sliders that carry a person to where another one stands, for /edit.

        Args:
            photo: a picture file with a face.
            other: a picture file of whom it is taken from; the largest face.
            attributes: which ones, such as ["Smiling"]; all, when they are left out.
            face: which face of the first, the largest being 1.
            center: use the centre squares instead of faces.
            model: one of the models that the page offers; empty is the first.

        Returns:
            Attribute strengths.
        """
        editor, names = editor_named(self.models, model), names_of(attributes)
        code = read_only(editor, given(photo), square_of(face, center))
        source = read_only(editor, given(other), square_of(1, center))
        yield borrowed(editor, code, source, names)

    def average(self, photo, attributes=None, face=1, center=False, model=""):
        """The sliders that make attributes of a person average, for /edit.

        Args:
            photo: a picture file with a face.
            attributes: which ones, such as ["Smiling"]; all, when they are left out.
            face: which face, the largest being 1.
            center: use the centre square instead of a face.
            model: one of the models that the page offers; empty is the first.

        Returns:
            Attribute strengths.
        """
        editor, names = editor_named(self.models, model), names_of(attributes)
        code = read_only(editor, given(photo), square_of(face, center))
        yield averaged(editor, code, names)
