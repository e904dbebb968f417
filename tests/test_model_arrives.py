"""A photograph that is chosen about when another model arrives is edited with that model."""

from dataclasses import replace

import pytest

from pdae_app.bundle import save_bundle
from tests.running import click_example, expect, opened, running_app, settled, slider, status
from tests.tiny import tiny_bundle, tiny_latents

# Milliseconds after another model was chosen, and after its sliders came.
MOMENTS = (0, 400)


@pytest.fixture(scope="module")
def other_page(browser, tiny_folder, tmp_path_factory):
    """A page where a model with other sliders may be chosen, which is loaded already."""
    other = tmp_path_factory.mktemp("other") / "second"
    save_bundle(replace(tiny_bundle(1), latents=tiny_latents(("Young", "Bald"))), other)
    running = running_app("--model", tiny_folder, "--models", other)
    with running as address, opened(browser, address) as page:
        choose(page, "second")
        came(page, "Young")
        yield page


def choose(page, name):
    page.locator("#model input").click()
    page.get_by_role("option", name=name, exact=True).click()


def came(page, name):
    page.wait_for_selector(f".attribute-slider:has-text('{name}')")


def edited_with(page, name):
    """The chosen photograph is there, and a slider of the model moves it."""
    settled(page)
    expect(page.locator("#photo img")).to_have_count(1)
    status(page, "Ready: drag a slider")
    expect(page.locator("#result img").first).to_be_visible()
    assert slider(page, name).is_visible()


@pytest.fixture
def first_model(other_page):
    choose(other_page, "bundle")
    came(other_page, "Smiling")
    settled(other_page)
    return other_page


def click(page):
    page.locator(".gallery-item").nth(2).click()


@pytest.mark.parametrize("wait", MOMENTS)
def test_a_click_right_after_a_model_came(first_model, wait):
    choose(first_model, "second")
    came(first_model, "Young")
    first_model.wait_for_timeout(wait)
    click(first_model)
    edited_with(first_model, "Young")


@pytest.mark.parametrize("wait", MOMENTS)
def test_a_click_while_a_model_is_on_its_way(first_model, wait):
    click_example(first_model, 1)
    choose(first_model, "second")
    first_model.wait_for_timeout(wait)
    click(first_model)
    edited_with(first_model, "Young")
