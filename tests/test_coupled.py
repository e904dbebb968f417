"""Coupled edits: exact on a Gaussian, nothing for equal codes, and the engine's use of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pdae_app.bundle import load_bundle, save_bundle
from pdae_app.diffusion.coupled import Repaint, coupled_states, coupling, draft_steps
from pdae_app.diffusion.grids import levels_below
from pdae_app.diffusion.process import CLEAN, LinearLogSNR
from pdae_app.diffusion.schedule import Schedule
from pdae_app.engine import EditError, Editor
from tests.tiny import tiny_latent_bundle

SCHEDULE = Schedule()
PROCESSES = (SCHEDULE, LinearLogSNR())
VARIANCE = 0.3


def gaussian(process, mean: float):
    """The denoiser of pictures whose numbers are normal around `mean`."""

    def eps(x, t):
        alpha, sigma = float(process.alpha(t[0])), float(process.sigma(t[0]))
        return sigma * (x - alpha * mean) / (alpha**2 * VARIANCE + sigma**2)

    return eps


def edited(process, steps: int, start, part=1.0, target=1.0, repaint=None) -> torch.Tensor:
    x_0 = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    noise = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)).double()
    levels = levels_below(process, steps, start)
    results = []
    for x in x_0.split(1):
        drafted = draft_steps(steps) if repaint else 0
        shared = coupling(gaussian(process, 0.2), x, noise, process, levels, drafted=drafted)
        *_, last = coupled_states(gaussian(process, target), shared, part=part, repaint=repaint)
        results.append(last.x - x)
    return torch.cat(results)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.999])
def test_the_difference_of_two_gaussians_is_the_flows(process, part):
    start = process.at(part)
    sigma2 = (process.sigma(start) / process.alpha(start)) ** 2
    expected = 0.8 * (1 - (VARIANCE / (VARIANCE + sigma2)) ** 0.5)
    found = edited(process, 300, start)
    assert found.std() < 1e-6  # whatever the picture and the noise
    assert abs(float(found.mean()) - expected) < 0.01
    assert abs(float(edited(process, 10, start).mean()) - expected) < 0.08


def test_equal_codes_change_nothing_and_parts_are_kept():
    assert not edited(SCHEDULE, 5, 700, target=0.2).any()
    keep = torch.zeros(4, 4).double()
    keep[:2] = 1
    found = edited(SCHEDULE, 5, 700, part=1 - keep)
    assert not found[:, :, :2].any() and found[:, :, 2:].abs().min() > 0.1


@pytest.mark.parametrize("process", PROCESSES)
def test_where_the_change_is_large_the_pictures_detail_goes(process):
    """A change beyond `most` ends where the target's own flow from the noised picture ends."""
    start = process.at(0.6)
    sigma = process.sigma(start) / process.alpha(start)
    x_0 = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    noise = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)).double()
    flow = 1 + (x_0 + sigma * noise - 1) * (VARIANCE / (VARIANCE + sigma**2)) ** 0.5
    found = edited(process, 300, start, repaint=Repaint(least=1e-4, most=2e-4))
    assert (found - (flow - x_0)).abs().max() < 0.03
    small = edited(process, 300, start, repaint=Repaint(least=2.0, most=3.0))
    assert torch.equal(small, edited(process, 300, start))  # a change of 0.8 keeps it all
    assert not edited(SCHEDULE, 5, 700, target=0.2, repaint=Repaint(0.1, 0.2)).any()


def test_the_mask_is_smooth_and_follows_the_change():
    change = torch.zeros(1, 4, 8, 8)
    change[..., :3] = 1.0
    row = Repaint(least=0.5, most=1.0).mask(change)[0, 0, 4]
    # Smoothed, 2/3 and 1/3 at the edge; of these, 1/3 of the ramp and nothing; a position further.
    assert torch.allclose(row, torch.tensor([1, 1, 7 / 9, 4 / 9, 1 / 9, 0, 0, 0]))
    assert torch.equal(Repaint(least=0.5, most=1.0).mask(change)[0, 0, 0], row)
    with pytest.raises(ValueError, match="most above least"):
        Repaint(least=0.5, most=0.5)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        Repaint(least=0.5, most=0.6, temperature=0.0)


def test_what_a_mask_keeps_and_several_edits_at_once_are_as_alone():
    """A mask that reaches beyond its draft does not reach into what is to stay."""
    generator = torch.Generator().manual_seed(3)
    x, noise = (torch.randn(1, 3, 8, 8, generator=generator).double() for _ in range(2))
    means = torch.tensor([1.0, -2.0, 0.2]).view(3, 1, 1, 1).double()
    shared = coupling(
        gaussian(SCHEDULE, 0.2), x, noise, SCHEDULE, levels_below(SCHEDULE, 8, 850), drafted=2
    )
    keep = torch.zeros(8, 8).double()
    keep[:4] = 1

    def ends(mean, count):
        given = {"part": 1 - keep, "repaint": Repaint(0.1, 0.2)}
        *_, last = coupled_states(gaussian(SCHEDULE, mean), shared, count, **given)
        return last.x - x

    together = ends(means, 3)
    assert not together[:, :, :4].any() and together[:2, :, 4:].abs().min() > 0.01
    for mean, one in zip(means, together, strict=True):
        torch.testing.assert_close(ends(mean, 1)[0], one)


