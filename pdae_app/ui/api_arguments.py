"""Arguments of the endpoints: their types for the documentation, and what is wrong with them."""

from collections.abc import Callable, Mapping, Sequence

import gradio as gr

from pdae_app.engine import EditError, Editor
from pdae_app.engine.checks import is_number
from pdae_app.engine.framing import Framed, Square, frame
from pdae_app.engine.preset import Preset, parse_sliders
from pdae_app.typed_config import short
from pdae_app.ui.events import IN_LINE, ModelWorkers
from pdae_app.ui.models import Models
from pdae_app.ui.photo_input import PhotoInput
from pdae_app.ui.raw_inputs import RawFlag, RawJSON, RawNumber, RawText


def connect(model: ModelWorkers, endpoints: Mapping[Callable, tuple[list, list]]) -> None:
    """Give methods fixed names: each with its inputs and its outputs."""
    for function, (inputs, outputs) in endpoints.items():
        options = {"api_name": function.__name__, **IN_LINE}
        gr.Button().click(model.explained(function), inputs, outputs, **options)


def editor_named(models: Models, model: object) -> Editor:
    """The editor of a model that is asked for by name; of none, the first.

    Raises:
        EditError: no name, or one that is not offered.
    """
    if not isinstance(model, str):
        raise EditError(f"The model must be a name, got {short(model)}.")
    return models.named(model)


def names_of(names: object, what: str = "attributes") -> Sequence[str]:
    """A list of names; nothing is none.

    Raises:
        EditError: it is no list of names.
    """
    if names is None or names == "":
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise EditError(f'Give the {what} as a JSON list, such as ["Smiling"].')
    return names


def paths_of(files: object) -> list[str]:
    """The files that were sent; nothing is none."""
    return list(files or ())


def framed_photo(editor: Editor, photo: object, square: Square) -> Framed:
    """A photograph that was sent, with the square of it that is wanted."""
    return frame(given(photo), editor.framing, square)


def square_of(face: object, center: object) -> Square:
    """Which square of a photograph is wanted."""
    return Square(whole_number(face, "face", 1, 100), bool(center))


def preset_of(editor: Editor, sliders: object, scale: object) -> Preset:
    """How the sliders are to stand."""
    strengths = parse_sliders(sliders, editor.attributes)
    return Preset(strengths, number_in(scale, "scale", 0, 10))


def photo_arg(label: str) -> PhotoInput:
    """A picture file."""
    return PhotoInput(label=label, type="filepath", image_mode=None)


def number_arg(label: str, value: float | None) -> RawNumber:
    """A number, and what it is when it is left out."""
    return RawNumber(value, label=label)


def text_arg(label: str, value: str) -> RawText:
    """A text, and what it is when it is left out."""
    return RawText(value, label=label)


def flag_arg(label: str) -> RawFlag:
    """A yes or no; no, when it is left out."""
    return RawFlag(False, label=label)


def files_arg(label: str) -> gr.File:
    """Several files."""
    return gr.File(label=label, file_count="multiple")


def json_arg(label: str, example: object = None) -> RawJSON:
    """Facts, or names and numbers, of which the documentation shows an example."""
    return RawJSON(label=label, example=example)


def person_args() -> list:
    """Which face, or the centre square, and by which model."""
    return [number_arg("face", 1), flag_arg("center"), text_arg("model", "")]


def given(path: object, what: str = "picture") -> str:
    """The path of a file that was sent.

    Raises:
        EditError: there is none.
    """
    if not isinstance(path, str):
        raise EditError(f"Give a {what} file.")
    return path


def number_in(value: object, name: str, low: float, high: float) -> float:
    """A number in a range.

    Raises:
        EditError: it is none.
    """
    if not is_number(value) or not low <= value <= high:
        raise EditError(f"{name} must be a number from {low:g} to {high:g}, got {short(value)}.")
    return float(value)


def whole_number(value: object, name: str, low: int, high: int) -> int:
    """A whole number in a range.

    Raises:
        EditError: it is none.
    """
    number = number_in(value, name, low, high)
    if number != int(number):
        raise EditError(f"{name} must be a whole number, got {short(value)}.")
    return int(number)
