"""Pictures of 256 px through a first stage: the paste, and what galleries keep in memory."""

import gc
import weakref
from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from pdae_app.bundle import save_bundle
from pdae_app.engine import Editor
from pdae_app.engine.framing import Photograph, Square
from pdae_app.engine.portrait import VIEW_SIDE, make_portrait
from pdae_app.engine.requests import MOST_FRAMES, MOST_PICTURES
from pdae_app.faces.paste import soft_mask
from pdae_app.models.first_stage import PatchAutoencoder, PatchAutoencoderConfig
from pdae_app.ui import generate_tab, interpolate_tab
from pdae_app.ui.events import ModelWorkers
from pdae_app.ui.models import Chosen, Models
from pdae_app.ui.session import EXAMPLES
from tests.tiny import tiny_latent_bundle

SIDE = 256


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """An editor of 256-px pictures, whose states are 4 x 16 x 16."""
    torch.manual_seed(6)
    stage = PatchAutoencoder(PatchAutoencoderConfig(patch_size=16, channels=8))
    for parameter in stage.eval().requires_grad_(False).parameters():
        if not parameter.any():
            parameter.normal_(std=0.02)
    folder = tmp_path_factory.mktemp("large") / "bundle"
    save_bundle(replace(tiny_latent_bundle(), first_stage=stage), folder)
    editor = Editor.from_pretrained(folder, device="cpu")
    assert editor.image_size == SIDE and editor.bundle.state_shape == (4, 16, 16)
    return editor


def portrait_of(editor, path, **square):
    framed = Photograph(str(path)).framed(editor.framing, Square(**square))
    return make_portrait(editor, framed, editor.encode(framed, steps=3))


def array(image):
    return np.asarray(image, np.float32)


def test_an_edit_is_added_to_the_photograph_s_own_pixels(large, tmp_path):
    """What the first stage loses stays with its structure, and every pixel takes the change."""
    detail = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(detail).save(tmp_path / "detail.png")
    portrait = portrait_of(large, tmp_path / "detail.png", center=True)
    assert np.abs(array(portrait.reconstruction) - detail).mean() > 20  # the first stage's loss
    unchanged = portrait.whole_with(portrait.reconstruction)
    assert np.array_equal(array(unchanged), detail)
    slight = large.edit(portrait.code, {"Smiling": 5.0})  # with random weights, one grey level
    strong = Image.fromarray((0.6 * array(portrait.reconstruction) + 90).astype(np.uint8))
    for edited, least in ((slight, 0.01), (strong, 20)):
        assert edited.size == (SIDE, SIDE)
        change = array(edited) - array(portrait.reconstruction)
        assert np.abs(change).mean() > least
        expected = (detail + change * soft_mask(SIDE)[:, :, None]).clip(0, 255)
        assert np.abs(array(portrait.whole_with(edited)) - expected).max() <= 1


def test_a_face_of_a_photograph_is_edited_where_it_is(large):
    portrait = portrait_of(large, EXAMPLES[0])
    photograph = array(portrait.photograph.image)
    whole = array(portrait.whole_with(large.edit(portrait.code, {"Smiling": 3.0})))
    assert whole.shape == photograph.shape
    changed = np.abs(whole - photograph).max(axis=2) > 0
    assert changed.any()
    corners = np.array([(0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)])
    x, y = (corners @ np.array(portrait.code.alignment.matrix).T).T
    rows, columns = np.nonzero(changed)
    assert y.min() <= rows.min() and rows.max() <= y.max()
    assert x.min() <= columns.min() and columns.max() <= x.max()


@pytest.fixture
def alive(monkeypatch):
    """How many of a gallery's pictures are in memory each time that one more is made."""
    made, counts = [], []

    def watched(module):
        shown = module.shown

        def show(image):
            picture = shown(image)
            made.append(weakref.ref(picture))
            gc.collect()
            counts.append(sum(ref() is not None for ref in made))
            return picture

        monkeypatch.setattr(module, "shown", show)
        return counts

    return watched


def test_new_pictures_go_to_files_one_by_one(large, alive):
    """A full gallery, and no more than the picture just made in memory."""
    counts = alive(generate_tab)
    with gr.Blocks():
        chosen = gr.State(Chosen(large.title))
        tab = generate_tab.GenerateTab(Models(large), ModelWorkers(), chosen)
    wishes = (MOST_PICTURES, 1, 1.0, None, [], [], False, "Fast", 1.0, 1.0, 1.0)
    galleries = [
        changes[tab.gallery]
        for changes in tab.generate(Chosen(large.title), *wishes)
        if isinstance(changes.get(tab.gallery), list)
    ]
    assert len(galleries[-1]) == len(counts) == MOST_PICTURES
    assert max(counts) <= 2
    assert all(isinstance(path, str) for path, _ in galleries[-1])


def test_frames_are_kept_at_the_size_of_the_screen(large, alive):
    """A film is made of them; the most that a visitor can ask for takes 14 MB."""
    counts = alive(interpolate_tab)
    with gr.Blocks():
        chosen = gr.State(Chosen(large.title))
        tab = interpolate_tab.InterpolateTab(Models(large), ModelWorkers(), chosen)
    mode = next(iter(interpolate_tab.MODES))
    paths = [str(path) for path in EXAMPLES[:2]]
    *_, last = tab.interpolate(Chosen(large.title), *paths, mode, MOST_FRAMES, False)
    frames = last[tab.frames]
    assert len(frames) == max(counts) == MOST_FRAMES
    assert {frame.size for frame in frames} == {(VIEW_SIDE, VIEW_SIDE)}
    assert sum(array(frame).nbytes / 4 for frame in frames) < 14e6
