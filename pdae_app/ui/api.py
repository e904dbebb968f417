"""Endpoints with fixed names, for programs and for MCP: no state but a session's last codes."""

import gradio as gr

from pdae_app.engine import Code, EditError, Editor, carry_out
from pdae_app.engine.framing import Framed
from pdae_app.engine.generation import LARGEST_SEED
from pdae_app.engine.portrait import make_portrait, preview_steps
from pdae_app.engine.quality import quality_steps
from pdae_app.engine.requests import (
    MOST_FRAMES,
    MOST_PICTURES,
    EditRequest,
    GenerationRequest,
    InterpolationRequest,
)
from pdae_app.export.credentials import signed_film
from pdae_app.export.provenance import Provenance
from pdae_app.ui.api_arguments import (
    connect,
    editor_named,
    files_arg,
    framed_photo,
    given,
    json_arg,
    number_arg,
    number_in,
    person_args,
    photo_arg,
    preset_of,
    square_of,
    text_arg,
    whole_number,
)
from pdae_app.ui.api_films import FilmEndpoints
from pdae_app.ui.api_people import PeopleEndpoints
from pdae_app.ui.api_sliders import SliderEndpoints
from pdae_app.ui.events import ModelWorkers, shown
from pdae_app.ui.files import preview, saved, stored
from pdae_app.ui.models import Models
from pdae_app.ui.result_zip import ResultZip
from pdae_app.ui.session import TIME_TO_LIVE

CODES_KEPT = 4


def build(models: Models, model: ModelWorkers) -> None:
    """Put the endpoints behind the page."""
    with gr.Column(visible=False):
        for endpoints in (Endpoints, FilmEndpoints, PeopleEndpoints, SliderEndpoints):
            endpoints(models).connect(model)


