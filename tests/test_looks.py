"""Looks, and how far an edit can be believed."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from pdae_app.engine import EditError, Editor
from pdae_app.engine.aims import average, averaged, borrowed
from pdae_app.engine.carry_out import edit_photograph
from pdae_app.engine.groups import grouped
from pdae_app.engine.looks import (
    LEAST,
    believable,
    bounded,
    held_back,
    look_named,
    rendered_looks,
    shows_little,
)
from pdae_app.engine.preset import Preset
from pdae_app.engine.requests import EditRequest
from pdae_app.export.names import edited_name
from pdae_app.latents.typical import Typical, code_distance
from pdae_app.ui.rendering import against_words
from pdae_app.ui.session import EXAMPLES
from tests.tiny import tiny_bundle


@pytest.fixture(scope="module")
def code(editor):
    return editor.encode(Image.open(EXAMPLES[1]), 4)


def test_an_edit_that_nobody_sees_says_so():
    before = Image.new("RGB", (64, 64), (100, 120, 140))
    seen, faint = before.copy(), before.copy()
    seen.paste((100, 60, 140), (20, 20, 40, 24))  # a frame of glasses, say
    faint.paste((100, 110, 140), (0, 0, 64, 64))
    assert not shows_little(before, seen, {"Smiling": 1.0})
    assert shows_little(before, faint, {"Smiling": 1.0})
    assert not shows_little(before, faint, {"Smiling": 0.3})  # little was asked for
    assert not shows_little(before, before, {})


def knowing(code, times):
    """An editor whose typical pictures are so many times as far as this one."""
    bundle = tiny_bundle()
    distance = times * code_distance(bundle.latents, code.z)
    editor = Editor(replace(bundle, typical=Typical(distance, 9.0)), "tiny", "cpu")
    return editor, replace(code, bundle=editor.bundle.identity)


def test_an_edit_is_bounded_where_its_code_becomes_strange(code):
    free, own = knowing(code, 100)
    assert believable(free, own, {"Smiling": 2.0}) == 1
    tight, own = knowing(code, 1.0)
    part = believable(tight, own, {"Smiling": 5.0})
    assert LEAST <= part < 1
    assert bounded(tight, own, {"Smiling": 5.0}) == {"Smiling": pytest.approx(5 * part, abs=0.03)}


def test_sliders_that_others_hold_back_are_named(code):
    """Two ways that are nearly opposite: neither slider gets far."""
    bundle = tiny_bundle()
    space = bundle.latents
    a, b = torch.eye(space.weights.shape[1])[:2]
    weights = torch.stack([a - 0.95 * b, b - 0.95 * a])
    ways = {"weights": weights, "directions": torch.stack([a, b])}
    free = tuple(replace(attribute, unit=1.0) for attribute in space.attributes[:2])
    against = replace(space, **ways, attributes=free, affine=())
    editor = Editor(replace(bundle, latents=against), "tiny", "cpu")
    one, other = against.names
    assert held_back(editor, code, {one: 1.0, other: 1.0}) == [one, other]
    assert held_back(editor, code, {one: 1.0, other: -1.0}) == []
    assert held_back(editor, code, {one: 1.0}) == []
    assert one not in held_back(editor, code, {one: 0.2, other: 1.0})  # nobody misses it
    assert against_words([one]).startswith(f"*{one}* hardly changes: other")
    assert against_words(["A_B", "C"]).startswith("*A B* and *C* hardly change: sliders")


def test_a_look_is_the_edit_of_its_preset(editor, code):
    (look,) = rendered_looks(editor, code, 4)
    assert look.name == "Serious"
    assert look.image.tobytes() == editor.edit(code, look.preset.sliders, 4).tobytes()


def test_looks_are_named(editor):
    assert look_named("serious", editor.attributes) == {"Smiling": -1.0}
    with pytest.raises(EditError, match="no look 'Beard'"):
        look_named("Beard", editor.attributes)


def test_attributes_come_in_groups():
    names = ["Young", "Wings", "Gray_Hair", "Smiling", "Bald"]
    assert grouped(names) == {
        "Expression": ["Smiling"],
        "Hair": ["Gray_Hair", "Bald"],
        "Face": ["Young"],
        "More": ["Wings"],
    }


def test_a_file_is_named_after_its_photograph_and_its_edit():
    assert edited_name("/up/anna.heic", {"Smiling": 1.0, "Male": 0.0}) == "anna-smiling"
    assert edited_name("b.jpg", {"Gray_Hair": 0.5, "Young": -1.0}) == "b-not-young-gray-hair"
    assert edited_name("c.png", {}) == "c"
    # A name may have 255 bytes, with its suffix.
    sliders = {"Ж" * 40: 1.0, "Щ" * 40: -1.0, "Ю" * 40: 2.0}
    long = edited_name("Я" * 100 + ".jpg", sliders)
    assert long.startswith("Я" * 40 + "-ю") and len(long.encode()) <= 160


def test_what_is_borrowed_carries_a_picture_to_where_the_other_stands(editor, code):
    other = editor.encode(Image.open(EXAMPLES[3]), 4)
    sliders = borrowed(editor, code, other, ["smiling"], farthest=5)
    reached = editor.strengths(editor.moved(code, sliders))["Smiling"]
    assert reached == pytest.approx(editor.strengths(other)["Smiling"], abs=0.05)
    assert set(borrowed(editor, code, other, editor.attributes)) <= set(editor.attributes)
    near = borrowed(editor, code, other, editor.attributes, farthest=0.01)
    assert max(map(abs, near.values())) <= 0.01
    with pytest.raises(EditError, match="no attribute 'Wings'"):
        borrowed(editor, code, other, ["Wings"])


def test_attributes_are_made_average(editor, code):
    space = editor.bundle.latents
    biases = [attribute.bias for attribute in space.attributes]
    there = editor.moved(code, space.sliders_to(code.z, average(editor), farthest=5))
    assert space.logits(there.z).tolist() == pytest.approx(biases, abs=0.05)
    assert set(averaged(editor, code, ["smiling"])) == {"Smiling"}
    mean = replace(code, z=space.mean)
    assert averaged(editor, mean) == {}
    with pytest.raises(EditError, match="no attribute 'Wings'"):
        averaged(editor, code, ["Wings"])


def test_a_request_has_other_sliders_for_every_person(editor, code):
    request = EditRequest(Preset({"Male": 0.5}), aims=average(editor))
    assert request.changes and "aims" in request.provenance("tiny").recipe
    settled = request.settled(editor.bundle.latents, code.z)
    smiling = averaged(editor, code, ["Smiling"])["Smiling"]
    assert settled.preset.sliders == {"Smiling": smiling, "Male": 0.5} and not settled.aims
    plain = edit_photograph(editor, EXAMPLES[1], replace(settled, steps=10))
    assert edit_photograph(editor, EXAMPLES[1], request).tobytes() == plain.tobytes()
