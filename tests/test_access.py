"""The page for everybody: axe-core finds nothing serious."""

import json

from axe_core_python.base import AXE_FILE_PATH

from tests.running import click_example, drag, status


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
    found = serious(page)
    assert found == {}, json.dumps(found, indent=1)


def test_what_is_told_is_read_out_and_examples_have_names(page):
    assert page.locator("#status").get_attribute("aria-live") == "polite"
    names = [image.get_attribute("alt") for image in page.locator(".gallery-item img").all()]
    assert names[:2] == ["young man", "young woman"] and all(names)