class Endpoints:
    """One method an endpoint; its docstring is what clients read."""

    def __init__(self, models: Models):
        self.models = models
        self.codes = gr.State({}, time_to_live=TIME_TO_LIVE)

    def connect(self, model: ModelWorkers) -> None:
        """Hidden components give every argument its type."""
        quality, scale = text_arg("quality", "Fast"), number_arg("scale", 1)
        face, center, name = person_args()
        sliders = json_arg("sliders", {"Smiling": 1.0, "Young": -0.5})
        wanted = json_arg("wanted", {"Smiling": True})
        where, codes = [face, center, name], self.codes
        endpoints = {
            self.encode: (
                [photo_arg("photo"), quality, *where, codes],
                [gr.Image(label="square"), json_arg("standings"), json_arg("notices"), codes],
            ),
            self.edit: (
                [photo_arg("photo"), sliders, scale, quality, *where, codes],
                [gr.Image(label="picture"), json_arg("progress"), codes],
            ),
            self.interpolate: (
                [
                    *(photo_arg("first"), photo_arg("second"), text_arg("mode", "trajectory")),
                    *(number_arg("frames", 7), quality, center, name),
                ],
                [gr.Gallery(label="frames", format="png"), gr.File(label="film")],
            ),
            self.generate: (
                [
                    *(number_arg("count", 1), number_arg("seed", 0), scale),
                    *(number_arg("unguided", None), wanted, text_arg("label", ""), name, quality),
                    *(number_arg("variety", None), number_arg("temperature", None)),
                ],
                [gr.Gallery(label="pictures", format="png"), json_arg("tries")],
            ),
            self.batch: (
                [files_arg("photos"), sliders, scale, quality, center, name],
                [gr.File(label="zip"), json_arg("errors")],
            ),
        }
        connect(model, endpoints)

    def encode(self, photo, quality="Fast", face=1, center=False, model="", codes=None):
        """Find the code of a photograph.

        Args:
            photo: a picture file with a face.
            quality: "Fast" or "Best".
            face: which face, the largest being 1.
            center: use the centre square instead of a face.
            model: one of the models that the page offers; empty is the first.

        Returns:
            The square that the model sees; where the picture stands on each attribute, -1 being a
            typical opposite and 1 a typical example; sentences about an unusual picture.
        """
        editor, steps = editor_named(self.models, model), quality_steps(quality)
        framed = framed_photo(editor, photo, square_of(face, center))
        code, codes = encoded(editor, framed, steps, codes)
        square = framed.square(editor.image_size)
        path = saved(square, "square", Provenance(editor.title, {"encode": steps}))
        standings = {name: round(at, 3) for name, at in editor.strengths(code).items()}
        yield path, standings, editor.notices(code), codes

    def edit(
        self,
        photo,
        sliders,
        scale=1,
        quality="Fast",
        face=1,
        center=False,
        model="",
        codes=None,
    ):
        """Change attributes of a photograph. Yields previews of the face, then the whole picture.

        Args:
            photo: a picture file with a face.
            sliders: attribute strengths such as {"Smiling": 1.0, "Young": -0.5}; 1 makes a typical
                example, -1 a typical opposite.
            scale: guidance scale; 1 reconstructs, above 1 exaggerates.
            quality: "Fast" or "Best".
            face: which face, the largest being 1.
            center: use the centre square instead of a face.
            model: one of the models that the page offers; empty is the first.

        Returns:
            A preview of the model's square, or, where progress says done, the whole photograph;
            {"step", "steps", "done"}.
        """
        editor = editor_named(self.models, model)
        preset = preset_of(editor, sliders, scale)
        request = EditRequest(preset, quality_steps(quality), square_of(face, center))
        framed = framed_photo(editor, photo, request.square)
        code, codes = encoded(editor, framed, request.steps, codes)
        portrait = make_portrait(editor, framed, code)
        for progress in carry_out.edit(editor, portrait, request):
            if not progress.done and progress.step not in preview_steps(progress.steps):
                continue
            path = preview(shown(progress.image))
            if progress.done:
                whole = portrait.whole_with(progress.image, request.replace)
                path = saved(whole, "edited", request.provenance(editor.title))
            facts = {"step": progress.step, "steps": progress.steps, "done": progress.done}
            yield path, facts, codes

    def interpolate(
        self, first, second, mode="trajectory", frames=7, quality="Fast", center=False, model=""
    ):
        """The pictures from one photograph to another.

        Args:
            first: a picture file with a face.
            second: another.
            mode: "trajectory" or "latent".
            frames: how many, the two ends included.
            quality: "Fast" or "Best".
            center: use the centre square instead of a face.
            model: one of the models that the page offers; empty is the first.

        Returns:
            The frames, and a film of them (MP4).
        """
        editor, steps = editor_named(self.models, model), quality_steps(quality)
        count = whole_number(frames, "frames", 2, MOST_FRAMES)
        request = InterpolationRequest(mode, count, steps, square_of(1, center))
        codes = [carry_out.encode_end(editor, given(path), request) for path in (first, second)]
        pictures = [shown(p) for p in carry_out.interpolate(editor, codes, request)]
        provenance = request.provenance(editor.title)
        paths = [saved(picture, f"frame-{i}", provenance) for i, picture in enumerate(pictures)]
        yield paths, stored(signed_film(pictures, provenance), "interpolation.mp4")

    def generate(
        self,
        count=1,
        seed=0,
        scale=1,
        unguided=None,
        wanted=None,
        label="",
        model="",
        quality="Fast",
        variety=None,
        temperature=None,
    ):
        """New pictures of people who do not exist, one a seed.

        Args:
            count: how many.
            seed: of the first; the next ones follow.
            scale: guidance scale.
            unguided: the last part of the steps that the model does without the code; like the
                last two, the model's own where it is not given.
            wanted: attributes that they are to have or not, such as {"Smiling": true}.
            label: the class, of models that know classes.
            model: one of the models that the page offers; empty is the first.
            quality: "Fast" or "Best".
            variety: below 1, people who are more typical and less unlike one another.
            temperature: of the noise; below 1, smoother pictures.

        Returns:
            The pictures, and how many candidates each took.
        """
        editor, steps = editor_named(self.models, model), quality_steps(quality)
        count = whole_number(count, "count", 1, MOST_PICTURES)
        seed = whole_number(seed, "seed", 0, LARGEST_SEED - count)
        scale = number_in(scale, "scale", 0, 10)
        if not isinstance(wanted or {}, dict) or not all(
            isinstance(value, bool) for value in (wanted or {}).values()
        ):
            raise EditError('Give the wanted attributes as a JSON object: {"Smiling": true}.')
        request = GenerationRequest(
            range(seed, seed + count),
            (scale,),
            {"unguided": unguided, "variety": variety, "temperature": temperature},
            wanted=wanted or {},
            label=label or None,
            steps=steps,
        )
        made = list(carry_out.generate(editor, request))
        paths = [
            (saved(shown(one.image), f"seed-{one.seed}", one.provenance), f"seed {one.seed}")
            for one in made
        ]
        yield paths, [one.tries for one in made]

    def batch(self, photos, sliders, scale=1, quality="Fast", center=False, model=""):
        """One edit on several photographs.

        Args:
            photos: picture files.
            sliders: attribute strengths such as {"Smiling": 1.0}.
            scale: guidance scale.
            quality: "Fast" or "Best".
            center: use the centre square instead of a face.
            model: one of the models that the page offers; empty is the first.

        Returns:
            A zip of PNG files, and what was wrong with each that is missing.
        """
        editor = editor_named(self.models, model)
        preset = preset_of(editor, sliders, scale)
        request = EditRequest(preset, quality_steps(quality), square_of(1, center))
        photos, errors = carry_out.check_many(photos, request), {}
        with ResultZip(request.provenance(editor.title)) as archive:
            for outcome in carry_out.edit_many(editor, photos, request):
                added = archive.add(outcome)
                errors = with_error(errors, added)
                yield gr.skip(), gr.skip()  # where an abandoned batch ends
            path = archive.finish()
        yield path, errors


def with_error(errors: dict[str, str], outcome: carry_out.Outcome) -> dict[str, str]:
    """The errors by photographs' names, this one's too; a name that is there gets a number."""
    if not outcome.error:
        return errors
    name = outcome.name
    name = name if name not in errors else f"{name} ({len(errors) + 1})"
    return errors | {name: outcome.error}


def encoded(editor: Editor, framed: Framed, steps: int, codes: dict | None) -> tuple[Code, dict]:
    """The code of a photograph, and the session's last ones, which a next edit finds again."""
    codes = dict(codes or {})
    key = (editor.title, framed.photograph.source, framed.alignment, steps)
    if key not in codes:
        codes[key] = editor.encode(framed, steps)
    return codes[key], dict([*codes.items()][-CODES_KEPT:])
