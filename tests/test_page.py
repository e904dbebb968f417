"""What a visitor takes for granted on the Edit tab, in a real browser with a tiny model."""

import json
import re
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from pdae_app.engine.aims import averaged
from pdae_app.engine.framing import Photograph
from pdae_app.engine.looks import Look
from pdae_app.engine.preset import Preset
from pdae_app.ui import looks_panel
from pdae_app.ui.events import NOT_BEGUN, ModelWorkers, Newest
from pdae_app.ui.framing import BY_HAND
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.photo_panel import (
    BEING_READ,
    CLICK,
    CLICK_OTHER,
    NO_FACE,
    NOTHING_YET,
    READING,
    READING_STOPPED,
    not_open_words,
    reduced,
)
from pdae_app.ui.session import EXAMPLES, Opening
from tests.running import (
    click_example,
    drag,
    eventually,
    expect,
    opened,
    photograph_of_two,
    picture,
    settled,
    slider,
    status,
    wait_for_change,
    wait_for_picture,
)


def number_box(page, name):
    """The box beside an attribute's slider."""
    named = page.locator(".attribute-slider").filter(has=page.get_by_text(name, exact=True))
    return named.locator("input[type=number]")


def typed(page, name, text):
    """Into the box, as a person does who leaves it by Tab."""
    number_box(page, name).fill(text)
    number_box(page, name).press("Tab")
    settled(page)


def saved(page, button="save-photo"):
    with page.expect_download() as download:
        page.click(f"#{button}")
    return download.value


def upload(page, path):
    page.set_input_files("#photo input[type=file]", path)
    settled(page)
    status(page, "Ready: drag a slider")


@pytest.fixture
def two_people(tmp_path):
    return photograph_of_two(tmp_path / "the two.png")


def test_a_number_box_takes_whatever_is_typed(page):
    click_example(page)
    rest = picture(page)
    typed(page, "Smiling", "5")
    expect(number_box(page, "Smiling")).to_have_value("2")
    status(page, "Done in")
    wait_for_change(page, rest)
    typed(page, "Smiling", "")
    expect(number_box(page, "Smiling")).to_have_value("0")
    status(page, "Ready: drag a slider")
    wait_for_picture(page, rest)


def test_a_number_is_taken_at_enter(page):
    click_example(page)
    number_box(page, "Smiling").fill("5")
    page.keyboard.press("Enter")
    status(page, "Done in")
    expect(number_box(page, "Smiling")).to_have_value("2")


def test_a_slider_without_a_photograph_says_what_is_missing(page):
    drag(page, "Smiling", 0.9)
    status(page, "Choose a photograph first")


def test_a_slider_that_is_set_while_nothing_is_open_is_for_what_comes(page, tmp_path):
    Image.new("RGB", (300, 200), (90, 120, 90)).save(tmp_path / "wall.png")
    page.set_input_files("#photo input[type=file]", tmp_path / "wall.png")
    status(page, "No face was found")
    drag(page, "Smiling", 0.9)
    settled(page)
    status(page, "No face was found")
    smiling = slider(page, "Smiling").input_value()
    page.locator(".gallery-item").nth(4).click()
    settled(page)
    status(page, "Done in")
    expect(slider(page, "Smiling")).to_have_value(smiling)


def test_why_a_slider_changes_nothing_yet():
    opening = Newest()

    def words(wish):
        opening.want(wish)
        return not_open_words(opening)

    assert not_open_words(opening) == NOTHING_YET
    assert words(None) == READING_STOPPED  # by *Stop*
    assert words(Opening(None, None)) == NOTHING_YET
    photograph = Photograph(EXAMPLES[0])
    assert words(Opening(photograph, "Face 1")) == BEING_READ
    assert words(Opening(photograph, BY_HAND)) == CLICK
    assert words(Opening(photograph, BY_HAND, ((9, 9),))) == CLICK_OTHER
    assert words(Opening(photograph, None, status=NO_FACE)) == NO_FACE


def test_undo_and_redo_are_grey_at_the_ends_and_have_keys(page):
    click_example(page)
    expect(page.locator("#undo")).to_be_disabled()
    expect(page.locator("#redo")).to_be_disabled()
    drag(page, "Smiling", 0.9)
    status(page, "Done in")
    smiling = picture(page)
    page.keyboard.press("Control+z")
    status(page, "Ready: drag a slider")
    expect(page.locator("#undo")).to_be_disabled()
    expect(slider(page, "Smiling")).to_have_value("0")
    page.keyboard.press("Control+Shift+z")
    status(page, "Done in")
    wait_for_picture(page, smiling)
    expect(page.locator("#redo")).to_be_disabled()


