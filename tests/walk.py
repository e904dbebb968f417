"""Walk through the app in a browser: docs/walkthrough.md's pictures, and the time of each step.

python -m tests.walk --model checkpoints/faces128

The pictures of docs/images are written anew; seconds are from the click to the result on the page.
"""

import argparse
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from pdae_app.ui.session import EXAMPLES
from tests.films import moving, write_film
from tests.running import (
    ROOT,
    camera_flags,
    choose_files,
    chromium,
    click_example,
    drag,
    opened,
    paint,
    photograph_of_two,
    playwright_driver,
    running_app,
    settled,
    start_camera,
    status,
    sweep,
    tab,
    type_number,
)

IMAGES = ROOT / "docs" / "images"
LAPTOP, TALL, TELEPHONE = (1366, 900), (1280, 1200), (390, 844)


@contextmanager
def timed(what: str):
    """Print how long this context lasts."""
    start = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - start:.1f} s", flush=True)


def shoot(place, name: str, **options) -> None:
    """A picture of a page or of a part of it."""
    place.screenshot(path=IMAGES / f"{name}.png", **options)


def run(page, what: str, button: str, words: str, status_id: str) -> None:
    """Press a button, wait for its end, and print how long it took."""
    with timed(what):
        page.click(f"#{button}")
        status(page, words, status_id)
        settled(page)


def edit(page) -> None:
    """A slider, the strip, and Looks."""
    with timed("open the first example"):
        click_example(page, 0)
    with timed("Smiling to 1.6"):
        drag(page, "Smiling", 0.86)
        status(page, "Done in")
        settled(page)
    page.get_by_role("button", name="Reset all").click()
    settled(page)
    with timed("Gray Hair to 1.6"):
        drag(page, "Gray Hair", 0.86)
        status(page, "Done in")
        settled(page)
    shoot(page, "edit")
    page.get_by_text("One attribute, seven strengths").click()
    run(page, "a strip of seven", "strip", "Done in", "strip-status")
    shoot(page.locator("#strip-gallery"), "strip")


def keep(page) -> None:
    """Grey hair, with the mouth and chin as they are."""
    click_example(page, 0)
    drag(page, "Gray Hair", 0.86)
    status(page, "Done in")
    settled(page)
    paint(page, down=70)
    shoot(page.locator("#keep-canvas"), "keep")
    with timed("keep what is painted"):
        page.click("#keep-take")
        status(page, "Done in")
        settled(page)
    shoot(page.locator("#result"), "kept")


def looks(page) -> None:
    """Ten cards of one person."""
    click_example(page, 1)
    page.get_by_role("tab", name="Looks").click()
    run(page, "ten looks", "looks", "Click on one to wear it", "looks-status")
    shoot(page, "looks")


def group(page) -> None:
    """Two people in one photograph, each with an edit of its own."""
    with tempfile.TemporaryDirectory() as folder:
        two = photograph_of_two(Path(folder) / "two.png")
        page.set_input_files("#photo input[type=file]", two)
        status(page, "Ready: drag a slider")
    drag(page, "Young", 0.9)
    status(page, "Done in")
    page.locator("#faces img").nth(1).click()
    settled(page)
    status(page, "Ready: drag a slider")
    drag(page, "Smiling", 0.9)
    status(page, "Done in")
    settled(page)
    page.get_by_role("tab", name="Whole photograph").click()
    page.wait_for_timeout(500)  # the pictures find their size
    shoot(page, "group")


def borrow(page) -> None:
    """The expression of another photograph."""
    click_example(page, 4)
    page.get_by_text("Take from another photograph").click()
    page.set_input_files("#borrow-photo input[type=file]", EXAMPLES[3])
    settled(page)
    run(page, "take the expression", "borrow-take", "Taken", "borrow-status")
    status(page, "Done in")
    page.locator("#borrow-panel").scroll_into_view_if_needed()
    shoot(page, "borrow")


def telephone(page) -> None:
    """Sliders with the picture in sight."""
    click_example(page, 3)
    drag(page, "Long Hair", 0.8)
    status(page, "Done in")
    settled(page)
    shoot(page, "phone")


