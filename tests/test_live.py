"""The webcam, edited live: in a browser whose camera is a picture, and where it is too slow."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pdae_app.engine import EditError
from pdae_app.engine.moving import edit_frame
from pdae_app.engine.preset import Preset
from pdae_app.engine.requests import EditRequest
from pdae_app.ui.live_panel import RENTED, Camera, too_slow, written_out
from pdae_app.ui.session import EXAMPLES
from tests.running import (
    camera_flags,
    chromium,
    drag,
    expect,
    opened,
    running_app,
    start_camera,
    status,
    tab,
)


def seen(page):
    """The edited frame that is on the page."""
    source = page.locator("#live img").get_attribute("src")
    data = base64.b64decode(source.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)


def test_the_webcam_is_edited_as_the_sliders_stand(driver, coupled_folder, tmp_path):
    flags = camera_flags(tmp_path)
    with (
        running_app("--model", coupled_folder, PDAE_LIVE_SECONDS="60") as address,
        chromium(driver, flags) as browser,
        opened(browser, address) as page,
    ):
        start_camera(page)
        expect(page.locator("#live img")).to_be_visible()
        status(page, "Set a slider", "live-status")
        plain = seen(page)
        tab(page, "Edit")
        drag(page, "Smiling", 0.95)
        tab(page, "Film")
        expect(page.locator("#live-status")).not_to_contain_text("Set a slider")
        page.click("#camera .capture-button")
        expect(page.locator("#live-status")).not_to_contain_text("No face")
        changed = np.abs(seen(page) - plain).max(axis=2)
        assert changed[:, 220:420].any() and not changed[:, :80].any()  # the face, not the wall


def test_a_frame_is_edited_in_its_face_alone(coupled):
    frame = Image.new("RGB", (500, 300), (120, 130, 140))
    frame.paste(Image.open(EXAMPLES[2]).resize((280, 280)), (200, 10))
    request = EditRequest(Preset({"Smiling": 2.0}), 4)
    edited = np.asarray(edit_frame(coupled, frame, request), int)
    changed = np.abs(edited - np.asarray(frame)).max(axis=2) > 0
    assert changed[:, 200:].any() and not changed[:, :150].any()
    wall = Image.new("RGB", (300, 200), (90, 120, 90))
    assert edit_frame(coupled, wall, request) is wall
    with pytest.raises(EditError, match="set a slider"):
        edit_frame(coupled, frame, EditRequest(Preset(), 4))


def test_a_slow_machine_says_so_with_its_time(coupled, monkeypatch):
    monkeypatch.setattr(type(coupled.sampler), "step_seconds", 0.03)
    assert too_slow(coupled) == ""
    monkeypatch.setattr(type(coupled.sampler), "step_seconds", 0.25)
    assert "about 2.1 s" in too_slow(coupled)
    monkeypatch.setenv("PDAE_LIVE_SECONDS", "3")
    assert too_slow(coupled) == ""
    monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    assert too_slow(coupled) == RENTED


@pytest.mark.parametrize("url", [None, "", "data:image/jpeg;base64,%%%", "http://127.0.0.1/x"])
def test_a_frame_that_is_none_has_no_bytes(url):
    payload = Camera.data_model(url=url)
    assert Camera(sources=["webcam"], streaming=True).preprocess(payload) == b""


def test_a_frame_becomes_no_file(coupled, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    text = written_out(Image.new("RGB", (30, 20)), 0.25)
    assert "data:image/webp;base64," in text and "0.25 s a frame" in text
    assert not list(tmp_path.iterdir())