def test_one_of_five_steps_is_for_the_draft_which_has_levels_of_its_own():
    assert [draft_steps(n) for n in (1, 2, 5, 6, 10, 40)] == [0, 1, 1, 1, 2, 8]
    x = torch.zeros(1, 3, 4, 4)
    for steps in (1, 2, 3, 7, 10, 40):
        drafted = draft_steps(steps)
        levels = levels_below(SCHEDULE, steps - drafted, 850)
        shared = coupling(gaussian(SCHEDULE, 0.2), x, x, SCHEDULE, levels, drafted=drafted)
        for repaint, count in ((Repaint(0.1, 0.2), steps), (None, steps - drafted)):
            states = list(coupled_states(gaussian(SCHEDULE, 1.0), shared, repaint=repaint))
            counted = [(state.step, state.steps, state.evaluations) for state in states]
            assert counted == [(i, count, i) for i in range(1, count + 1)]
    draft = shared.draft()
    assert draft.levels[-1] == CLEAN
    places = [levels.index(t) for t in draft.levels[:-1]]
    assert places == [1, 4, 8, 12, 16, 19, 23, 27]
    assert torch.equal(draft.predictions, shared.predictions[places])
    for steps in (3, 7):  # none at the end, where codes change nothing
        levels = levels_below(SCHEDULE, steps - draft_steps(steps), 850)
        shared = coupling(gaussian(SCHEDULE, 0.2), x, x, SCHEDULE, levels, drafted=1)
        assert shared.draft().levels[0] > levels[-2]


def test_levels_fall_from_their_start():
    levels = levels_below(SCHEDULE, 10, 700)
    assert levels[0] == 700 and levels[-2:] == [0, CLEAN] and levels == sorted(levels)[::-1]
    assert levels_below(SCHEDULE, 1, 700) == [700, CLEAN]
    with pytest.raises(ValueError, match="between 1 and 6"):
        levels_below(SCHEDULE, 7, 5)
    even = levels_below(LinearLogSNR(), 4, 0.75)
    assert even == pytest.approx([0.75, 0.5, 0.25, 0, CLEAN])


@pytest.fixture(scope="module")
def coupled(tmp_path_factory):
    """An editor that edits without x_T, one that does not, and a code."""
    folder = tmp_path_factory.mktemp("coupled") / "bundle"
    save_bundle(replace(tiny_latent_bundle(), coupled_from=80, repaint=Repaint(1e-4, 1e-3)), folder)
    bundle = load_bundle(folder)
    editor = Editor(bundle, "coupled")
    pixels = torch.randint(0, 255, (32, 32, 3), generator=torch.Generator().manual_seed(0))
    code = editor.encode(Image.fromarray(pixels.byte().numpy()), steps=5, align=False)
    return editor, Editor(replace(bundle, coupled_from=None), "inverted"), code


def test_no_slider_gives_the_first_stages_reconstruction_to_the_bit(coupled):
    editor, _, code = coupled
    (reconstruction,) = editor.sampler.pictures(code.state[None])
    for progress in editor.edit_steps(code, {}):
        assert progress.image.tobytes() == reconstruction.tobytes()


def test_sliders_keep_masks_strips_and_scales(coupled):
    editor, inverted, code = coupled
    plain, moved = editor.edit(code, {}), editor.edit(code, {"Smiling": 2.0})
    assert moved.tobytes() != plain.tobytes()
    assert moved.tobytes() != inverted.edit(code, {"Smiling": 2.0}).tobytes()
    kept = Editor(replace(editor.bundle, repaint=None), "kept")
    assert moved.tobytes() != kept.edit(code, {"Smiling": 2.0}).tobytes()
    cool = replace(editor.bundle.repaint, temperature=0.5)
    cooler = Editor(replace(editor.bundle, repaint=cool), "cooler")
    assert moved.tobytes() != cooler.edit(code, {"Smiling": 2.0}).tobytes()
    assert editor.edit(code, {"Smiling": 2.0}, scale=0.0).tobytes() == plain.tobytes()
    everything = np.ones((32, 32), np.float32)
    assert editor.edit(code, {"Smiling": 2.0}, keep=everything).tobytes() == plain.tobytes()
    strip = list(editor.strip(code, "Smiling", [0.0, 2.0]))
    for one, other in zip(strip, (plain, moved), strict=True):
        assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 1
    start = editor.start(code)
    *_, last = editor.edit_steps(code, {"Smiling": 2.0}, start=start)
    assert last.image.tobytes() == moved.tobytes()


def test_impossible_requests_are_told(coupled):
    editor, _, code = coupled
    with pytest.raises(EditError, match=r"number of steps cannot.*got 90"):
        editor.edit(code, {"Smiling": 1.0}, steps=90)
    with pytest.raises(EditError, match="guidance scale"):
        editor.edit(code, {"Smiling": 1.0}, scale=11.0)
    with pytest.raises(EditError, match="must be 32 x 32"):
        editor.edit(code, {"Smiling": 1.0}, keep=np.ones((16, 16), np.float32))


def test_drawn_codes_are_still_edited_through_their_noise(coupled):
    editor, inverted, _ = coupled
    code = editor.draw(3, steps=5).code
    a, b = (e.edit(code, {"Smiling": 1.0}, steps=5) for e in (editor, inverted))
    assert a.tobytes() == b.tobytes()
