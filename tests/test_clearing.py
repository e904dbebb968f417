"""Sides of sliders that clear away what a code hardly knows: `pdae_app.latents.clearing`."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pdae_app.bundle import load_bundle, save_bundle
from pdae_app.diffusion.coupled import Repaint
from pdae_app.engine import Editor
from pdae_app.latents.clearing import BEGINS, WHOLLY, Clearing, readiness
from pdae_app.latents.directions import Attribute, LatentSpace
from pdae_app.region import Region
from tests.tiny import tiny_bundle
from training.config import ConfigError
from training.train_attributes import checked

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
    found = readiness([BEARD], one_slider(), own, codes, side=8)
    assert found.shape == (6, 1, 8, 8)
    assert (found[:, :, 4:] == 1).all()
    expected = torch.tensor([1.0, 1, 3, 5, 5, 1]).view(6, 1, 1, 1).expand(6, 1, 4, 8)
    torch.testing.assert_close(found[:, :, :4], expected)


def test_the_more_ready_of_two_clearings_counts_where_they_meet():
    other = replace(BEARD, readily=3.0, region=Region(0, 0.25, 1, 1))
    own, codes = torch.tensor([2.0, 0.0]), torch.tensor([[-2.0, 0.0]])
    column = readiness([BEARD, other], one_slider(), own, codes, side=4)[0, 0, :, 0]
    assert column.tolist() == [5, 5, 3, 3]


@pytest.mark.parametrize(
    "facts", [{"unit": 3.0}, {"positive_logit": 1.0, "negative_logit": 1.0}], ids=["unit", "no gap"]
)
def test_a_slider_of_ones_own_without_medians_clears_nothing(facts):
    own, codes = torch.tensor([2.0, 0.0]), torch.tensor([[-9.0, 0.0]])
    assert (readiness([BEARD], one_slider(**facts), own, codes, side=4) == 1).all()


def test_a_clearing_has_bounds_and_an_attribute():
    with pytest.raises(ValueError, match="readily must be between 1 and 100"):
        replace(BEARD, readily=0.5)
    assert checked((BEARD,), one_slider()) == (BEARD,)
    with pytest.raises(ConfigError, match="clearings names 'Wings'; known: Beard"):
        checked((replace(BEARD, attribute="Wings"),), one_slider())


def test_clearings_travel_with_the_bundle(tmp_path):
    bundle = tiny_bundle()
    clearings = (Clearing("Smiling", up=True, readily=4.0, region=TOP),)
    save_bundle(replace(bundle, clearings=clearings), tmp_path / "bundle")
    assert load_bundle(tmp_path / "bundle").clearings == clearings


def test_only_the_side_that_clears_and_its_region_are_painted_anew(coupled):
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
