"""Ways of making a slider from photographs: what each asks for, and the request it makes of it."""

from pathlib import Path

import gradio as gr

from pdae_app.engine import EditError, Editor
from pdae_app.engine.own_slider import (
    LONGEST_TABLE,
    NumbersRequest,
    PairsRequest,
    SliderRequest,
    parse_numbers,
)
from pdae_app.ui.slider_pool import label

FILES = {"file_count": "multiple", "file_types": ["image"], "height": 180}

TWO_KINDS_NOTE = """
At least five pictures of people who **have** what the slider is to change, and, better, at least
five of people who do **not**; without these, they are compared with people whom the model makes up.
The two kinds should differ in nothing else: same light, same mix of ages. The score says how well
the slider tells pictures apart that it was not made from: 0.5 is chance, 1 perfect.
"""
PAIRS_NOTE = """
Four to ten people, each **before** and **after**: without a beard and with it, or lit from the left
and from the right. The first picture before belongs to the first after, and so on. The slider
makes the change that the pairs have in common.
"""
NUMBERS_NOTE = """
At least ten pictures, and a table (CSV) with a number for each, such as an age or an angle: a line
`file,value` a picture, as `anna.jpg,34`. The slider raises and lowers what the number measures.
"""


class Kind:
    """A way of making a slider, of which nothing depends on the model."""

    adapting: tuple = ()

    def adapted(self, editor: Editor) -> dict:
        """What changes with the model."""
        return {}


class TwoKinds(Kind):
    """Pictures of people who have it, and who do not."""

    title, suffix = "From two kinds of pictures", ""

    def __init__(self, editor: Editor):
        gr.Markdown(TWO_KINDS_NOTE)
        with gr.Row():
            self.having = gr.File(label="Pictures that have it", elem_id="own-with", **FILES)
            self.lacking = gr.File(label="Pictures that do not", elem_id="own-without", **FILES)
        self.inputs = [self.having, self.lacking]

    def request(self, name: str, having, lacking) -> SliderRequest:
        """What is asked of the engine."""
        return SliderRequest(name, having or (), lacking or ())


class Pairs(Kind):
    """Pictures before and after, and what is to stay the same."""

    title, suffix = "From before and after", "-pairs"

    def __init__(self, editor: Editor):
        gr.Markdown(PAIRS_NOTE)
        with gr.Row():
            self.before = gr.File(label="Before", elem_id="own-before", **FILES)
            self.after = gr.File(label="After", elem_id="own-after", **FILES)
        self.held = gr.Dropdown(
            label="What the slider is to leave alone",
            info="If all who have a beard smile too, choose Smiling here.",
            elem_id="own-held",
            **_attributes(editor),
        )
        self.inputs = [self.before, self.after, self.held]
        self.adapting = (self.held,)

    def request(self, name: str, before, after, held) -> PairsRequest:
        """What is asked of the engine."""
        return PairsRequest(name, before or (), after or (), held or ())

    def adapted(self, editor: Editor) -> dict:
        """The attributes of another model."""
        return {self.held: gr.Dropdown(**_attributes(editor))}


class Numbers(Kind):
    """Pictures, and a table of numbers."""

    title, suffix = "From numbers", "-numbers"

    def __init__(self, editor: Editor):
        gr.Markdown(NUMBERS_NOTE)
        with gr.Row():
            self.pictures = gr.File(label="Pictures", elem_id="own-pictures", **FILES)
            self.table = gr.File(
                label="Table", file_types=[".csv", ".txt"], height=180, elem_id="own-table"
            )
        self.inputs = [self.pictures, self.table]

    def request(self, name: str, pictures, table: str | None) -> NumbersRequest:
        """What is asked of the engine."""
        return NumbersRequest(name, pictures or (), numbers_in(table))


def numbers_in(table: str | None) -> dict[str, float]:
    """The numbers by files' names in a table's file.

    Raises:
        EditError: there is none, or it is no table.
    """
    if table is None:
        raise EditError("Choose a table of numbers too, with a line “file,value” a picture.")
    with open(table, "rb") as file:
        data = file.read(4 * LONGEST_TABLE)
    try:
        return parse_numbers(data.decode())
    except UnicodeDecodeError as error:
        raise EditError(f"{Path(table).name} is no table in UTF-8 text.") from error


def _attributes(editor: Editor) -> dict:
    choices = [(label(name), name) for name in editor.attributes]
    return {"choices": choices, "value": [], "multiselect": True}
