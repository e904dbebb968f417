"""The page for everybody: axe-core finds nothing serious."""

import json
import re

from axe_core_python.base import AXE_FILE_PATH

from tests.running import click_example, drag, picture, status, wait_for_change


def serious(page):
    page.add_script_tag(path=AXE_FILE_PATH)
    found = page.evaluate("axe.run()")
    return {
        violation["id"]: [node["html"][:160] for node in violation["nodes"]][:4]
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
    }


def test_axe_finds_nothing_serious(page):
    click_example(page)
    drag(page, "Smiling", 0.9)
    status(page, "Done in")
    page.wait_for_selector("#actions [inert]", state="detached")  # faint until the browser has it
    found = serious(page)
    assert found == {}, json.dumps(found, indent=1)


def test_what_is_told_is_read_out_and_examples_have_names(page):
    assert page.locator("#status").get_attribute("aria-live") == "polite"
    names = [image.get_attribute("alt") for image in page.locator(".gallery-item img").all()]
    assert names[:2] == ["young man", "young woman"] and all(names)


def test_no_seconds_are_counted_to_a_screen_reader(page):
    click_example(page)
    rest = picture(page)
    page.evaluate(
        """() => {
          window.told = [];
          const status = document.querySelector("#status");
          new MutationObserver(() => window.told.push(status.innerText))
            .observe(status, { childList: true, characterData: true, subtree: true });
        }"""
    )
    drag(page, "Smiling", 0.9)
    wait_for_change(page, rest)
    status(page, "Done in")
    told = page.evaluate("window.told")
    assert told and not [text for text in told if re.search(r"\ds\b|processing|queue", text)]
