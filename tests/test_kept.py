"""What stays over a reload of the page, and what goes to the clipboard and into file names."""

import io

import numpy as np
from PIL import Image

from pdae_app.ui.kept_settings import remembered_preset
from tests.running import (
    click_example,
    drag,
    expect,
    picture,
    settled,
    slider,
    status,
    wait_for_picture,
)


def test_the_edit_is_kept_over_a_reload_and_no_face(page):
    click_example(page)
    drag(page, "Smiling", 0.9)
    status(page, "Done in")
    page.locator("#save-kind input").click()
    page.get_by_role("option", name="JPEG").click()
    settled(page)
    smiling, edited = slider(page, "Smiling").input_value(), picture(page)
    page.reload()
    status(page, "The sliders stand as you left them")
    expect(slider(page, "Smiling")).to_have_value(smiling)
    expect(page.locator("#save-kind input")).to_have_value("JPEG")
    expect(page.locator("#result img")).to_have_count(0)
    page.locator(".gallery-item").nth(2).click()
    settled(page)
    status(page, "Done in")
    wait_for_picture(page, edited)
    expect(slider(page, "Smiling")).to_have_value(smiling)
    page.locator(".gallery-item").nth(4).click()  # another person begins anew
    settled(page)
    status(page, "Ready: drag a slider")
    expect(slider(page, "Smiling")).to_have_value("0")


def test_a_browser_may_remember_anything(editor):
    for stored in ({}, {"sliders": 5}, {"sliders": {"Smiling": "x"}}, {"sliders": {"Wings": 1}}):
        assert remembered_preset(editor, stored).sliders == {}
    kept = remembered_preset(editor, {"sliders": {"Smiling": 4, "Wings": 1}, "scale": 99})
    assert kept.sliders == {"Smiling": 2.0} and kept.scale == 1.0


def test_the_result_is_copied_as_a_picture(browser, address, page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    expect(page.locator("#copy-photo")).to_be_disabled()
    click_example(page)
    drag(page, "Smiling", 0.9)
    status(page, "Done in")
    page.click("#copy-photo")
    status(page, "Copied")
    data = page.evaluate(
        """async () => {
          const [item] = await navigator.clipboard.read();
          const blob = await item.getType("image/png");
          return Array.from(new Uint8Array(await blob.arrayBuffer()));
        }"""
    )
    with page.expect_download() as download:
        page.click("#save-photo")
    saved = Image.open(download.value.path()).convert("RGB")
    copied = Image.open(io.BytesIO(bytes(data))).convert("RGB")
    assert np.array_equal(np.asarray(saved), np.asarray(copied))


def test_a_browser_that_copies_nothing_says_so(page):
    click_example(page)
    page.evaluate("() => { navigator.clipboard.write = () => Promise.reject(new Error('no')); }")
    page.click("#copy-photo")
    status(page, "This browser does not let a page copy pictures")
