from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from sklearn.metrics import roc_auc_score

from pdae_app.latents.directions import (
    LARGEST_SHARE,
    LARGEST_STEP,
    SMALLEST_STEP,
    bounded_solution,
    solved,
)
from pdae_app.latents.few_shot import fit_few_shot
from pdae_app.latents.fit import Labelled, fit_latent_space, partial_effects, unit_logit
from tests.tiny import tiny_latents


def synthetic(n=600, dim=6, seed=0):
    """Codes in which axis 0 makes "A" and axis 1 "B", with correlated axes and people of three."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(dim) + 0.4 * np.random.default_rng(9).standard_normal((dim, dim))
    hidden = rng.standard_normal((n, dim))
    noise = 0.5 * rng.standard_normal((n, 2))
    labels = {"A": (hidden[:, 0] + noise[:, 0] > 0.3), "B": (hidden[:, 1] + noise[:, 1] > 0)}
    codes = torch.from_numpy(hidden @ mixing).float() * 3 + 1
    return Labelled(codes, {k: v.astype(int) for k, v in labels.items()}, np.arange(n) // 3)


@pytest.fixture(scope="module")
def space():
    return fit_latent_space(synthetic(), synthetic(seed=1))


def test_held_out_auroc_is_measured_on_the_test_codes(space):
    assert space.names == ["A", "B"]
    assert all(0.9 < attribute.auroc < 1 for attribute in space.attributes)
    labels = synthetic().labels["A"]
    assert space.attributes[0].positives == labels.sum()


def test_mirror_images_are_not_counted_twice():
    people = synthetic()
    own = np.arange(len(people.z)) % 2 == 0
    first = fit_latent_space(replace(people, own=own), None).attributes[0]
    assert first.positives == people.labels["A"][own].sum()
    assert first.positives + first.negatives == len(people.z) // 2


def test_medians_are_those_of_the_training_logits(space):
    train = synthetic()
    logits = space.logits(train.z)[:, 0].numpy()
    positives = logits[train.labels["A"] == 1]
    assert np.isclose(np.median(positives), space.attributes[0].positive_logit, atol=1e-3)


def test_zero_changes_nothing():
    space, z = tiny_latents(), torch.randn(8)
    assert space.move(z, {"Smiling": 0.0, "Male": 0.0}) is z
    assert space.move(z, {}) is z


def test_one_carries_the_logit_to_the_median_of_the_positives():
    space = tiny_latents()
    z = space.mean - 1.7 * space.directions[0]  # well below both medians
    logit = float(space.logits(z)[0])
    assert logit < -1
    reached = space.logits(space.move(z, {"Smiling": 1.0}))[0]
    assert torch.isclose(reached, torch.tensor(2.0), atol=1e-4)
    halfway = space.logits(space.move(z, {"Smiling": 0.5}))[0]
    assert torch.isclose(halfway, torch.tensor((logit + 2.0) / 2), atol=1e-4)


def test_a_gain_makes_every_step_longer():
    space = tiny_latents()
    louder = replace(space, attributes=tuple(replace(a, gain=1.5) for a in space.attributes))
    z = space.mean - 2 * space.directions[0]
    for strength in (-1.0, 0.5, 1.0):
        step = space.move(z, {"Smiling": strength}) - z
        assert torch.allclose(louder.move(z, {"Smiling": strength}) - z, 1.5 * step, atol=1e-5)
    with pytest.raises(ValueError, match="gain must be between"):
        replace(space.attributes[0], gain=float("nan"))


def test_beyond_one_steps_may_be_shorter():
    plain, z = tiny_latents(), torch.randn(8)
    short = replace(plain.attributes[0], at_two=1.25)
    space = replace(plain, attributes=(short, *plain.attributes[1:]))
    for strength, units in ((0.5, 0.5), (-1, -1), (1.5, 1.125), (-2, -1.25), (3, 1.5)):
        assert short.units(strength) == pytest.approx(units)
        assert short.strength(units) == pytest.approx(strength)
        assert plain.attributes[0].units(strength) == pytest.approx(strength)
    name = short.name
    assert torch.allclose(space.move(z, {name: 2}), plain.move(z, {name: 1.25}))
    aim = float(space.logits(space.move(z, {name: 1.6}))[0])
    assert space.sliders_to(z, {name: aim})[name] == pytest.approx(1.6, abs=0.01)
    assert "at_two" in short.facts() and "at_two" not in plain.attributes[0].facts()
    with pytest.raises(ValueError, match="at_two"):
        replace(short, at_two=1.0)


def test_a_slider_goes_neither_too_short_nor_too_far_beyond_the_median():
    space = tiny_latents()
    z = space.mean + 9 * space.directions[0]
    logit = float(space.logits(z)[0])
    assert logit > 2
    more = float(space.logits(space.move(z, {"Smiling": 1.0}))[0])
    assert np.isclose(more - logit, SMALLEST_STEP * 3.0, atol=1e-3)
    less = float(space.logits(space.move(z, {"Smiling": -1.0}))[0])
    assert np.isclose(logit - less, LARGEST_STEP * 3.0, atol=1e-3)  # and not all the way to -1


def test_sliders_do_not_undo_each_other(space):
    z = synthetic(seed=2).z[0]
    start = space.logits(z)
    alone = [space.logits(space.move(z, {name: 1.0}))[i] for i, name in enumerate(space.names)]
    both = space.logits(space.move(z, {"A": 1.0, "B": 1.0}))
    torch.testing.assert_close(both, torch.stack(alone), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(start, both)


def test_sliders_that_contradict_each_other_do_not_run_away():
    """Each lowers the other's logit by nearly what it raises its own: both are had by 20 steps."""
    space, (east, north) = tiny_latents(), torch.eye(8)[:2]
    weights = torch.stack([east - 0.95 * north, north - 0.95 * east])
    against = replace(
        space,
        weights=weights,
        directions=torch.stack([east, north]),
        attributes=tuple(replace(a, bias=0.0, unit=2.0) for a in space.attributes[:2]),
    )
    alone = solved(weights[:, :2], torch.ones(2))
    assert torch.allclose(alone, torch.full((2,), 20.0), rtol=1e-3)
    z, names = against.mean, against.names
    step = (against.move(z, dict.fromkeys(names, 1.0)) - z) / against.std
    torch.testing.assert_close(step[:2], torch.full((2,), 2 * LARGEST_SHARE))
    assert step[2:].abs().max() < 1e-6
    together = against.reached(z, dict.fromkeys(names, 1.0))
    assert together == pytest.approx(dict.fromkeys(names, 0.05 * LARGEST_SHARE), abs=1e-4)
    assert against.reached(z, {names[0]: 1.0, names[1]: 0.0}) == pytest.approx({names[0]: 1.0})


