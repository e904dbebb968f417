"""The Edit tab in a real browser, against a running app with a tiny model."""

import io
import json
import re
import subprocess
import sys

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from pdae_app.engine import framing
from pdae_app.engine.framing import Photograph
from pdae_app.engine.portrait import make_portrait
from pdae_app.engine.preset import Preset
from pdae_app.engine.requests import EditRequest
from pdae_app.ui.edit_tab import EditTab
from pdae_app.ui.events import STOPPED, ModelWorkers, Newest
from pdae_app.ui.history import History
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.result_panel import ADD
from pdae_app.ui.session import EXAMPLES, Opened, Opening
from pdae_app.ui.slider_pool import SLOTS
from tests.running import (
    ROOT,
    click_example,
    drag,
    eventually,
    expect,
    opened,
    paint,
    picture,
    settled,
    slider,
    status,
    wait_for_change,
    wait_for_picture,
)


@pytest.fixture
def edit_tab(editor):
    """The tab's handlers, without a server, and a chosen model."""
    with gr.Blocks():
        chosen = Chosen(editor.title)
        yield EditTab(Models(editor), ModelWorkers(), gr.State(chosen)), chosen


def at(value=0.0):
    """The positions of all sliders: the first at `value`."""
    return [value] + [0.0] * (SLOTS - 1)


def test_drag_a_slider_and_the_picture_changes(page):
    click_example(page)
    before = picture(page)
    drag(page, "Smiling", 0.95)
    status(page, "Done in")
    changed = picture(page)
    assert changed != before
    page.click("#reset")
    status(page, "Ready: drag a slider")
    wait_for_picture(page, before)


def test_the_newest_release_wins(page):
    """A second drag, before the first has ended, leaves the picture of the second."""
    click_example(page)
    page.locator("#quality").get_by_text("Best", exact=True).click()
    settled(page)
    status(page, "Ready: drag a slider")
    drag(page, "Smiling", 0.2)
    status(page, "Done in")
    alone = picture(page)
    page.click("#reset")
    status(page, "Ready: drag a slider")
    drag(page, "Smiling", 0.95)
    drag(page, "Smiling", 0.2)
    status(page, "Done in")
    settled(page)
    wait_for_picture(page, alone)
    page.click("#stop-edit")
    drag(page, "Smiling", 0.5)
    status(page, "Ready: drag a slider")


def test_a_rendering_stops_within_a_step(editor, edit_tab):
    """When the turn passes to a newer one, nothing further is computed."""
    tab, chosen = edit_tab
    portrait = opened_portrait(editor)
    newest, panels, render = Newest(), tab.panels, tab.rendering.render
    newest.want(EditRequest(Preset({"Smiling": 1.0})))
    running = render(chosen, portrait, newest, None)
    assert next(running)[panels.status] == "Step 1 of 10…"
    newest.want(EditRequest(Preset({"Smiling": 0.5})))
    assert list(running) == [tab.rendering.unchanged()]
    *_, last = render(chosen, portrait, newest, None)
    finished = last[panels.finished]
    assert finished.request.preset.sliders == {"Smiling": 0.5}
    completed = tab.rendering.complete(chosen, portrait, newest, finished, {})
    assert completed[panels.result.whole][1].endswith("1-young-man-smiling.png")


def opened_portrait(editor):
    """The first example, as the page has it once it is open."""
    framed = Photograph(str(EXAMPLES[0])).framed(editor.framing)
    return Opened(make_portrait(editor, framed, editor.encode(framed, 10)))


def test_going_back_to_a_picture_encodes_nothing(editor, edit_tab, monkeypatch):
    tab, chosen = edit_tab
    opening, opens, panels = Newest(), tab.opening.open, tab.panels
    opening.want(Opening(Photograph(str(EXAMPLES[0])), "Face 1"))
    *_, first = opens(chosen, opening, "Fast", {})
    monkeypatch.setattr(type(editor), "encode_steps", lambda *a: pytest.fail("encoded again"))
    *_, again = opens(chosen, opening, "Fast", first[panels.codes])
    assert again[panels.opened].portrait.code is first[panels.opened].portrait.code


