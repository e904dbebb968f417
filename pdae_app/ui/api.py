"""Endpoints with fixed names, for programs and for MCP: no state but a session's last codes."""

import gradio as gr

from pdae_app.engine import Code, EditError, Editor, carry_out
from pdae_app.engine.checks import is_number
from pdae_app.engine.framing import Framed, Square, frame
from pdae_app.engine.generation import LARGEST_SEED
from pdae_app.engine.own_slider import SliderRequest, fit_slider
from pdae_app.engine.portrait import make_portrait, preview_steps
from pdae_app.engine.preset import Preset, parse_sliders
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
from pdae_app.typed_config import short
from pdae_app.ui.events import ONE_AT_A_TIME, ModelThread, shown
from pdae_app.ui.files import preview, saved, slider_file, stored
from pdae_app.ui.models import Models
from pdae_app.ui.photo_input import PhotoInput
from pdae_app.ui.raw_inputs import RawFlag, RawJSON, RawNumber, RawText
from pdae_app.ui.result_zip import ResultZip
from pdae_app.ui.session import TIME_TO_LIVE
from pdae_app.ui.slider_pool import check_room

CODES_KEPT = 4


def build(models: Models, model: ModelThread) -> None:
    """Put the endpoints behind the page."""
    with gr.Column(visible=False):
        Endpoints(models).connect(model)