def dark(page) -> None:
    """The same page in the dark."""
    page.emulate_media(color_scheme="dark")
    page.goto(page.url.split("?")[0] + "?__theme=dark")
    page.wait_for_selector("#photo")
    click_example(page, 4)
    drag(page, "Eyeglasses", 0.8)
    status(page, "Done in")
    settled(page)
    shoot(page, "dark")


def interpolate(page) -> None:
    """Frames between two people."""
    tab(page, "Interpolate")
    run(page, "seven frames", "interpolate", "Done in", "interpolation-status")
    shoot(page, "interpolate")


def generate(page) -> None:
    """New people who smile."""
    tab(page, "Generate")
    page.locator("#with input").click()
    page.get_by_role("option", name="Smiling").click()
    page.keyboard.press("Escape")
    run(
        page,
        "six new people who smile",
        "generate",
        "candidates were accepted",
        "generation-status",
    )
    shoot(page, "generate")


def scales(page) -> None:
    """Two people at five guidance scales."""
    tab(page, "Generate")
    type_number(page, "count", 2)
    sweep(page)
    run(page, "two people at five scales", "generate", "Done in", "generation-status")
    shoot(page.locator("#generated"), "sweep")


def own(page) -> None:
    """A slider from five pictures."""
    tab(page, "Your own slider")
    page.locator("#own-name textarea, #own-name input").fill("Grin")
    choose_files(page, "own-with", EXAMPLES[:5])
    run(page, "a slider from five pictures", "own-make", "Score", "own-status")
    shoot(page, "own")


def ways(page) -> None:
    """Sliders without examples."""
    click_example(page, 1)
    tab(page, "Your own slider")
    tab(page, "Without examples")
    run(page, "six directions without labels", "find-ways", "Click on one", "ways-status")
    shoot(page, "ways")


def film(page) -> None:
    """A film of a face that moves."""
    click_example(page, 1)
    drag(page, "Smiling", 0.8)
    status(page, "Done in")
    tab(page, "Film")
    with tempfile.TemporaryDirectory() as folder:
        choose_files(page, "film", [write_film(Path(folder) / "anna.mp4", moving(12))])
        run(page, "a film of twelve frames", "edit-film", "12 frames in", "film-status")
    shoot(page, "film")


def many(page) -> None:
    """One edit on six photographs."""
    click_example(page, 0)
    drag(page, "Smiling", 0.8)
    settled(page)
    tab(page, "Many pictures")
    choose_files(page, "many-photos", EXAMPLES)
    run(page, "one edit on six photographs", "many", "6 of 6 done", "many-status")
    shoot(page, "many")


def live(page) -> None:
    """The webcam beside its edited picture."""
    click_example(page, 2)
    drag(page, "Eyeglasses", 0.8)
    settled(page)
    start_camera(page)
    page.wait_for_timeout(3000)
    shoot(page, "live", full_page=True)
    page.click("#camera .capture-button")


def inside(page) -> None:
    """What the model does."""
    tab(page, "Look inside")
    run(page, "look inside", "inside", "Done in", "inside-status")
    shoot(page, "inside", full_page=True)


WALKS = {
    edit: LAPTOP,
    keep: LAPTOP,
    looks: LAPTOP,
    group: LAPTOP,
    borrow: TALL,
    telephone: TELEPHONE,
    dark: TALL,
    interpolate: TALL,
    generate: TALL,
    scales: TALL,
    own: LAPTOP,
    ways: TALL,
    film: TALL,
    many: TALL,
    live: TALL,
    inside: TALL,
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="checkpoints/faces128")
    parser.add_argument("--only", nargs="*", default=[], help="names of walks")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        flags = camera_flags(Path(folder))
        with (
            running_app("--model", arguments.model, PDAE_LIVE_SECONDS="5") as address,
            playwright_driver() as driver,
            chromium(driver, flags) as browser,
        ):
            for walk, size in WALKS.items():
                if not arguments.only or walk.__name__ in arguments.only:
                    with opened(browser, address, *size) as page:
                        walk(page)


if __name__ == "__main__":
    main()
