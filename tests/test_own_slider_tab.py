"""The ways of making a slider of one's own, on the page."""

import pytest
from PIL import Image, ImageEnhance

from pdae_app.ui.session import EXAMPLES
from tests.running import (
    choose_files,
    click_example,
    drag,
    expect,
    picture,
    settled,
    slider,
    status,
    tab,
    wait_for_change,
)


@pytest.fixture
def way(page):
    """Open a way of making sliders."""
    tab(page, "Your own slider")

    def opened(name, slider_name=""):
        tab(page, name)
        page.locator("#own-name textarea, #own-name input").fill(slider_name)

    return opened


def brighter(folder, number):
    path = folder / EXAMPLES[number].name
    ImageEnhance.Brightness(Image.open(EXAMPLES[number])).enhance(1.8).save(path)
    return path


def stands_in_the_edit_tab(page, name):
    """And moves the picture."""
    tab(page, "Edit")
    click_example(page)
    rest = picture(page)
    drag(page, name, 0.98)
    status(page, "Done in")
    wait_for_change(page, rest)


def test_from_before_and_after(page, way, tmp_path):
    way("From before and after", "Light")
    page.click("#own-make-pairs")
    status(page, "At least 4 usable pairs are needed, got 0", "own-status")
    choose_files(page, "own-before", EXAMPLES[:4])
    page.click("#own-make-pairs")
    status(page, "There are 4 pictures before and 0 after", "own-status")
    choose_files(page, "own-after", [brighter(tmp_path, n) for n in range(4)])
    page.locator("#own-held input").click()
    page.get_by_role("option", name="Male").click()
    page.keyboard.press("Escape")
    page.click("#own-make-pairs")
    status(page, "on pairs left out", "own-status")
    with page.expect_download() as download:
        page.click("#own-save")
    assert download.value.suggested_filename == "Light.safetensors"
    stands_in_the_edit_tab(page, "Light")


def test_from_numbers(page, way, tmp_path):
    files = [*EXAMPLES, *(brighter(tmp_path, n) for n in range(4))]
    table, paths = tmp_path / "ages.csv", []
    for number, path in enumerate(files):
        paths.append(tmp_path / f"person {number}.jpg")
        paths[-1].write_bytes(path.read_bytes())
    way("From numbers", "Age")
    choose_files(page, "own-pictures", paths)
    page.click("#own-make-numbers")
    status(page, "Choose a table of numbers too", "own-status")
    table.write_text("".join(f"{path.name},{20 + i}\n" for i, path in enumerate(paths)))
    choose_files(page, "own-table", [table])
    page.click("#own-make-numbers")
    status(page, "Pearson", "own-status")
    tab(page, "Edit")
    expect(slider(page, "Age")).to_be_visible()


def test_without_examples(page, way):
    click_example_first(page)
    way("Without examples")
    page.click("#keep-way")
    status(page, "Look for directions first", "ways-status")
    page.click("#find-ways")
    status(page, "Click on one to pick it", "ways-status")
    expect(page.locator("#way-strips img")).to_have_count(6)
    page.locator("#way-strips img").nth(1).click()
    status(page, "Number 2 is picked", "ways-status")
    page.click("#keep-way")
    status(page, "Give the slider a name", "ways-status")
    page.locator("#own-name textarea, #own-name input").fill("Second")
    page.click("#keep-way")
    status(page, "Second is kept", "own-status")
    settled(page)
    stands_in_the_edit_tab(page, "Second")


def click_example_first(page):
    tab(page, "Edit")
    click_example(page)
    tab(page, "Your own slider")