def test_a_file_that_the_browser_tells_twice_is_opened_once(edit_tab):
    """It does so of each that is put in another's place."""
    tab, chosen = edit_tab
    panels, opening, rendering = tab.panels, Newest(), Newest()
    wanted = {"pasting": ADD, "opened": None, "history": History(), "path": str(EXAMPLES[0])}
    assert panels.status in tab.opening.choose(chosen, opening, rendering, **wanted)
    *_, first = tab.opening.open(chosen, opening, "Fast", {})
    opened, number = first[panels.opened], opening.number
    said = tab.opening.choose(chosen, opening, rendering, **wanted | {"opened": opened})
    assert list(said) == [panels.era] and opening.number == number
    (again,) = tab.opening.open(chosen, opening, "Fast", {}, opened)
    assert list(again) == [panels.status]
    other = wanted | {"opened": opened, "path": str(EXAMPLES[1])}
    assert panels.status in tab.opening.choose(chosen, opening, rendering, **other)
    assert len(list(tab.opening.open(chosen, opening, "Fast", {}, opened))) > 1


def test_a_photograph_is_read_once_until_its_picture_is_done(editor, edit_tab, monkeypatch):
    """From the choice of a file to the whole photograph: opened once, searched for faces once."""
    calls = []
    for name in ("open_photo", "detect_faces"):
        function = getattr(framing, name)

        def counted(picture, name=name, function=function):
            calls.append(name)
            return function(picture)

        monkeypatch.setattr(framing, name, counted)
    tab, chosen = edit_tab
    panels, opening, rendering = tab.panels, Newest(), Newest()
    wanted = {"pasting": ADD, "opened": None, "history": History(), "path": str(EXAMPLES[0])}
    tab.opening.choose(chosen, opening, rendering, **wanted)
    *_, opened = tab.opening.open(chosen, opening, "Fast", {})
    opened = opened[panels.opened]
    *_, last = tab.rendering.render(chosen, opened, rendering, None)
    tab.rendering.complete(chosen, opened, rendering, last[panels.finished], {})
    assert calls == ["open_photo", "detect_faces"]


def test_stop_while_faces_are_looked_for_has_the_last_word(edit_tab, monkeypatch):
    tab, chosen = edit_tab
    panels, opening = tab.panels, Newest()
    search = framing.detect_faces

    def stopped_meanwhile(picture):
        opening.drop()
        return search(picture)

    monkeypatch.setattr(framing, "detect_faces", stopped_meanwhile)
    wanted = {"pasting": ADD, "opened": None, "history": History(), "path": str(EXAMPLES[0])}
    said = tab.opening.choose(chosen, opening, Newest(), **wanted)
    assert said[panels.status] == STOPPED and opening.wish is None
    assert [report[panels.status] for report in tab.opening.open(chosen, opening, "Fast", {})] == [
        STOPPED
    ]


def test_downloads_are_png_of_the_right_size(page):
    click_example(page)
    drag(page, "Male", 0.9)
    status(page, "Done in")
    for button, size in (("save-face", (384, 384)), ("save-photo", Image.open(EXAMPLES[2]).size)):
        with page.expect_download() as download:
            page.locator(f"#{button}").click()
        with Image.open(download.value.path()) as saved:
            assert saved.format == "PNG" and saved.size == size


def test_without_a_face_the_centre_square_is_offered(page, tmp_path):
    Image.effect_noise((200, 160), 60).convert("RGB").save(tmp_path / "wall.png")
    page.set_input_files("#photo input[type=file]", tmp_path / "wall.png")
    status(page, "No face was found")
    settled(page)
    status(page, "No face was found")  # and the sentence stays
    page.locator("#framing").get_by_text("Centre square").click()
    status(page, "Ready: drag a slider")


def test_several_faces_are_offered(page, tmp_path):
    sheet = Image.new("RGB", (620, 300), (120, 130, 140))
    face = Image.open(EXAMPLES[2])
    for x, side in ((10, 180), (200, 280), (490, 120)):
        sheet.paste(face.resize((side, side)), (x, 5))
    sheet.save(tmp_path / "three.png")
    page.set_input_files("#photo input[type=file]", tmp_path / "three.png")
    status(page, "Ready: drag a slider")
    first = picture(page)
    page.locator("#framing").get_by_text("Face 2", exact=True).click()
    page.wait_for_function(
        "old => document.querySelectorAll('#result img')[1]?.src != old",
        arg=page.locator("#result img").last.get_attribute("src"),
    )
    status(page, "Ready: drag a slider")
    wait_for_change(page, first)