def test_every_face_keeps_its_edit_and_all_are_saved(page, two_people):
    upload(page, two_people)
    expect(page.locator("#faces img")).to_have_count(2)
    drag(page, "Smiling", 0.95)
    status(page, "Done in")
    page.locator("#faces img").nth(1).click()
    settled(page)
    status(page, "Ready: drag a slider")
    expect(slider(page, "Smiling")).to_have_value("0")
    expect(page.locator("#undo")).to_be_disabled()
    drag(page, "Male", 0.05)
    status(page, "Done in")
    download = saved(page)
    before = np.asarray(Image.open(two_people), int)
    changed = np.abs(np.asarray(Image.open(download.path()), int) - before).max(axis=2)
    assert changed[:, :310].max() > 0 and changed[:, 360:].max() > 0
    recipe = json.loads(Image.open(download.path()).info["Description"])
    assert set(recipe["edit"]) == {"Male"}
    assert set(recipe["other faces"]["Face 1 (largest)"]["edit"]) == {"Smiling"}
    page.locator("#faces img").nth(0).click()
    settled(page)
    expect(slider(page, "Smiling")).not_to_have_value("0")
    assert float(slider(page, "Smiling").input_value()) > 1.5
    expect(slider(page, "Male")).to_have_value("0")
    status(page, "Done in")


def click_on_photograph(page, x, y, width, height):
    """At a point of a photograph of that size, which is shown whole and in the middle."""
    box = page.locator("#photo img").bounding_box()
    scale = min(box["width"] / width, box["height"] / height)
    left, top = (box["width"] - scale * width) / 2, (box["height"] - scale * height) / 2
    page.locator("#photo img").click(position={"x": left + scale * x, "y": top + scale * y})
    settled(page)


def test_a_face_is_chosen_by_a_click_on_it(page, two_people):
    upload(page, two_people)
    first = picture(page)
    click_on_photograph(page, 470, 120, 620, 320)
    assert page.get_by_label("Face 2").is_checked()
    status(page, "Ready: drag a slider")
    wait_for_change(page, first)
    click_on_photograph(page, 600, 310, 620, 320)
    page.wait_for_selector("text=There is no face where you clicked")
    assert page.get_by_label("Face 2").is_checked()
    click_on_photograph(page, 160, 160, 620, 320)
    assert page.get_by_label("Face 1 (largest)").is_checked()
    status(page, "Ready: drag a slider")
    wait_for_picture(page, first)


def test_a_click_on_a_large_jpeg_is_where_the_smaller_decoded_one_has_it(two_people, monkeypatch):
    path = two_people.with_suffix(".jpg")
    Image.open(two_people).save(path)
    assert reduced(Photograph(path)) == 1
    monkeypatch.setenv("PDAE_MEGAPIXELS", "0.1")
    assert reduced(Photograph(path)) == 0.5


def test_files_have_the_photographs_name_in_the_kind_that_is_wanted(page, tmp_path):
    Image.open(EXAMPLES[3]).save(tmp_path / "anna.webp")
    upload(page, tmp_path / "anna.webp")
    drag(page, "Smiling", 0.9)
    status(page, "Done in")
    page.locator("#save-kind input").click()
    page.get_by_role("option", name="JPEG").click()
    settled(page)
    for button, name in (("save-photo", "anna-smiling"), ("save-face", "anna-smiling-face")):
        download = saved(page, button)
        assert download.suggested_filename == f"{name}.jpg"
        with Image.open(download.path()) as image:
            assert image.format == "JPEG"


def test_a_result_is_edited_further(page):
    click_example(page)
    drag(page, "Smiling", 0.9)
    status(page, "Done in")
    edited = Image.open(saved(page).path()).convert("RGB")
    page.click("#edit-further")
    page.wait_for_selector("text=Undo goes back no further than here")
    settled(page)
    status(page, "Ready: drag a slider")
    expect(slider(page, "Smiling")).to_have_value("0")
    again = Image.open(saved(page).path()).convert("RGB")
    assert np.abs(np.asarray(edited, int) - np.asarray(again, int)).max() <= 1


def test_the_handle_between_before_and_after_covers_no_face(page):
    click_example(page)
    drag(page, "Smiling", 0.9)
    status(page, "Done in")
    settled(page)
    divider = page.locator("#result .outer").bounding_box()
    handle = page.locator("#result .icon-wrap").bounding_box()
    assert handle["y"] > divider["y"] + 0.8 * divider["height"]


