import os
from dataclasses import replace

# Tests run beside each other and beside a browser: one thread each keeps them fast and repeatable.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import pytest

from pdae_app.bundle import save_bundle
from pdae_app.engine import Editor
from pdae_app.ui.session import EXAMPLES
from tests.running import chromium, opened, playwright_driver, running_app
from tests.tiny import tiny_bundle, tiny_class_bundle, tiny_latent_bundle
from training.data import DataConfig


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A complete bundle with random weights on disk."""
    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    save_bundle(tiny_bundle(), folder)
    return folder


@pytest.fixture(scope="session")
def editor(tiny_folder):
    return Editor.from_pretrained(tiny_folder, device="cpu")


@pytest.fixture(scope="session")
def coupled_folder(tmp_path_factory):
    """A tiny model on states that edits without x_T."""
    folder = tmp_path_factory.mktemp("coupled") / "bundle"
    save_bundle(replace(tiny_latent_bundle(), coupled_from=80), folder)
    return folder


@pytest.fixture(scope="session")
def coupled(coupled_folder):
    return Editor.from_pretrained(coupled_folder, device="cpu")


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """The examples as training pictures: searched for faces once."""
    cache = str(tmp_path_factory.mktemp("cache"))
    folder = str(EXAMPLES[0].parent)
    return DataConfig(folder, cache=cache, scale_jitter=0.03, color_jitter=0.1)


@pytest.fixture(scope="session")
def address(tiny_folder):
    """A running app with the tiny model; one of classes may be chosen beside it."""
    other = tiny_folder.parent / "cats and dogs"
    save_bundle(tiny_class_bundle(), other)
    with running_app("--model", tiny_folder, "--models", other) as url:
        yield url


@pytest.fixture(scope="session")
def driver():
    with playwright_driver() as running:
        yield running


@pytest.fixture(scope="session")
def browser(driver):
    with chromium(driver) as running:
        yield running


@pytest.fixture
def page(browser, address):
    with opened(browser, address) as page:
        yield page