@pytest.mark.parametrize("content", [b"not a picture", EXAMPLES[0].read_bytes()[:900]])
def test_a_bad_file_is_told_and_the_page_goes_on(page, tmp_path, content):
    (tmp_path / "broken.jpg").write_bytes(content)
    page.set_input_files("#photo input[type=file]", tmp_path / "broken.jpg")
    status(page, "This ")
    assert re.search("not a picture|damaged or incomplete", page.inner_text("#status"))
    click_example(page)


def test_two_people_do_not_see_each_other(browser, address, page):
    click_example(page, 0)
    mine = picture(page)
    with opened(browser, address, 900, 900) as other:
        expect(other.locator("#result img")).to_have_count(0)
        click_example(other, 4)
        assert picture(other) != mine
    drag(page, "Smiling", 0.9)
    status(page, "Done in")
    drag(page, "Smiling", 0.5)
    settled(page)
    status(page, "Ready: drag a slider")
    wait_for_picture(page, mine)


def test_a_release_streams_previews_then_the_result(address):
    client = Client(address, verbose=False)
    client.predict(ADD, handle_file(EXAMPLES[1]), api_name="/ui_choose")
    client.predict("Fast", api_name="/ui_open")
    client.predict(ADD, 1.5, *at(1.0), None, None, api_name="/ui_release")
    updates = list(client.submit(api_name="/ui_render"))
    statuses = [update[-1] for update in updates if isinstance(update[-1], str)]
    assert statuses[0].startswith("Step 1 of") and statuses[-1] == "Finishing…"
    *_, told = client.predict("PNG", api_name="/ui_complete")
    assert told.startswith("Done in")


def test_sliders_of_the_picture_before_are_no_wish_for_this_one(edit_tab):
    """The browser sends them until it has heard of the new picture."""
    tab, chosen = edit_tab
    panels, rendering = tab.panels, tab.rendering
    before, wishes = History().then(Preset({"Smiling": 0.5})), Newest()
    laid = tab.opening.choose(chosen, Newest(), wishes, ADD, object(), before, str(EXAMPLES[0]))
    history, number = laid[panels.history], wishes.number
    assert not history.now.sliders and laid[panels.era] == 1

    def let_go(era):
        return rendering.remember(
            chosen, None, Newest(), wishes, ADD, None, history, 1.0, *at(1.0), era, None
        )

    assert panels.history not in let_go(0) and wishes.number == number
    assert let_go(1)[panels.history].now.sliders and wishes.number > number


def test_what_is_set_while_the_first_photograph_is_looked_at_is_for_it(edit_tab, monkeypatch):
    tab, chosen = edit_tab
    panels, wishes, before = tab.panels, Newest(), History()
    offered = tab.opening.offered

    def meanwhile(*given):
        tab.rendering.remember(
            chosen, None, Newest(), wishes, ADD, None, before, 1.0, *at(1.0), None, None
        )
        return offered(*given)

    monkeypatch.setattr(tab.opening, "offered", meanwhile)

    def laid(opened):
        given = (chosen, Newest(), wishes, ADD, opened, before, str(EXAMPLES[0]))
        found = tab.opening.choose(*given)[panels.history].now
        assert wishes.wish.preset == found
        return found.sliders

    assert laid(None) and not laid(object())  # of another photograph, nothing stays
    opening, path = Newest(), str(EXAMPLES[0])
    opening.want(Opening(Photograph(str(EXAMPLES[1])), "Face 1"))  # being read
    set_for_it = History().then(Preset({"Smiling": 1.0}))
    given = (chosen, opening, Newest(), ADD, None, set_for_it, path)
    assert not tab.opening.choose(*given)[panels.history].now.sliders


def test_a_photograph_that_is_not_taken_up_leaves_sliders_that_work(edit_tab):
    tab, chosen = edit_tab
    wishes = Newest()
    wishes.begin_era()
    told = tab.opening.not_begun(wishes)
    assert told[tab.panels.era] == 1
    given = (chosen, None, Newest(), wishes, ADD, None, History(), 1.0)
    for era in (1, 7, None):  # 7 after the server was started anew
        assert tab.panels.history in tab.rendering.remember(*given, *at(1.0), era, None)
    told = tab.rendering.remember(*given, *at(1.0), 0, None)
    assert "drag the slider again" in told[tab.panels.status]