@pytest.mark.parametrize("seed", range(6))
def test_the_bounded_solution_is_the_least_squares_within_its_bounds(seed):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.eye(5) + 0.8 * torch.randn(5, 5, generator=generator)
    change = 3 * torch.randn(5, generator=generator)
    change[seed % 5] = 0
    found = bounded_solution(matrix, change)
    ends = LARGEST_SHARE * change
    low, high = ends.clamp(max=0) - 1e-9, ends.clamp(min=0) + 1e-9
    expected = lsq_linear(matrix.double().numpy(), change.double().numpy(), (low, high), tol=1e-12)
    torch.testing.assert_close(found, torch.from_numpy(expected.x).float(), atol=1e-3, rtol=1e-3)
    assert ((low <= found) & (found <= high)).all()


def test_directions_hold_the_other_attributes_and_the_controls():
    """Codes that are a known sum of effects give each effect back, however labels go together."""
    rng = np.random.default_rng(0)
    a = rng.random(800) < 0.5
    b = np.where(rng.random(800) < 0.8, a, ~a)  # goes with a
    source = np.where(rng.random(800) < 0.7, a, ~a)[:, None]  # so does where it comes from
    effects = rng.standard_normal((3, 5))
    known = np.column_stack([a, b, source]).astype(float)
    codes = known @ effects + 0.01 * rng.standard_normal((800, 5))
    found = partial_effects(codes, known[:, :2], known[:, 2:])
    assert np.allclose(found, effects[:2], atol=0.01)
    uncontrolled = partial_effects(codes, known[:, :2])
    assert not np.allclose(uncontrolled, effects[:2], atol=0.1)


