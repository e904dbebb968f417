"""Endpoints that make sliders: from pictures of two kinds, from pairs, from numbers."""

import gradio as gr

from pdae_app.engine import EditError
from pdae_app.engine.checks import is_number
from pdae_app.engine.own_slider import (
    NumbersRequest,
    PairsRequest,
    SliderRequest,
    fit_slider,
    parse_numbers,
)
from pdae_app.engine.unnamed import MOST, unnamed_directions
from pdae_app.latents.directions import Attribute
from pdae_app.ui.api_arguments import (
    connect,
    editor_named,
    files_arg,
    json_arg,
    names_of,
    number_arg,
    paths_of,
    text_arg,
    whole_number,
)
from pdae_app.ui.events import ModelWorkers
from pdae_app.ui.files import slider_file
from pdae_app.ui.models import Models
from pdae_app.ui.slider_pool import check_room


class SliderEndpoints:
    """One method an endpoint; its docstring is what clients read."""

    def __init__(self, models: Models):
        self.models = models

    def connect(self, model: ModelWorkers) -> None:
        """Hidden components give every argument its type."""
        name, which = text_arg("name", ""), text_arg("model", "")
        kinds = [files_arg("having"), files_arg("lacking")]
        made = [gr.File(label="slider"), json_arg("score")]
        hold = json_arg("hold", ["Smiling"])
        numbers = json_arg("numbers", {"anna.jpg": 34, "ben.jpg": 51})
        connect(
            model,
            {
                self.fit_attribute: (
                    [name, *kinds, which],
                    made,
                ),
                self.fit_pairs: (
                    [name, files_arg("before"), files_arg("after"), hold, which],
                    made,
                ),
                self.fit_numbers: ([name, files_arg("pictures"), numbers, which], made),
                self.directions: (
                    [text_arg("kind", "principal"), number_arg("count", 6), which],
                    [files_arg("sliders"), json_arg("scores")],
                ),
            },
        )

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
        request = SliderRequest(name, paths_of(having), paths_of(lacking))
        yield from self._made(request, model, two_kinds_score)

    def fit_pairs(self, name, before, after, hold=None, model=""):
        """A new slider from four to ten people, each before and after.

        Args:
            name: of the slider.
            before: at least four pictures.
            after: of the same people in the same order.
            hold: attributes that the slider is to leave alone, such as ["Smiling"].
            model: one of the models that the page offers; empty is the first.

        Returns:
            The slider's file; {"cosine", "pairs", "skipped"}: cosine is the mean between the change
            of a pair and that of the others; 0 is chance, 1 the very same change.
        """
        held = names_of(hold, "attributes that are held")
        request = PairsRequest(name, paths_of(before), paths_of(after), held)
        yield from self._made(request, model, pairs_score)

    def fit_numbers(self, name, pictures, numbers, model=""):
        """A new slider from a number for each picture, such as an age or an angle.

        Args:
            name: of the slider.
            pictures: at least ten.
            numbers: by the pictures' file names, such as {"anna.jpg": 34}, or the text of a CSV
                table of lines file,value.
            model: one of the models that the page offers; empty is the first.

        Returns:
            The slider's file; {"r", "pictures", "skipped"}: r is Pearson's, between the numbers and
            what was read from pictures that the slider was not fitted on.
        """
        request = NumbersRequest(name, paths_of(pictures), numbers_of(numbers))
        yield from self._made(request, model, numbers_score)

    def directions(self, kind="principal", count=6, model=""):
        """Sliders without labels: the ways in which people whom the model makes up differ.

        Args:
            kind: "principal" or "independent".
            count: how many.
            model: one of the models that the page offers; empty is the first.

        Returns:
            A slider's file for each; the share of the difference between people along each.
        """
        editor = editor_named(self.models, model)
        found = unnamed_directions(editor, kind, whole_number(count, "count", 1, MOST))
        able = editor.with_attributes(*found)
        files = [slider_file(able, direction) for direction in found]
        yield files, [direction.attribute.score for direction in found]

    def _made(self, request, model, score):
        """At last the slider's file, and its score with what was skipped."""
        editor = editor_named(self.models, model)
        check_room(request.name, editor)
        for step in fit_slider(editor, request):
            if step.fitted is None:
                yield gr.skip(), gr.skip()  # where an abandoned request ends
        path = slider_file(editor.with_attributes(step.fitted), step.fitted)
        yield path, score(step.fitted.attribute) | {"skipped": list(step.skipped)}


def two_kinds_score(facts: Attribute) -> dict:
    """How well a slider tells two kinds of pictures apart."""
    return {"auroc": facts.auroc, "having": facts.positives, "lacking": facts.negatives}


def pairs_score(facts: Attribute) -> dict:
    """How much alike the changes of pairs are."""
    return {"cosine": facts.score, "pairs": facts.positives}


def numbers_score(facts: Attribute) -> dict:
    """How well a slider follows numbers."""
    return {"r": facts.score, "pictures": facts.positives + facts.negatives}


def numbers_of(numbers: object) -> dict[str, float]:
    """Numbers by files' names, as an object or as the text of a table.

    Raises:
        EditError: they are neither.
    """
    if isinstance(numbers, str):
        return parse_numbers(numbers)
    if not isinstance(numbers, dict) or not all(map(is_number, numbers.values())):
        raise EditError('Give the numbers as a JSON object, such as {"anna.jpg": 34}.')
    return {name: float(value) for name, value in numbers.items()}