def test_a_slider_let_go_before_stop_is_stopped_whichever_arrives_first(edit_tab):
    tab, chosen = edit_tab
    wishes = Newest()
    given = (chosen, None, Newest(), wishes, ADD, None, History(), 1.0)
    wishes.stop(at=20.0)
    late = tab.rendering.remember(*given, *at(1.0), None, 10.0)
    assert late == {tab.panels.status: "Stopped."}  # nothing to undo, nothing awaited
    assert wishes.wish is None
    tab.rendering.remember(*given, *at(1.0), None, 30.0)
    assert wishes.wish.preset.sliders


@pytest.mark.parametrize("after", [0, 150])
def test_a_slider_let_go_while_the_photograph_changes(page, after):
    """Either the new picture wears what its sliders say, or nothing."""
    click_example(page, 0)
    drag(page, "Smiling", 0.9)
    status(page, "Done in")
    page.locator("button.gallery-item").nth(4).click()
    page.wait_for_timeout(after)
    slider(page, "Male").evaluate(
        "s => { s.value = 1; s.dispatchEvent(new Event('input', {bubbles: true}));"
        " s.dispatchEvent(new PointerEvent('pointerup', {bubbles: true})); }"
    )
    settled(page)
    said = page.locator("#status").filter(has_text=re.compile("Done in|Ready: drag"))
    said.wait_for()
    worn = "Done in" in said.inner_text()
    assert float(slider(page, "Smiling").input_value()) == 0
    assert (float(slider(page, "Male").input_value()) != 0) == worn


def test_a_wrong_model_is_told_in_one_line(tmp_path):
    run = subprocess.run(
        [sys.executable, "app.py", "--model", str(tmp_path)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "no config.json" in run.stderr and "Traceback" not in run.stderr


def test_undo_and_redo(page):
    click_example(page)
    rest = picture(page)
    drag(page, "Smiling", 0.95)
    status(page, "Done in")
    smiling = picture(page)
    drag(page, "Male", 0.1)
    settled(page)
    status(page, "Done in")
    page.click("#undo")
    wait_for_picture(page, smiling)
    page.click("#undo")
    wait_for_picture(page, rest)
    expect(slider(page, "Smiling")).to_have_value("0")
    page.click("#redo")
    wait_for_picture(page, smiling)


def test_the_arrow_keys_let_go_of_a_slider_too(page):
    click_example(page)
    before = picture(page)
    slider(page, "Smiling").focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    status(page, "Done in")
    expect(slider(page, "Smiling")).to_have_value("0.6")
    wait_for_change(page, before)


def test_a_preset_goes_to_another_photograph(page, tmp_path):
    click_example(page)
    drag(page, "Smiling", 0.9)
    status(page, "Done in")
    with page.expect_download() as download:
        page.click("#save-preset")
    path = tmp_path / "mine.json"
    download.value.save_as(path)
    set_to = slider(page, "Smiling").input_value()
    click_example(page, 4)
    expect(slider(page, "Smiling")).to_have_value("0")
    load_preset(page, path)
    status(page, "Done in")
    expect(slider(page, "Smiling")).to_have_value(set_to)
    path.write_text('{"format": "pdae_app preset 1", "sliders": {"Wings": 1}}')
    load_preset(page, path)
    page.wait_for_selector("text=This model has no attribute 'Wings'")
    expect(slider(page, "Smiling")).to_have_value(set_to)


def load_preset(page, path):
    """As a person does: the button forgets the last file when it is clicked."""
    with page.expect_file_chooser() as chooser:
        page.click("#load-preset")
    chooser.value.set_files(path)


def test_what_is_painted_stays(page):
    click_example(page)
    before = pixels(page, "result")
    drag(page, "Male", 0.98)
    status(page, "Done in")
    edited = pixels(page, "result")
    paint(page)
    page.click("#keep-take")
    middle = slice(188, 196)
    assert (edited[middle, middle] != before[middle, middle]).any()

    def stays():  # previews, which are lossy, come first
        return (pixels(page, "result")[middle, middle] == before[middle, middle]).all()

    eventually(page, stays, "what was painted did not stay")
    settled(page)
    assert stays() and (pixels(page, "result") != before).any()


def pixels(page, elem_id):
    source = page.locator(f"#{elem_id} img").last.get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(page.request.get(source).body())).convert("RGB"))


