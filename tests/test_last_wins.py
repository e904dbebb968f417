"""What was chosen last wins, however soon it follows what was chosen before."""

import pytest

from tests.running import click_example, expect, opened, picture, settled, status

# Milliseconds between two choices: during the upload, the search for faces, the encoding, the
# rendering, and after all of them.
MOMENTS = (0, 50, 150, 400, 900)


def choose(page, number):
    page.locator(".gallery-item").nth(number).click()


def shown_and_saved(page):
    """The edited face on the page, and the photograph that *Save photograph* gives."""
    settled(page)
    with page.expect_download() as download:
        page.click("#save-photo")
    return picture(page), download.value.path().read_bytes()


@pytest.fixture(scope="module")
def second_alone(browser, address):
    with opened(browser, address) as page:
        click_example(page, 4)
        return shown_and_saved(page)


@pytest.mark.parametrize("wait", MOMENTS)
def test_the_last_of_two_photographs_is_edited(page, second_alone, wait):
    choose(page, 0)
    page.wait_for_timeout(wait)
    choose(page, 4)
    assert shown_and_saved(page) == second_alone
    status(page, "Ready: drag a slider")


@pytest.mark.parametrize("wait", MOMENTS)
def test_a_photograph_that_was_removed_does_not_come_back(page, wait):
    choose(page, 0)
    page.wait_for_selector("#photo img")
    page.wait_for_timeout(wait)
    page.locator("#photo button[aria-label='Remove Image']").click()
    settled(page)
    expect(page.locator("#photo img")).to_have_count(0)
    expect(page.locator("#result img")).to_have_count(0)
    status(page, "Choose a photograph")
    expect(page.locator("#save-photo")).to_be_disabled()