def test_a_step_along_a_direction_is_one_logit():
    rng = np.random.default_rng(1)
    weight, codes = rng.standard_normal(4), rng.standard_normal((50, 4))
    along = weight + 0.3 * rng.standard_normal(4)
    assert np.isclose(weight @ unit_logit(weight, along, codes), 1)
    # Where the logit does not rise along the effect, the codes' covariance shows the way.
    fallen = unit_logit(weight, -weight, codes)
    assert np.isclose(weight @ fallen, 1)
    expected = np.cov(codes, rowvar=False) @ weight
    assert np.allclose(fallen / np.linalg.norm(fallen), expected / np.linalg.norm(expected))


def test_one_way_under_two_names():
    """Both sliders at the same strength are one of them; against each other, nothing happens."""
    space, z = tiny_latents(), torch.zeros(8)
    twice = [0, 0, 1]
    names = tuple(
        replace(space.attributes[i], name=name) for i, name in zip(twice, "ABC", strict=True)
    )
    same = replace(
        space, weights=space.weights[twice], directions=space.directions[twice], attributes=names
    )
    both = same.move(z, {"A": 1.0, "B": 1.0})
    torch.testing.assert_close(both, same.move(z, {"A": 1.0}), atol=1e-4, rtol=1e-4)
    one = same.move(z, {"A": 0.5, "B": 0.5, "C": 0.3})
    torch.testing.assert_close(one, same.move(z, {"A": 0.5, "C": 0.3}), atol=1e-4, rtol=1e-4)


def test_equal_medians_have_no_standing():
    attribute = replace(tiny_latents().attributes[0], positive_logit=1.0, negative_logit=1.0)
    assert attribute.standing(2.0) is None


def test_unknown_attributes_and_too_few_labels_are_errors():
    with pytest.raises(KeyError, match="known: Smiling, Male"):
        tiny_latents().move(torch.zeros(8), {"Sneezing": 1.0})
    few = synthetic()
    few.labels["A"][:] = 0
    with pytest.raises(ValueError, match="0 positives"):
        fit_latent_space(few, None)


@pytest.mark.parametrize("unlabelled", [False, True])
def test_a_few_examples_make_a_slider(space, unlabelled):
    """Its score on left-out examples agrees with that on other people."""
    train, test = synthetic(), synthetic(seed=1)
    has = train.labels["A"] == 1
    others = train.z[50:450] if unlabelled else train.z[~has][:20]
    few = fit_few_shot("Mine", train.z[has][:20], others, space, unlabelled)
    own = few.added_to(space)
    logits = own.logits(test.z)[:, -1].numpy()
    measured = roc_auc_score(test.labels["A"], logits)
    assert own.names == ["A", "B", "Mine"] and measured > 0.8
    # Unlabelled codes hold positives, which count as errors, so the score may be too low.
    assert few.attribute.auroc == pytest.approx(measured - 0.1 * unlabelled, abs=0.15)
    assert float(own.weights[-1] @ own.directions[-1]) == pytest.approx(1, abs=1e-4)
    moved = own.move(train.z[~has][0], {"Mine": 1.0})
    assert own.logits(moved)[-1] > own.logits(train.z[~has][0])[-1]
    again = few.added_to(own)
    assert again.names == own.names and torch.equal(again.weights, own.weights)


def test_left_out_examples_score_chance_where_there_is_nothing_to_learn(space):
    scores = []
    for seed in range(20):
        codes = torch.randn(12, 6, generator=torch.Generator().manual_seed(seed))
        scores.append(fit_few_shot("None", codes[:6], codes[6:], space).attribute.auroc)
    assert np.mean(scores) == pytest.approx(0.5, abs=0.15)
    with pytest.raises(ValueError, match="at least 2 pictures with it, got 1"):
        fit_few_shot("One", codes[:1], codes[6:], space)
