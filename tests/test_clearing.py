"""Sides of sliders that clear away what a code hardly knows: `pdae_app.latents.clearing`."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pdae_app.bundle import load_bundle, save_bundle
from pdae_app.diffusion.coupled import Repaint
from pdae_app.engine import Editor
from pdae_app.engine.sliders import with_sliders
from pdae_app.latents.clearing import BEGINS, WHOLLY, Clearing, check_clearings, readiness
from pdae_app.latents.directions import Attribute, LatentSpace
from pdae_app.latents.few_shot import FewShot
from pdae_app.region import Region
from tests.tiny import tiny_bundle

TOP = Region(0, 0, 1, 0.5)
BEARD = Clearing("Beard", up=False, readily=5.0, region=TOP)


def one_slider(**facts) -> LatentSpace:
    """One attribute, whose logit is the first of two numbers; its medians lie at -2 and 2."""
    medians = {"positive_logit": 2.0, "negative_logit": -2.0}
    attribute = Attribute(name="Beard", bias=0.0, **(facts or medians))
    axis = torch.tensor([[1.0, 0.0]])
    return LatentSpace(torch.zeros(2), torch.ones(2), axis, axis, (attribute,))


def test_a_side_clears_in_its_region_as_far_as_the_code_went():
    gaps = torch.tensor([0.0, BEGINS, (BEGINS + WHOLLY) / 2, WHOLLY, 2 * WHOLLY, -1.0])
    own = torch.tensor([2.0, 7.0])
    codes = own + torch.stack([-4 * gaps, torch.ones(6)], dim=1)
    found = readiness([BEARD], one_slider(), own, codes, size=8)
    assert found.shape == (6, 1, 8, 8)
    assert (found[:, :, 4:] == 1).all()
    expected = torch.tensor([1.0, 1, 3, 5, 5, 1]).view(6, 1, 1, 1).expand(6, 1, 4, 8)
    torch.testing.assert_close(found[:, :, :4], expected)


def test_the_more_ready_of_two_clearings_counts_where_they_meet():
    other = replace(BEARD, readily=3.0, region=Region(0, 0.25, 1, 1))
    own, codes = torch.tensor([2.0, 0.0]), torch.tensor([[-2.0, 0.0]])
    column = readiness([BEARD, other], one_slider(), own, codes, size=4)[0, 0, :, 0]
    assert column.tolist() == [5, 5, 3, 3]


def test_a_slider_whose_medians_are_one_clears_nothing():
    own, codes = torch.tensor([2.0, 0.0]), torch.tensor([[-9.0, 0.0]])
    flat = one_slider(positive_logit=1.0, negative_logit=1.0)
    assert (readiness([BEARD], flat, own, codes, size=4) == 1).all()


def test_a_slider_of_ones_own_that_takes_a_place_clears_nothing(tmp_path):
    """Of its side nothing is known, and it may have no medians, which clearings need."""
    clearings = tuple(replace(BEARD, attribute=name) for name in ("Smiling", "Male"))
    bundle = replace(tiny_bundle(), clearings=clearings)
    slider = Attribute("Smiling", 0.0, unit=1.0)
    axis = np.eye(len(bundle.latents.mean))[0]
    own = with_sliders(bundle, [FewShot(slider, axis, axis)])
    assert own.clearings == clearings[1:]
    save_bundle(own, tmp_path / "bundle")
    assert load_bundle(tmp_path / "bundle").clearings == clearings[1:]


def test_a_clearing_has_bounds_an_attribute_and_a_side_of_its_own():
    with pytest.raises(ValueError, match="readily must be between 1 and 100"):
        replace(BEARD, readily=0.5)
    check_clearings([BEARD, replace(BEARD, up=True)], ["Beard"], size=8)
    with pytest.raises(ValueError, match="clearings names 'Wings', no attribute with medians"):
        check_clearings([replace(BEARD, attribute="Wings")], ["Beard"], size=8)
    with pytest.raises(ValueError, match="one side of an attribute twice"):
        check_clearings([BEARD, replace(BEARD, readily=2.0)], ["Beard"], size=8)
    with pytest.raises(ValueError, match=r"clearings\[1\].region: it holds none of 8 x 8"):
        thin = replace(BEARD, up=True, region=Region(0, 0.5, 1, 0.51))
        check_clearings([BEARD, thin], ["Beard"], size=8)


def test_changes_count_as_often_as_they_are_told():
    change, repaint = torch.full((1, 3, 16, 16), 0.1), Repaint(0.5, 0.6)
    assert not repaint.mask(change).any() and (repaint.mask(change, 10.0) == 1).all()
    half = torch.ones(1, 1, 16, 16)
    half[:, :, :8] = 10.0
    mask = repaint.mask(change, half)[0, 0]
    assert (mask[:8] == 1).all() and not mask[10:].any()  # two positions beyond


def test_clearings_travel_with_the_bundle(tmp_path):
    bundle = tiny_bundle()
    clearings = (Clearing("Smiling", up=True, readily=4.0, region=TOP),)
    save_bundle(replace(bundle, clearings=clearings), tmp_path / "bundle")
    assert load_bundle(tmp_path / "bundle").clearings == clearings


def test_only_the_side_that_clears_is_painted_anew(coupled):
    """Below the threshold everywhere, a clearing alone lets the model paint."""
    plain = replace(coupled.bundle, repaint=Repaint(0.01, 0.02))
    clearings = (Clearing("Smiling", up=True, readily=100.0, region=TOP),)
    plain, clearing = (Editor(replace(plain, clearings=c), "editor") for c in ((), clearings))
    pixels = torch.randint(0, 255, (32, 32, 3), generator=torch.Generator().manual_seed(0))
    code = plain.encode(Image.fromarray(pixels.byte().numpy()), steps=5, align=False)

    def edit(editor, strength, **options):
        return np.asarray(editor.edit(code, {"Smiling": strength}, **options))

    assert (edit(plain, -1.0) == edit(clearing, -1.0)).all()
    assert (edit(plain, 1.0) != edit(clearing, 1.0)).any()
    everything = np.ones((32, 32), np.float32)
    kept = edit(clearing, 1.0, keep=everything)
    assert (kept == np.asarray(plain.edit(code, {}))).all()
    for one, strength in zip(
        clearing.strip(code, "Smiling", [-1.0, 1.0]), (-1.0, 1.0), strict=True
    ):
        assert np.abs(np.asarray(one, int) - edit(clearing, strength)).max() <= 1
