"""Sliders for whatever attributes the chosen model has, and for those made in the session."""

import gradio as gr

from pdae_app.engine import EditError, Editor
from pdae_app.engine.groups import GROUPS, attribute_group, grouped
from pdae_app.ui.bounded import BoundedSlider
from pdae_app.ui.models import Chosen

# Gradio's components are fixed when the page is built; the unused ones are hidden. CelebA's models
# have 40 attributes.
SLOTS = 48


class SliderPool:
    """Enough sliders for any model; the first ones show the model's attributes, by group."""

    def __init__(self, editor: Editor):
        with gr.Column(elem_id="sliders"):
            self.heads = [
                gr.Markdown(f"### {group}", elem_classes=["group-head", f"head-{i}"], **seen)
                for i, (group, seen) in enumerate(_heads(editor).items())
            ]
            self.slots = [
                BoundedSlider(-2, 2, step=0.05, min_width=150, buttons=["reset"], **_shown(name))
                for name in _padded(editor.attributes)
            ]

    def adapted(self, editor: Editor, sliders: dict[str, float] | None = None) -> dict:
        """The slots for an editor's attributes, at the positions given."""
        names = _padded(editor.attributes)
        slots = {
            slot: gr.Slider(**_shown(name, (sliders or {}).get(name, 0.0)))
            for slot, name in zip(self.slots, names, strict=True)
        }
        heads = zip(self.heads, _heads(editor).values(), strict=True)
        return slots | {head: gr.Markdown(**seen) for head, seen in heads}

    def at(self, editor: Editor, sliders: dict[str, float]) -> dict:
        """The slots' positions alone."""
        names = _padded(editor.attributes)
        return {slot: sliders.get(name, 0.0) for slot, name in zip(self.slots, names, strict=True)}

    def read(self, editor: Editor, values: tuple[float, ...]) -> dict[str, float]:
        """The attributes that are not at 0."""
        named = zip(_ordered(editor.attributes), values, strict=False)
        return {name: value for name, value in named if value}


def check_room(name: str, editor: Editor, chosen: Chosen | None = None) -> None:
    """Whether a slider of this name can stand beside the others.

    Args:
        chosen: whose own sliders may be replaced.

    Raises:
        EditError: another has the name, or there are `SLOTS` already.
    """
    name = name.strip()
    if chosen and name in {fitted.attribute.name for fitted in chosen.own}:
        return
    if name in editor.attributes:
        raise EditError(f"There is a slider {name!r} already. Choose another name.")
    if len(editor.attributes) >= SLOTS:
        raise EditError(f"There are {SLOTS} sliders already, which is all the page has room for.")


def _ordered(names: list[str]) -> list[str]:
    return [name for members in grouped(names[:SLOTS]).values() for name in members]


def _padded(names: list[str]) -> list[str | None]:
    return [*_ordered(names), *[None] * (SLOTS - len(names))]


def _heads(editor: Editor) -> dict[str, dict]:
    """Which groups' names are shown; of one group alone, none."""
    there = grouped(editor.attributes[:SLOTS])
    return {group: {"visible": group in there and len(there) > 1} for group in GROUPS}


def _shown(name: str | None, value: float = 0.0) -> dict:
    group = GROUPS.index(attribute_group(name or ""))
    return {
        "label": label(name or "unused"),
        "value": value,
        "visible": name is not None,
        "elem_classes": ["attribute-slider", f"group-{group}"],
    }


def label(name: str) -> str:
    """An attribute's name for people."""
    return name.replace("_", " ")