@pytest.mark.parametrize("way", ["pointer", "key"])
def test_before_is_seen_while_compare_is_held(page, way):
    click_example(page)
    after = page.locator("#result img.fixed")
    page.locator("#compare").hover()
    hold = page.mouse if way == "pointer" else page.keyboard
    if way == "key":
        page.locator("#compare").focus()
    hold.down(*(() if way == "pointer" else (" ",)))
    eventually(page, lambda: not after.is_visible(), "the edit is still seen")
    hold.up(*(() if way == "pointer" else (" ",)))
    eventually(page, after.is_visible, "the edit did not come back")


def test_eyes_are_marked_where_they_were_clicked_on(page, tmp_path):
    Image.new("RGB", (300, 200), (90, 90, 90)).save(tmp_path / "wall.png")
    page.set_input_files("#photo input[type=file]", tmp_path / "wall.png")
    status(page, "No face was found")
    page.locator("#framing").get_by_text("By hand").click()
    status(page, "Click on one eye")
    image = page.locator("#by-hand img")
    unmarked = image.get_attribute("src")
    image.click(position={"x": 100, "y": 80})
    status(page, "Now click on the other eye")
    eventually(page, lambda: image.get_attribute("src") != unmarked, "there is no mark")
    data = page.request.get(image.get_attribute("src")).body()
    (tmp_path / "marked").write_bytes(data)
    assert np.asarray(Image.open(tmp_path / "marked").convert("L")).max() > 200


def test_stop_leaves_sliders_and_picture_as_they_were(page):
    click_example(page)
    rest = picture(page)
    page.locator("#quality").get_by_text("Best", exact=True).click()
    settled(page)
    status(page, "Ready: drag a slider")
    rest = picture(page)
    slider(page, "Smiling").scroll_into_view_if_needed()
    drag(page, "Smiling", 0.9)
    page.click("#stop-edit")
    settled(page)
    if picture(page) == rest:  # it was stopped before its end
        expect(slider(page, "Smiling")).to_have_value("0")
        expect(page.locator("#undo")).to_be_disabled()
    else:
        assert float(slider(page, "Smiling").input_value()) > 1


def test_picture_and_sliders_are_in_one_view_of_a_laptop(browser, address):
    with opened(browser, address, 1366, 768) as page:
        click_example(page)
        places = [page.locator(f"#{name}").bounding_box() for name in ("result", "undo", "status")]
        places.append(slider(page, "Smiling").bounding_box())
        places.append(page.locator("#save-photo").bounding_box())
        assert all(box["y"] >= 0 and box["y"] + box["height"] <= 768 for box in places)


def test_undo_save_and_status_stay_beside_the_sliders_on_a_telephone(browser, address):
    with opened(browser, address, 390, 844) as page:
        click_example(page)
        drag(page, "Male", 0.9)
        status(page, "Done in")
        for name in ("result", "undo", "status", "save-photo"):
            box = page.locator(f"#{name}").bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] <= 844, name


def test_a_telephone_shows_the_picture_once_it_is_open_and_what_is_to_be_clicked(browser, address):
    with opened(browser, address, 390, 844) as page:
        click_example(page)
        expect(slider(page, "Smiling")).to_be_in_viewport()
        page.locator("#framing").get_by_text(BY_HAND).click()
        status(page, CLICK)
        settled(page)
        page.wait_for_timeout(500)
        expect(page.locator("#by-hand")).to_be_in_viewport()


def test_an_example_is_said_to_be_read_before_the_server_answers(page):
    held = []
    page.route("**/queue/join*", lambda route: held.append(route))
    page.locator(".gallery-item").nth(2).click()
    status(page, READING)
    eventually(page, lambda: held, "the server was not asked")
    for route in held:
        route.fulfill(status=503, content_type="application/json", body='{"detail": "full"}')
    status(page, NOT_BEGUN)
    page.unroute("**/queue/join*")
    click_example(page)