def test_eyes_can_be_clicked_on_by_hand(page, tmp_path):
    Image.effect_noise((300, 200), 60).convert("RGB").save(tmp_path / "wall.png")
    page.set_input_files("#photo input[type=file]", tmp_path / "wall.png")
    status(page, "No face was found")
    page.locator("#framing").get_by_text("By hand").click()
    status(page, "Click on one eye")
    image = page.locator("#by-hand img")
    image.click(position={"x": 100, "y": 80})
    page.wait_for_selector("#by-hand:has-text('the other eye')")
    image.click(position={"x": 160, "y": 80})
    status(page, "Ready: drag a slider")


def test_the_strip_of_seven_and_its_film(page):
    click_example(page)
    page.get_by_text("One attribute, seven strengths").click()
    page.locator("#strip-kind input").click()
    page.get_by_role("option", name="GIF").click()
    page.click("#strip")
    status(page, "Done in", "strip-status")
    expect(page.locator("#strip-gallery .thumbnail-item img")).to_have_count(7)
    with page.expect_download() as download:
        page.click("#save-strip")
    with Image.open(download.value.path()) as film:
        assert film.format == "GIF" and 1 < film.n_frames <= 12  # equal neighbours are one
        assert b"strip" in film.info["comment"]


def test_saved_pictures_say_where_they_come_from(page):
    click_example(page)
    drag(page, "Smiling", 0.9)
    status(page, "Done in")
    with page.expect_download() as download:
        page.click("#save-photo")
    with Image.open(download.value.path()) as saved:
        recipe = json.loads(saved.info["Description"])
        assert recipe["model"] == "bundle" and recipe["edit"]["Smiling"] > 1
        assert "compositeWithTrainedAlgorithmicMedia" in saved.info["XML:com.adobe.xmp"]


def test_another_model_brings_its_own_sliders(page):
    click_example(page)
    page.locator("#model input").click()
    page.get_by_role("option", name="faces128").click()
    page.wait_for_selector(".attribute-slider:has-text('Gray Hair')")
    page.locator("#model input").click()
    page.get_by_role("option", name="bundle").click()
    page.wait_for_function("() => !document.body.innerText.includes('Gray Hair')")
    settled(page)  # the photograph that stayed is opened anew
    status(page, "Ready: drag a slider")
    click_example(page, 1)


def test_a_model_of_classes_has_its_own_page(page):
    """Tabs that make no sense are hidden, an open one too; and back."""
    page.locator("#model input").click()
    page.get_by_role("option", name="cats and dogs").click()
    page.wait_for_selector("text=New pictures of a class")
    expect(page.locator("[role=tab]:visible")).to_have_text(["Generate", "About"])
    assert page.locator(".tabs").first.bounding_box()["width"] > 1100  # as wide as before
    page.click("#generate")
    status(page, "Done in", "generation-status")
    expect(page.locator("#edit-this")).to_be_hidden()
    page.get_by_role("tab", name="About").click()
    page.wait_for_selector("text=new pictures of 2 classes")
    expect(page.get_by_text("AUROC")).to_be_hidden()
    page.locator("#model input").click()
    page.get_by_role("option", name="bundle").click()
    page.wait_for_selector("text=Edit a face by sliders")
    click_example(page)


def test_the_page_fits_a_telephone(browser, address):
    with opened(browser, address, 390, 844) as page:
        click_example(page)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390
        for name in ("Smiling", "Male"):
            assert slider(page, name).get_attribute("aria-label")
        drag(page, "Male", 0.9)
        status(page, "Done in")
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        box = page.locator("#result").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] < 844  # in sight beside the last slider


def test_only_a_person_stops():
    """Another photograph drops the wish for the one before, and *Stop* has no word in it."""
    newest = Newest()
    newest.drop()
    assert newest.wish is None and not newest.stopped
    newest.want("an edit", at=5.0)
    newest.stop(at=4.0)  # sent before it
    assert newest.wish == "an edit" and not newest.stopped
    newest.stop(at=6.0)
    assert newest.wish is None and newest.stopped
    newest.want("another")
    assert not newest.stopped
