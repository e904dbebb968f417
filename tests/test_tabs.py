"""The other tabs in a real browser: their main paths, an error, Stop."""

import io
import time
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
from gradio_client import Client
from gradio_client.utils import Status
from PIL import Image

from pdae_app.ui.session import EXAMPLES
from tests.running import (
    PATIENCE,
    choose_files,
    click_example,
    drag,
    eventually,
    expect,
    joining_the_line,
    opened,
    picture,
    settled,
    slider,
    status,
    sweep,
    tab,
    type_number,
    wait_for_picture,
)


def test_interpolation_frames_scrub_and_film(page):
    tab(page, "Interpolate")
    page.click("#make-film")
    page.wait_for_selector("text=Press Interpolate first")
    page.click("#interpolate")
    status(page, "Done in", "interpolation-status")
    expect(page.locator("#frames-gallery .thumbnail-item img")).to_have_count(7)
    first = page.locator("#frame img").get_attribute("src")
    page.locator("#scrub input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "old => document.querySelector('#frame img')?.src != old", arg=page.evaluate(f"'{first}'")
    )
    page.click("#make-film")
    status(page, "The file is ready", "interpolation-status")
    with page.expect_download() as download:
        page.click("#save-film")
    assert download.value.suggested_filename == "interpolation.mp4"
    assert b"ftyp" in download.value.path().read_bytes()[:16]


def test_two_photographs_are_needed(page, tmp_path):
    tab(page, "Interpolate")
    page.locator("#first button[aria-label='Remove Image']").click()
    page.click("#interpolate")
    page.wait_for_selector("text=Choose two photographs first")


def test_seeds_fill_the_gallery_and_one_is_edited(page):
    tab(page, "Generate")
    page.locator("#seed input").fill("7")
    type_number(page, "count", 3)
    page.click("#generate")
    status(page, "Done in", "generation-status")
    captions = page.locator("#generated .caption-label")
    expect(captions).to_have_text(["seed 7", "seed 8", "seed 9"])
    page.locator("#generated .thumbnail-item").nth(1).click()
    page.wait_for_selector("#edit-this:not([disabled])")
    page.click("#edit-this")
    status(page, "Ready: drag a slider")
    assert page.locator("#framing input:checked").get_attribute("value") == "Centre square"


def test_a_sweep_of_the_guidance_scale_is_a_grid(page):
    tab(page, "Generate")
    type_number(page, "count", 2)
    sweep(page)
    page.click("#generate")
    status(page, "Done in", "generation-status")
    captions = page.locator("#generated .caption-label")
    expect(captions).to_have_count(10)
    expect(captions.nth(9)).to_have_text("seed 1, scale 2")


def test_wanted_attributes_tell_the_acceptance(page):
    tab(page, "Generate")
    page.locator("#with input").click()
    page.get_by_role("option", name="Smiling").click()
    page.keyboard.press("Escape")
    page.click("#generate")
    status(page, "candidates were accepted", "generation-status")
    page.locator("#seed input").fill("-3")
    page.click("#generate")
    page.wait_for_selector("text=seed must be a whole number")


# In the page itself, as soon as a run reports: the tiny model may end before a test's click comes.
STOP_AT_ONCE = """([told, stop]) => new MutationObserver((_, observer) => {
    if (/Reading|Frame|One step| of /.test(document.getElementById(told).innerText)) {
        observer.disconnect();
        document.getElementById(stop).click();
    }
}).observe(document.body, {subtree: true, childList: true, characterData: true})"""


# A browser too busy to show the reports; meanwhile the tiny model comes to its end.
BUSY_THEN_STOP = STOP_AT_ONCE.replace(
    "document.getElementById(stop)",
    "for (const end = performance.now() + 4000; performance.now() < end;);"
    "document.getElementById(stop)",
)


def begin_sixty_pictures(page):
    tab(page, "Generate")
    type_number(page, "count", 12)
    sweep(page)
    page.locator("#generation-quality").get_by_text("Best", exact=True).click()
    page.click("#generate")


def test_generation_stops(page):
    page.evaluate(STOP_AT_ONCE, ["generation-status", "stop-generation"])
    begin_sixty_pictures(page)
    status(page, "Stopped", "generation-status")
    settled(page)
    status(page, "Stopped", "generation-status")
    tab(page, "Edit")
    click_example(page)  # and the line is free again