def test_a_result_stands_back_beside_another_photograph(page):
    click_example(page, 0)
    shown, held = page.locator("#pictures"), []
    expect(shown).not_to_have_class(re.compile("passing"))
    page.route("**/queue/join*", lambda route: held.append(route))
    page.set_input_files("#photo input[type=file]", EXAMPLES[4])
    expect(shown).to_have_class(re.compile("passing"))
    eventually(page, lambda: held, "the server was not asked")
    for route in held:
        route.fulfill(status=503, content_type="application/json", body='{"detail": "full"}')
    status(page, NOT_BEGUN)
    page.unroute("**/queue/join*")
    expect(shown).to_have_class(re.compile("passing"))
    page.set_input_files("#photo input[type=file]", EXAMPLES[3])
    settled(page)
    status(page, "Ready: drag a slider")
    expect(shown).not_to_have_class(re.compile("passing"))


def test_there_is_something_to_compare_once_a_picture_is_open(page):
    compare = page.locator("#compare")
    expect(compare).to_be_disabled()
    click_example(page)
    expect(compare).to_be_enabled()


def test_a_look_is_shown_on_this_person_and_worn_by_a_click(page):
    click_example(page)
    rest = picture(page)
    page.get_by_role("tab", name="Looks").click()
    page.click("#looks")
    status(page, "Click on one to wear it", "looks-status")
    page.locator("#look-cards").get_by_text("Serious").click()
    status(page, "Done in")
    wait_for_change(page, rest)
    page.click("#undo")
    status(page, "Ready: drag a slider")
    wait_for_picture(page, rest)
    click_example(page, 4)
    expect(page.locator("#look-cards img")).to_have_count(0)


def test_looks_of_another_person_end(editor, monkeypatch):
    """Those that are still being drawn do not come after all."""
    look = Look("Serious", Preset({"Smiling": -1.0}), Image.new("RGB", (8, 8)))
    monkeypatch.setattr(looks_panel, "rendered_looks", lambda *given: iter([look] * 3))
    with gr.Blocks():
        nobody = gr.State()
        panel = looks_panel.LooksPanel(Models(editor), ModelWorkers(), *[nobody] * 3)
    view = SimpleNamespace(view_with=lambda image: image, code=None, steps=4)
    rendering = Newest()
    shown = panel.show(Chosen(editor.title), SimpleNamespace(portrait=view), rendering)
    next(shown)
    assert len(next(shown)[panel.cards]) == 1
    rendering.begin_era()
    assert list(shown) == [panel.emptied()]


@pytest.mark.parametrize("told", ["Waiting for the model…", "Step 1 of 10…", "Finishing…"])
def test_what_is_saved_is_the_newest_edit(page, told):
    """While it is being made, the one before is not to be had."""
    click_example(page)
    save = page.locator("#save-photo")
    tell = "told => document.querySelector('#status p').innerText = told"
    page.evaluate(tell, told)
    eventually(page, lambda: save.evaluate("it => it.inert"), "the old one can be saved")
    page.evaluate(tell, "Done in 0.8 s.")
    eventually(page, lambda: not save.evaluate("it => it.inert"), "nothing can be saved")


def test_looks_without_a_photograph_say_what_is_missing(page):
    page.get_by_role("tab", name="Looks").click()
    page.click("#looks")
    status(page, "Choose a photograph first", "looks-status")


def test_attributes_are_taken_from_another_photograph(page):
    click_example(page)
    rest = picture(page)
    page.get_by_text("Take from another photograph").click()
    page.click("#borrow-take")
    status(page, "Choose both photographs first", "borrow-status")
    page.set_input_files("#borrow-photo input[type=file]", EXAMPLES[3])
    settled(page)
    page.click("#borrow-take")
    status(page, "Taken", "borrow-status")
    status(page, "Done in")
    wait_for_change(page, rest)
    expect(slider(page, "Smiling")).not_to_have_value("0")


def make_average(page, name):
    page.locator("#average input").click()
    page.get_by_role("option", name=name, exact=True).click()


def test_one_attribute_or_all_are_made_average(page, editor):
    make_average(page, "Smiling")
    status(page, "Choose a photograph first")
    click_example(page)
    rest = picture(page)
    make_average(page, "Smiling")
    status(page, "Done in")
    code = editor.encode(Image.open(EXAMPLES[2]), 10)
    assert float(slider(page, "Smiling").input_value()) == pytest.approx(
        averaged(editor, code)["Smiling"], abs=0.03
    )
    expect(slider(page, "Male")).to_have_value("0")
    wait_for_change(page, rest)
    expect(page.locator("#average input")).to_have_value("Make average…")
    make_average(page, "Everything")
    settled(page)
    status(page, "Done in")
    expect(slider(page, "Male")).not_to_have_value("0")
    page.click("#undo")
    settled(page)
    expect(slider(page, "Male")).to_have_value("0")
