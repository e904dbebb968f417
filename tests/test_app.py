"""The page in a real browser, and its endpoints, against a running app with a tiny model."""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import gradio as gr
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from pdae_app.faces.align import find_alignment
from pdae_app.faces.photo import open_photo
from pdae_app.ui.edit_tab import ADD, EditTab
from pdae_app.ui.events import ModelThread
from pdae_app.ui.session import EXAMPLES, open_portrait

ROOT = Path(__file__).parent.parent
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def address(tiny_folder):
    """A running app."""
    port = free_port()
    command = [sys.executable, "app.py", "--model", str(tiny_folder), "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(url, timeout=1)
            break
        except OSError:
            assert server.poll() is None, server.stdout.read().decode()
            time.sleep(0.5)
    yield url
    server.terminate()
    output = server.communicate(timeout=20)[0].decode()
    assert "Traceback" not in output, output


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium, or Playwright's own."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        own = driver.chromium.executable_path
        path = shutil.which("chromium") or (own if os.path.exists(own) else None)
        if path is None:
            message = "no browser: apt-get install chromium, or playwright install chromium"
            pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
        chromium = driver.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, address):
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.wait_for_selector("#photo")
    yield page
    context.close()


def status(page, text):
    page.wait_for_selector(f'#status:has-text("{text}")')


def click_example(page, number=2):
    page.locator("button.gallery-item, .gallery-item").nth(number).click()
    status(page, "Ready: drag a slider")


def drag(page, name, part):
    """Drag a slider's handle to a part of its way, with the mouse."""
    box = page.locator(f"#slider-{name} input[type=range]").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + part * box["width"], y, steps=4)
    page.mouse.up()


def picture(page, elem_id="result"):
    """A digest of the edited picture that is on the page."""
    source = page.locator(f"#{elem_id} img").last.get_attribute("src")
    return hashlib.sha256(page.request.get(source).body()).hexdigest()


def test_drag_a_slider_and_the_picture_changes(page):
    click_example(page)
    before = picture(page)
    drag(page, "Smiling", 0.95)
    status(page, "Done in")
    changed = picture(page)
    assert changed != before
    page.click("#reset")
    status(page, "Ready: drag a slider")
    assert picture(page) == before


def test_the_newest_release_wins(page):
    """A second drag, before the first has ended, leaves the picture of the second."""
    click_example(page)
    page.locator("#quality").get_by_text("Best", exact=True).click()
    page.wait_for_timeout(300)
    status(page, "Ready: drag a slider")
    drag(page, "Smiling", 0.2)
    status(page, "Done in")
    alone = picture(page)
    page.click("#reset")
    status(page, "Ready: drag a slider")
    drag(page, "Smiling", 0.95)
    drag(page, "Smiling", 0.2)
    status(page, "Done in")
    page.wait_for_timeout(2000)
    assert picture(page) == alone
    page.click("#stop-edit")
    drag(page, "Smiling", 0.5)
    status(page, "Ready: drag a slider")


def test_a_rendering_stops_within_a_step(editor):
    """When the turn passes to a newer one, nothing further is computed."""
    with gr.Blocks():
        tab = EditTab(editor, ModelThread())
        tab.lay_out_inputs()
        tab.lay_out_results()
        tab.lay_out_controls()
    photo = open_photo(EXAMPLES[0])
    alignment = find_alignment(photo)
    code = editor.encode(photo, 10, alignment)
    portrait = open_portrait(editor, photo, alignment, code, 10)
    rendering = tab.render(portrait, ADD, 1.0, 1.0, 0.0)
    assert next(rendering)[tab.status] == "Step 1 of 10…"
    tab.stop(portrait)
    assert list(rendering) == [tab._unchanged()]
    *_, last = tab.render(portrait, ADD, 1.0, 1.0, 0.0)
    assert last[tab.whole][1].endswith("edited.png")


def test_going_back_to_a_picture_encodes_nothing(editor, monkeypatch):
    with gr.Blocks():
        tab = EditTab(editor, ModelThread())
        tab.lay_out_inputs()
        tab.lay_out_results()
    path, framing = str(EXAMPLES[0]), "Face 1"
    *_, first = tab.open(path, framing, "Fast", {})
    monkeypatch.setattr(type(editor), "encode_steps", lambda *a: pytest.fail("encoded again"))
    *_, again = tab.open(path, framing, "Fast", first[tab.codes])
    assert again[tab.portrait].code is first[tab.portrait].code


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
    page.wait_for_timeout(1500)
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
    assert picture(page) != first


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
    other = browser.new_context(viewport={"width": 900, "height": 900}).new_page()
    other.set_default_timeout(PATIENCE)
    other.goto(address)
    other.wait_for_selector("#photo")
    assert other.locator("#result img").count() == 0
    click_example(other, 4)
    assert picture(other) != mine
    drag(page, "Smiling", 0.9)
    status(page, "Done in")
    drag(page, "Smiling", 0.5)
    status(page, "Ready: drag a slider")
    assert picture(page) == mine
    other.context.close()


def test_interpolation_fills_the_gallery(page):
    page.get_by_role("tab", name="Interpolate").click()
    page.click("#interpolate")
    page.wait_for_selector('#interpolation-status:has-text("Done in")')
    assert page.locator("#frames-gallery img").count() >= 7


def test_seeds_fill_the_gallery(page):
    page.get_by_role("tab", name="Generate").click()
    page.locator("#seed input").fill("7")
    page.locator("#count input[type=number]").fill("3")
    page.locator("#count input[type=number]").press("Enter")
    page.click("#generate")
    page.wait_for_selector('#generation-status:has-text("Done in")')
    captions = page.locator("#generated .caption-label").all_inner_texts()
    assert [caption.strip() for caption in captions] == ["seed 7", "seed 8", "seed 9"]


def test_a_bad_seed_is_told(address):
    client = Client(address, verbose=False)
    with pytest.raises(AppError, match="whole number from 0"):
        client.predict(2, -5, 1.0, 0.3, api_name="/generate")
    gallery, _ = client.predict(2, 5, 1.0, 0.3, api_name="/generate")
    assert [item["caption"] for item in gallery] == ["seed 5", "seed 6"]


def test_the_about_tab_lists_the_attributes(page):
    page.get_by_role("tab", name="About").click()
    page.wait_for_selector("text=AUROC on held-out people")


def test_endpoints_stream_previews_then_the_result(address):
    client = Client(address, verbose=False)
    client.predict(handle_file(EXAMPLES[1]), api_name="/choose")
    client.predict(handle_file(EXAMPLES[1]), "Face 1", "Fast", api_name="/open")
    updates = list(client.submit("Add the change", 1.0, 1.5, 0.0, api_name="/edit"))
    statuses = [update[-1] for update in updates if isinstance(update[-1], str)]
    assert statuses[0].startswith("Step 1 of") and statuses[-1].startswith("Done in")


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