@pytest.mark.parametrize(
    ("name", "button", "stop", "told"),
    [
        ("Interpolate", "interpolate", "stop-interpolation", "interpolation-status"),
        ("Look inside", "inside", "stop-inside", "inside-status"),
        ("Many pictures", "many", "stop-many", "many-status"),
        ("Your own slider", "own-make", "stop-own", "own-status"),
    ],
)
def test_a_long_run_stops(page, name, button, stop, told):
    """What was stopped says so, and does not come to its end after all."""
    prepare(page, name)
    page.evaluate(STOP_AT_ONCE, [told, stop])
    page.click(f"#{button}")
    status(page, "Stopped", told)
    settled(page)
    assert "Stopped" in page.inner_text(f"#{told}")


def test_stop_has_the_last_word_in_a_slow_browser(page):
    prepare(page, "Interpolate")
    page.evaluate(BUSY_THEN_STOP, ["interpolation-status", "stop-interpolation"])
    page.click("#interpolate")
    status(page, "Stopped", "interpolation-status")
    settled(page)
    assert "Stopped" in page.inner_text("#interpolation-status")


def test_a_report_on_its_way_does_not_undo_stop(page):
    """The cancel arrives late, and the run reports in the meantime."""

    def late(route):
        time.sleep(1)
        route.continue_()

    page.route("**/cancel", late)
    prepare(page, "Your own slider")
    page.evaluate(STOP_AT_ONCE, ["own-status", "stop-own"])
    page.click("#own-make")
    status(page, "Stopped", "own-status")
    settled(page)
    status(page, "Stopped", "own-status")


@contextmanager
def line_taken(page, address):
    """Somebody else's pictures are being made. By the API: a page that shows sixty pictures keeps
    the browser from all others.
    """
    client = Client(address, verbose=False)
    jobs = [client.submit(count=12, quality="Best", api_name="/generate") for _ in range(16)]
    eventually(page, lambda: jobs[0].status().code == Status.PROCESSING, "it did not begin")
    yield
    assert not all(job.done() for job in jobs), "the line was free too soon"
    for job in jobs:
        job.result(timeout=PATIENCE / 1000)


def test_stop_takes_what_waits_out_of_the_line(page, address):
    """Neither an edit nor an opening starts after what was before them."""
    click_example(page)
    before = picture(page)
    with line_taken(page, address):
        with joining_the_line(page):
            drag(page, "Smiling", 0.9)
        status(page, "Waiting for the model")
        page.click("#stop-edit")
        status(page, "Stopped")
        with joining_the_line(page):
            page.locator("#quality").get_by_text("Best", exact=True).click()
        status(page, "Waiting for the model")
        page.click("#stop-edit")
        status(page, "Stopped")
    settled(page)
    status(page, "Stopped")
    wait_for_picture(page, before)


def prepare(page, name):
    """Fill a tab in, so that its run takes a while."""
    many = [path for path in EXAMPLES for _ in range(5 if name == "Many pictures" else 30)]
    if name == "Many pictures":
        click_example(page)
        drag(page, "Smiling", 0.9)
        status(page, "Done in")
    tab(page, name)
    if name == "Interpolate":
        type_number(page, "frames", 15)
    if name == "Many pictures":
        page.click("#many")
        page.wait_for_selector("text=Choose photographs first")
        choose_files(page, "many-photos", many)
    if name == "Your own slider":
        page.locator("#own-name textarea, #own-name input").fill("Grin")
        choose_files(page, "own-with", many)


def test_a_slider_of_ones_own(page, tmp_path):
    tab(page, "Your own slider")
    page.click("#own-make")
    page.wait_for_selector("text=Give the slider a name")
    page.locator("#own-name textarea, #own-name input").fill("Grin")
    choose_files(page, "own-with", EXAMPLES[:5])
    page.click("#own-make")
    status(page, "Score", "own-status")
    with page.expect_download() as download:
        page.click("#own-save")
    path = tmp_path / "Grin.safetensors"
    download.value.save_as(path)
    tab(page, "Edit")
    click_example(page)
    drag(page, "Grin", 0.9)
    status(page, "Done in")
    page.reload()
    page.wait_for_selector("#photo")
    expect(slider(page, "Grin")).to_have_count(0)
    tab(page, "Your own slider")
    page.set_input_files("#own-load input[type=file], input[accept*=safetensors]", path)
    status(page, "Grin is loaded", "own-status")
    tab(page, "Edit")
    slider(page, "Grin").wait_for()  # the sliders are drawn anew


