"""A running app, and a browser on its page."""

import hashlib
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from pdae_app.ui.session import EXAMPLES

ROOT = Path(__file__).parent.parent
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Milliseconds; times PDAE_SLOW, for a machine that has much more to do than cores.
PATIENCE = 60_000 * int(os.environ.get("PDAE_SLOW", "1"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running_app(*arguments, **environment):
    """The address of `python app.py ...`; afterwards its log may hold no traceback."""
    port = free_port()
    command = [sys.executable, "app.py", *map(str, arguments), "--port", str(port)]
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | environment,
    )
    url = f"http://127.0.0.1:{port}"
    for _ in range(PATIENCE // 250):
        try:
            urllib.request.urlopen(url, timeout=PATIENCE / 1000)
            break
        except OSError:
            assert server.poll() is None, server.stdout.read().decode()
            time.sleep(0.5)
    try:
        yield url
    finally:
        server.terminate()
        output = server.communicate(timeout=PATIENCE / 3000)[0].decode()
    assert "Traceback" not in output, output


@contextmanager
def playwright_driver():
    """What starts browsers; a process can have only one."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        yield driver


@contextmanager
def chromium(driver, flags=(), **options):
    """The system's Chromium, or Playwright's own, with a profile of its own.

    All pages share the profile, and so the page's compiled scripts: the second opens in half the
    time of the first.
    """
    own = driver.chromium.executable_path
    path = shutil.which("chromium") or (own if os.path.exists(own) else None)
    if path is None:
        message = "no browser: apt-get install chromium, or playwright install chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = driver.chromium.launch_persistent_context(
            profile,
            executable_path=path,
            args=[*BROWSER_FLAGS, *flags],
            timeout=PATIENCE,
            **options,
        )
        yield browser
        browser.close()


def camera_flags(folder):
    """What gives Chromium a camera, which sees a person before a wall who does not move."""
    frame = Image.new("RGB", (640, 480), (120, 130, 140))
    frame.paste(Image.open(EXAMPLES[2]).resize((400, 400)), (120, 40))
    buffer = io.BytesIO()
    frame.save(buffer, "JPEG", quality=90)
    film = folder / "face.mjpeg"
    film.write_bytes(buffer.getvalue() * 30)
    flags = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    return [*flags, f"--use-file-for-fake-video-capture={film}"]


def start_camera(page):
    """Open the webcam of the Film tab, and wait for its first edited frame."""
    tab(page, "Film")
    page.get_by_text("Live, from the webcam").click()
    page.click("#live-begin")
    status(page, "Press Record", "live-status")
    page.locator("#camera").get_by_text("Click to Access Webcam").click()
    page.click("#camera .capture-button")
    status(page, "s a frame", "live")


class Traffic:
    """A page's requests that have no answer yet. An event's stream is open until it has ended."""

    def __init__(self, page):
        self.waiting = set()
        page.on("request", self._sent)
        page.on("requestfinished", self._answered)
        page.on("requestfailed", self._answered)

    def _sent(self, request):
        if "/heartbeat/" not in request.url:
            self.waiting.add(request)

    def _answered(self, request):
        self.waiting.discard(request)


def settled(page, quiet=400, silent=5000):
    """Wait until the page has had all its answers for `quiet` milliseconds.

    A stream that the page gave up is not always told as ended: one that changes nothing on the
    page for `silent` milliseconds is not waited for.
    """
    still, unchanged, before, step = 0, 0, None, 50
    for _ in range(PATIENCE // step):
        page.wait_for_timeout(step)
        waiting = page.traffic.waiting
        still = 0 if waiting else still + step
        now = (len(waiting), page.inner_text("body")) if waiting else ()
        unchanged, before = (unchanged + step if now == before else 0), now
        streams = all("/queue/data" in request.url for request in waiting)
        if still >= quiet or (streams and unchanged >= silent):
            return
    pytest.fail(f"no answer: {[request.url for request in page.traffic.waiting]}")


@contextmanager
def opened(browser, address, width=1280, height=1000):
    """A page of its own session; the browser remembers nothing of those before, nor of those that
    are still open."""
    _forget(browser)
    page = browser.new_page()
    try:
        page.set_viewport_size({"width": width, "height": height})
        page.set_default_timeout(PATIENCE)
        page.traffic = Traffic(page)
        page.goto(address)
        page.wait_for_selector("#photo")
        yield page
    finally:
        _forget(browser)
        page.close()


def _forget(browser):
    """What the open pages keep in the browser, and what they may do."""
    for page in browser.pages:
        if page.url.startswith("http"):
            page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
    browser.clear_cookies()
    browser.clear_permissions()


def eventually(page, holds, message):
    """Wait until a condition holds that the page alone cannot tell."""
    for _ in range(PATIENCE // 100):
        if holds():
            return
        page.wait_for_timeout(100)
    pytest.fail(message)


def expect(locator):
    """Playwright's assertions, which wait until they hold."""
    sync_api = pytest.importorskip("playwright.sync_api")
    sync_api.expect.set_options(timeout=PATIENCE)
    return sync_api.expect(locator)


def wait_for_picture(page, wanted):
    """Wait until the edited picture is that of this digest."""
    eventually(page, lambda: picture(page) == wanted, "the picture did not come")


def wait_for_change(page, before):
    """Wait until the edited picture is another than that of this digest, and return its own."""
    eventually(page, lambda: picture(page) not in (before, None), "the picture did not change")
    return picture(page)


@contextmanager
def joining_the_line(page):
    """Within this context an event joins the line of the model, which is waited for."""
    with page.expect_response(lambda response: "/queue/join" in response.url):
        yield


def choose_files(page, elem_id, paths):
    """Upload files, and wait until the last of them is there."""
    page.set_input_files(f"#{elem_id} input[type=file]", paths)
    page.wait_for_selector(f"#{elem_id} tr.file >> nth={len(paths) - 1}")
    settled(page)


def status(page, text, elem_id="status"):
    page.wait_for_selector(f'#{elem_id}:has-text("{text}")')


def tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def click_example(page, number=2):
    page.locator("button.gallery-item, .gallery-item").nth(number).click()
    settled(page)  # the status may still be that of the photograph before
    status(page, "Ready: drag a slider")


def slider(page, name):
    """The range input of an attribute."""
    named = page.locator(".attribute-slider").filter(has=page.get_by_text(name, exact=True))
    return named.locator("input[type=range]")


def drag(page, name, part):
    """Drag a slider's handle to a part of its way, with the mouse."""
    handle = slider(page, name)
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + part * box["width"], y, steps=4)
    page.mouse.up()


def photograph_of_two(path):
    """A photograph of two people, the larger one on the left, written there."""
    sheet = Image.new("RGB", (620, 320), (120, 130, 140))
    for number, x, side in ((2, 10, 300), (1, 360, 220)):
        sheet.paste(Image.open(EXAMPLES[number]).resize((side, side)), (x, 10))
    sheet.save(path)
    return path


def paint(page, down=0):
    """Paint over the middle of the face, or so many pixels below it, what is to be kept."""
    page.get_by_text("Keep parts of the picture").click()
    canvas = page.locator("#keep-canvas canvas").first
    canvas.click(trial=True)  # once the panel has opened and stands still
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 + down
    page.mouse.move(x - 60, y - 20)
    page.mouse.down()
    for line in (-20, 0, 20):  # with a brush of 40
        page.mouse.move(x + 60, y + line, steps=2)
        page.mouse.move(x - 60, y + line + 10, steps=2)
    page.mouse.up()
    settled(page)


def sweep(page):
    """Ask Generate for every picture at several guidance scales."""
    page.click("#generation-advanced button")
    page.locator("#sweep input").check()


def picture(page, elem_id="result"):
    """A digest of the edited picture that is on the page; None without one."""
    images = page.locator(f"#{elem_id} img")
    if not images.count():
        return None
    source = images.last.get_attribute("src")
    return hashlib.sha256(page.request.get(source).body()).hexdigest()


def type_number(page, elem_id, number):
    """Into the box beside a slider, by the keyboard."""
    box = page.locator(f"#{elem_id} input[type=number]")
    box.fill(str(number))
    box.press("Enter")
