import os

# Tests run beside each other and beside a browser: one thread each keeps them fast and repeatable.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import pytest

from pdae_app.bundle import save_bundle
from pdae_app.engine import Editor
from tests.tiny import tiny_bundle


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A complete bundle with random weights on disk."""
    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    save_bundle(tiny_bundle(), folder)
    return folder


@pytest.fixture(scope="session")
def editor(tiny_folder):
    return Editor.from_pretrained(tiny_folder, device="cpu")