def test_many_pictures_and_their_zip(page, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    click_example(page)
    drag(page, "Smiling", 0.9)
    status(page, "Done in")
    tab(page, "Many pictures")
    choose_files(page, "many-photos", [*EXAMPLES[:2], tmp_path / "broken.jpg"])
    page.click("#many")
    status(page, "2 of 3 done", "many-status")
    assert "broken.jpg: This file is not a picture" in page.inner_text("#many-status")
    with page.expect_download() as download:
        page.click("#many-save")
    with zipfile.ZipFile(download.value.path()) as archive:
        names = [path.stem + ".png" for path in EXAMPLES[:2]]
        assert archive.namelist() == names
        with archive.open(names[0]) as file:
            assert Image.open(file).size == Image.open(EXAMPLES[0]).size


def test_looking_inside(page):
    tab(page, "Look inside")
    page.click("#inside")
    status(page, "Done in", "inside-status")
    expect(page.locator("#inside-steps .thumbnail-item img")).to_have_count(32)
    expect(page.locator("#inside-variations .thumbnail-item img")).to_have_count(8)
    expect(page.locator("#inside-gap canvas, #inside-gap svg").first).to_be_attached()
    expect(page.locator("#inside-weightings canvas, #inside-weightings svg").first).to_be_attached()


def test_the_about_tab_lists_the_attributes(page):
    tab(page, "About")
    page.wait_for_selector("text=AUROC on held-out pictures")
    page.wait_for_selector("table:has-text('Smiling')")


def test_an_emptied_box_is_the_least_and_no_stop(page):
    tab(page, "Generate")
    page.locator("#count input[type=number]").fill("")
    page.click("#generate")
    status(page, "Done in", "generation-status")
    expect(page.locator("#generated .thumbnail-item")).to_have_count(1)
    # Places where no picture is show nothing.
    expect(page.locator("#generated .grid-wrap")).to_have_css(
        "background-color", "rgba(0, 0, 0, 0)"
    )


def test_what_does_not_come_into_the_line_was_not_stopped(page):
    """As when there are too many in it."""
    click_example(page)
    full = {"status": 503, "json": {"detail": "Queue is full!"}}
    page.route("**/queue/join*", lambda route: route.fulfill(**full))
    drag(page, "Smiling", 0.9)
    status(page, "This could not be begun")
    tab(page, "Generate")
    page.click("#generate")
    status(page, "This could not be begun", "generation-status")
    page.unroute("**/queue/join*")
    page.click("#generate")
    status(page, "Done in", "generation-status")


def test_on_a_telephone_the_menu_of_tabs_has_those_that_make_sense(browser, address):
    with opened(browser, address, 390, 844) as page:
        row = page.locator(".tabs").first.locator("> .tab-wrapper")
        more, entries = row.get_by_label("More tabs"), row.locator(".overflow-dropdown button")
        more.click()
        expect(entries.filter(has_text="Look inside")).to_be_visible()
        expect(entries.filter(has_text="Film")).to_be_hidden()  # not for a model with x_T
        page.locator("#model input").click()
        page.get_by_role("option", name="cats and dogs").click()
        page.wait_for_selector("text=New pictures of a class")
        settled(page)
        if more.is_visible() and not entries.first.is_visible():
            more.click()
        shown = row.locator("[role=tab]:visible, .overflow-dropdown button:visible")
        expect(shown).to_have_text(["Generate", "About"])


def test_the_strip_keeps_the_other_sliders(page):
    click_example(page)
    page.get_by_text("One attribute, seven strengths").click()

    def middle():
        page.click("#strip")
        status(page, "Done in", "strip-status")
        settled(page)
        source = page.locator("#strip-gallery .thumbnail-item img").nth(3).get_attribute("src")
        return np.asarray(Image.open(io.BytesIO(page.request.get(source).body())))

    alone = middle()
    drag(page, "Male", 0.9)
    status(page, "Done in")
    assert not np.array_equal(middle(), alone)