class Endpoints:
    """One method an endpoint; its docstring is what clients read."""

    def __init__(self, models: Models):
        self.models = models
        self.codes = gr.State({}, time_to_live=TIME_TO_LIVE)

    def connect(self, model: ModelThread) -> None:
        """Hidden components give every argument its type."""
        photo, number, text, flag = _photo, _number, _text, _flag
        quality, scale = text("quality", "Fast"), number("scale", 1)
        face, center, name = number("face", 1), flag("center"), text("model", "")
        sliders = RawJSON(label="sliders", example={"Smiling": 1.0, "Young": -0.5})
        wanted = RawJSON(label="wanted", example={"Smiling": True})
        where, codes = [face, center, name], self.codes
        endpoints = {
            self.encode: (
                [photo("photo"), quality, *where, codes],
                [gr.Image(label="square"), _json("standings"), _json("notices"), codes],
            ),
            self.edit: (
                [photo("photo"), sliders, scale, quality, *where, codes],
                [gr.Image(label="picture"), _json("progress"), codes],
            ),
            self.interpolate: (
                [
                    *(photo("first"), photo("second"), text("mode", "trajectory")),
                    *(number("frames", 7), quality, center, name),
                ],
                [gr.Gallery(label="frames", format="png"), gr.File(label="film")],
            ),
            self.generate: (
                [
                    *(number("count", 1), number("seed", 0), scale, number("unguided", 0.3)),
                    *(wanted, text("label", ""), name, quality),
                ],
                [gr.Gallery(label="pictures", format="png"), _json("tries")],
            ),
            self.fit_attribute: (
                [text("name", ""), _files("having"), _files("lacking"), name],
                [gr.File(label="slider"), _json("score")],
            ),
            self.batch: (
                [_files("photos"), sliders, scale, quality, center, name],
                [gr.File(label="zip"), _json("errors")],
            ),
        }
        for function, (inputs, outputs) in endpoints.items():
            options = {"api_name": function.__name__, **ONE_AT_A_TIME}
            gr.Button().click(model.explained(function), inputs, outputs, **options)

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
        editor, steps = self._editor(model), quality_steps(quality)
        framed = _framed(editor, photo, _square(face, center))
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
        editor = self._editor(model)
        preset = _preset(editor, sliders, scale)
        request = EditRequest(preset, quality_steps(quality), _square(face, center))
        framed = _framed(editor, photo, request.square)
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
        editor, steps = self._editor(model), quality_steps(quality)
        count = _whole(frames, "frames", 2, MOST_FRAMES)
        request = InterpolationRequest(mode, count, steps, _square(1, center))
        codes = [carry_out.encode_end(editor, _given(path), request) for path in (first, second)]
        pictures = [shown(p) for p in carry_out.interpolate(editor, codes, request)]
        provenance = request.provenance(editor.title)
        paths = [saved(picture, f"frame-{i}", provenance) for i, picture in enumerate(pictures)]
        yield paths, stored(signed_film(pictures, provenance), "interpolation.mp4")

    def generate(
        self,
        count=1,
        seed=0,
        scale=1,
        unguided=0.3,
        wanted=None,
        label="",
        model="",
        quality="Fast",
    ):
        """New pictures of people who do not exist, one a seed.

        Args:
            count: how many.
            seed: of the first; the next ones follow.
            scale: guidance scale.
            unguided: the last part of the steps that the model does without the code.
            wanted: attributes that they are to have or not, such as {"Smiling": true}.
            label: the class, of models that know classes.
            model: one of the models that the page offers; empty is the first.
            quality: "Fast" or "Best".

        Returns:
            The pictures, and how many candidates each took.
        """
        editor, steps = self._editor(model), quality_steps(quality)
        count = _whole(count, "count", 1, MOST_PICTURES)
        seed = _whole(seed, "seed", 0, LARGEST_SEED - count)
        scale, unguided = _number_in(scale, "scale", 0, 10), _number_in(unguided, "unguided", 0, 1)
        if not isinstance(wanted or {}, dict) or not all(
            isinstance(value, bool) for value in (wanted or {}).values()
        ):
            raise EditError('Give the wanted attributes as a JSON object: {"Smiling": true}.')
        request = GenerationRequest(
            range(seed, seed + count),
            (scale,),
            unguided,
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

    def fit_attribute(self, name, having, lacking=None, model=""):
        """A new slider from a few pictures, as a file that the page and the command line load.

        Args:
            name: of the slider.
            having: at least five pictures of people who have it.
            lacking: at least five of people who do not; without them, people whom the model makes
                up are taken.
            model: one of the models that the page offers; empty is the first.

        Returns:
            The slider's file; {"auroc", "having", "lacking", "skipped"}: auroc is of pictures that
            it was not fitted on.
        """
        editor, request = self._editor(model), SliderRequest(name, having or (), lacking or ())
        check_room(request.name, editor)
        for step in fit_slider(editor, request):
            if step.fitted is None:
                yield gr.skip(), gr.skip()  # where an abandoned request ends
        facts, skipped = step.fitted.attribute, list(step.skipped)
        score = {"auroc": facts.auroc, "having": facts.positives, "lacking": facts.negatives}
        path = slider_file(editor.with_attributes(step.fitted), step.fitted)
        yield path, score | {"skipped": skipped}

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
        editor = self._editor(model)
        preset = _preset(editor, sliders, scale)
        request = EditRequest(preset, quality_steps(quality), _square(1, center))
        photos, errors = carry_out.check_many(photos, request), {}
        with ResultZip(request.provenance(editor.title)) as archive:
            for outcome in carry_out.edit_many(editor, photos, request):
                added = archive.add(outcome)
                errors = with_error(errors, added)
                yield gr.skip(), gr.skip()  # where an abandoned batch ends
            path = archive.finish()
        yield path, errors

    def _editor(self, model: object) -> Editor:
        if not isinstance(model, str):
            raise EditError(f"The model must be a name, got {short(model)}.")
        return self.models.named(model)


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


def _framed(editor: Editor, photo: object, square: Square) -> Framed:
    return frame(_given(photo), editor.framing, square)


def _square(face: object, center: object) -> Square:
    return Square(_whole(face, "face", 1, 100), bool(center))


def _preset(editor: Editor, sliders: object, scale: object) -> Preset:
    strengths = parse_sliders(sliders, editor.attributes)
    return Preset(strengths, _number_in(scale, "scale", 0, 10))


def _photo(label: str) -> PhotoInput:
    return PhotoInput(label=label, type="filepath", image_mode=None)


def _number(label: str, value: float) -> RawNumber:
    return RawNumber(value, label=label)


def _text(label: str, value: str) -> RawText:
    return RawText(value, label=label)


def _flag(label: str) -> RawFlag:
    return RawFlag(False, label=label)


def _files(label: str) -> gr.File:
    return gr.File(label=label, file_count="multiple")


def _json(label: str) -> gr.JSON:
    return gr.JSON(label=label)


def _given(path: object) -> str:
    if not isinstance(path, str):
        raise EditError("Give a picture file.")
    return path


def _number_in(value: object, name: str, low: float, high: float) -> float:
    if not is_number(value) or not low <= value <= high:
        raise EditError(f"{name} must be a number from {low:g} to {high:g}, got {short(value)}.")
    return float(value)


def _whole(value: object, name: str, low: int, high: int) -> int:
    number = _number_in(value, name, low, high)
    if number != int(number):
        raise EditError(f"{name} must be a whole number, got {short(value)}.")
    return int(number)
