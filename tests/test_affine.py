"""Affine edits: the formula, what it finds on codes whose answer is known, and sliders of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pdae_app.latents.affine import (
    AffineSide,
    AffineWeights,
    Aim,
    Whitening,
    fit_affine_edit,
)
from pdae_app.latents.directions import SMALLEST_STEP, LatentSpace
from pdae_app.latents.few_shot import fit_few_shot
from pdae_app.latents.fit import Labelled, fit_latent_space
from pdae_app.models.unet import Sketch
from pdae_app.models.unet_config import SketchConfig
from pdae_app.region import Region
from tests.tiny import UNET
from training.affine_edits import AffineConfig, changed_positions, fit_affine_edits
from training.config import ConfigError, load
from training.train_attributes import with_at_two

DIM = 8
HAIR = slice(0, 3)  # of the codes: what hair is like; it is 0 where there is none


def heads(count: int = 4000, seed: int = 0) -> Labelled:
    """Codes of heads, a third of them bald; axis 3 is whether, axis 4 makes "Old"."""
    rng = np.random.default_rng(seed)
    codes = rng.standard_normal((count, DIM))
    bald = rng.random(count) < 1 / 3
    codes[bald, HAIR] *= 0.05
    codes[:, 3] = np.where(bald, 2.0, -1.0) + 0.3 * rng.standard_normal(count)
    labels = {"Bald": bald.astype(int), "Old": (codes[:, 4] > 0).astype(int)}
    return Labelled(torch.from_numpy(codes).float(), labels, np.arange(count))


@pytest.fixture(scope="module")
def space() -> LatentSpace:
    return fit_latent_space(heads(), None, folds=3)


def edit_of(space: LatentSpace, weights: AffineWeights, elsewhere: torch.Tensor | None = None):
    people = heads()
    codes = space.normalize(people.z)
    whitening = Whitening.of(codes)
    gap = space.attributes[0].positive_logit - space.attributes[0].negative_logit
    bald = codes[torch.from_numpy(people.labels["Bald"] == 1)]
    aim = Aim(
        bald,
        space.weights[0] / gap,
        space.attributes[0].bias / gap,
        space.attributes[0].positive_logit / gap,
        space.weights[1:] / gap,
    )
    if elsewhere is None:
        elsewhere = torch.zeros(2 * (whitening.inward.shape[1],))
    side = AffineSide("Bald", up=True, rank=DIM)
    return fit_affine_edit(side, whitening, aim, elsewhere, weights), whitening, bald, aim


def test_the_step_solves_the_problem_of_the_docstring(space):
    weights = AffineWeights(goal=3.0, elsewhere=0.5, others=2.0, size=0.7, shrinkage=0.2)
    root = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(1))
    edit, whitening, bald, aim = edit_of(space, weights, root @ root.T)
    code = torch.randn(DIM, generator=torch.Generator().manual_seed(2))
    w = whitening.white(code[None])[0].double()
    own = whitening.white(bald).double()
    covariance = 0.8 * torch.cov(own.T) + 0.2 * torch.eye(DIM)
    values, vectors = torch.linalg.eigh(torch.linalg.inv(covariance) - torch.eye(DIM))
    pull = vectors @ torch.diag(values.clamp(min=0)) @ vectors.T

    def problem(d: torch.Tensor) -> torch.Tensor:
        codes = (w + d) @ whitening.outward.double() + whitening.mean
        logit, change = codes @ aim.weights.double() + aim.bias, d @ whitening.outward.double()
        like = (w + d - own.mean(0)) @ pull @ (w + d - own.mean(0))
        goal = 3.0 * (logit - aim.target) ** 2
        held = 2.0 * (change @ aim.others.double().T).square().sum()
        return (
            like + goal + 0.5 * (d @ root.double()).square().sum() + held + 0.7 * d.square().sum()
        )

    step = (edit.step(code).double() @ whitening.inward.double()).requires_grad_()
    (gradient,) = torch.autograd.grad(problem(step), step)
    assert gradient.abs().max() < 1e-3 * problem(torch.zeros(DIM, dtype=torch.double))


def test_whatever_the_hair_is_like_it_goes_and_the_rest_stays(space):
    edit, *_ = edit_of(space, AffineWeights())
    people = heads(seed=5)
    haired = space.normalize(people.z[people.labels["Bald"] == 0])
    moved = haired + edit.step(haired)
    assert moved[:, HAIR].std() < 0.15 * haired[:, HAIR].std()
    assert (moved - haired)[:, 4:].abs().mean() < 0.1
    # One direction for all leaves each head's hair as it is.
    straight = torch.stack([space.move(z, {"Bald": 1.0}) for z in people.z[:50]])
    assert straight[:, HAIR].std() > 0.8 * people.z[:50, HAIR].std()


def test_a_slider_goes_its_own_way_on_one_side_only(space):
    edit, *_ = edit_of(space, AffineWeights())
    own, z = replace(space, affine=(edit,)), heads(seed=5).z[0]
    assert torch.equal(own.move(z, {"Bald": -0.7}), space.move(z, {"Bald": -0.7}))
    whole = own.move(z, {"Bald": 1.0}) - z
    expected = edit.step(own.normalize(z)) * own.std
    torch.testing.assert_close(whole, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(own.move(z, {"Bald": 0.5}) - z, whole / 2, atol=1e-4, rtol=1e-4)
    together = own.logits(own.move(z, {"Bald": 1.0, "Old": 1.0}))
    for row, name in enumerate(own.names):
        alone = own.logits(own.move(z, {name: 1.0}))[row]
        assert torch.isclose(together[row], alone, atol=1e-2)
    wanted = float(own.logits(own.move(z, {"Bald": 0.8}))[0])
    assert own.sliders_to(z, {"Bald": wanted})["Bald"] == pytest.approx(0.8, abs=0.01)


def test_who_is_bald_already_still_moves_a_little(space):
    edit, _, bald, _ = edit_of(space, AffineWeights())
    own = replace(space, affine=(edit,))
    z = bald[0] * own.std + own.mean
    gap = own.attributes[0].positive_logit - own.attributes[0].negative_logit
    rise = float(own.logits(own.move(z, {"Bald": 1.0}))[0] - own.logits(z)[0])
    assert rise >= SMALLEST_STEP * gap - 1e-3
    same = replace(own.attributes[0], positive_logit=own.attributes[0].negative_logit)
    still = replace(own, attributes=(same, own.attributes[1]))
    assert still.move(z, {"Bald": 1.0}).isfinite().all()


def test_an_own_slider_of_the_same_name_takes_its_place(space):
    edit, *_ = edit_of(space, AffineWeights())
    people, own = heads(), replace(space, affine=(edit,))
    bald = people.labels["Bald"] == 1
    fitted = fit_few_shot("Bald", people.z[bald][:20], people.z[~bald][:20], own)
    assert fitted.added_to(own).affine == ()


def test_edits_are_found_by_what_a_sketch_draws(space):
    torch.manual_seed(0)
    sketch = Sketch(UNET, DIM, SketchConfig(width=32))
    people = heads(400)
    how = AffineConfig(sides=("+Bald", "-Old"), along={"Bald": ("Old",)})
    edits = fit_affine_edits(space, sketch, people.z, people.labels, how)
    assert [(e.side.attribute, e.side.up) for e in edits] == [("Bald", True), ("Old", False)]
    logits = space.logits(people.z)
    moved = people.z + edits[0].step(space.normalize(people.z)) * space.std
    haired = people.labels["Bald"] == 0
    assert (space.logits(moved)[haired, 0] > logits[haired, 0]).all()
    changed = changed_positions(space, sketch, people.z[:8], edits[0].side)
    assert changed.shape == (16, 16) and torch.equal(changed, changed.flip(-1))
    assert changed.min() >= 0 and changed.max() == 1
    assert len(fit_affine_edits(space, sketch, people.z, people.labels, AffineConfig())) == 4


def test_an_edit_leaves_the_light_of_a_region(space):
    """What a region's mean follows is held, as another attribute's logit is."""
    torch.manual_seed(0)
    sketch, people = Sketch(UNET, DIM, SketchConfig(width=32)), heads(400)
    region = Region(0.25, 0.25, 0.75, 0.75)

    def shift(light: Region | None) -> float:
        how = AffineConfig(sides=("+Bald",), light=light)
        (edit,) = fit_affine_edits(space, sketch, people.z, people.labels, how)
        moved = people.z + edit.step(space.normalize(people.z)) * space.std
        change = sketch(moved) - sketch(people.z)
        return float(region.of(change).mean((-2, -1)).detach().abs().mean())

    assert shift(region) < 0.6 * shift(None)


def test_light_of_nowhere_is_told(space):
    people, sketch = heads(40), Sketch(UNET, DIM, SketchConfig(width=32))
    how = AffineConfig(sides=("+Bald",), light=Region(0.51, 0.2, 0.52, 0.9))
    with pytest.raises(ConfigError, match=r"affine\.light: it holds none of 16 x 16"):
        fit_affine_edits(space, sketch, people.z, people.labels, how)


def test_a_region_has_a_size():
    with pytest.raises(ValueError, match="right and bottom larger"):
        Region(0.5, 0.2, 0.5, 0.4)
    with pytest.raises(ValueError, match="holds none of 4 x 4 positions"):
        Region(0.51, 0.2, 0.55, 0.9).of(torch.zeros(4, 4))
    assert Region(0.5, 0.0, 1.0, 0.25).of(torch.zeros(2, 8, 8)).shape == (2, 2, 4)


@pytest.mark.parametrize("how", [AffineConfig(("Bald",)), AffineConfig(along={"Wings": ()})])
def test_a_side_that_there_is_not_is_told(space, how):
    with pytest.raises(ConfigError, match=r"affine names '(Bald|Wings)'; known: -Bald, \+Bald"):
        how.of(space)


def test_at_two_is_told_by_attribute(space):
    first, *others = with_at_two(space, {space.names[0]: 1.2}).attributes
    assert first.at_two == 1.2 and all(a.at_two == 2 for a in others)
    with pytest.raises(ConfigError, match="at_two names 'Wings'; known"):
        with_at_two(space, {"Wings": 1.2})
    with pytest.raises(ConfigError, match="at_two must be above 1"):
        with_at_two(space, {space.names[0]: 0.5})


def test_weights_have_bounds():
    with pytest.raises(ValueError, match="size above 0"):
        AffineWeights(size=0.0)
    with pytest.raises(ValueError, match="shrinkage"):
        AffineWeights(shrinkage=0.0)


def test_an_override_reaches_below_null_but_not_below_a_number(tmp_path):
    path = tmp_path / "affine.yaml"
    path.write_text("light: null\nweights: {goal: 3.0}\n")
    edges = ["light.left=0.1", "light.top=0.2", "light.right=0.5", "light.bottom=0.6"]
    assert load(AffineConfig, path, edges).light == Region(0.1, 0.2, 0.5, 0.6)
    with pytest.raises(ConfigError, match="nothing below goal, which is 3"):
        load(AffineConfig, path, ["weights.goal.most=1"])
