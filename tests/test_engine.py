"""The public interface: encode, decode, edit, interpolate."""

import copy
import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pdae_app import Code, Editor
from pdae_app.bundle import save_bundle
from pdae_app.clips import Clip
from pdae_app.diffusion.weighting import WEIGHTINGS
from pdae_app.drawing import Drawing
from pdae_app.engine import EditError
from pdae_app.engine.carry_out import generate
from pdae_app.engine.framing import Photograph, Square, frame
from pdae_app.engine.generation import accepts
from pdae_app.engine.inside import one_step, variations, weighting_curves
from pdae_app.engine.pictures import to_tensor
from pdae_app.engine.preset import read_preset
from pdae_app.engine.requests import GenerationRequest
from pdae_app.engine.sliders import load_slider_for
from pdae_app.faces.align import FRAMINGS, NoFaceError, center_square, find_alignment
from pdae_app.faces.photo import PhotoError, open_photo
from pdae_app.latents.typical import Typical, noise_structure
from pdae_app.ui.session import EXAMPLES
from tests.tiny import tiny_bundle

STEPS = 12


@pytest.fixture(scope="module")
def photo():
    return open_photo(EXAMPLES[2])


@pytest.fixture(scope="module")
def code(editor, photo):
    return editor.encode(photo, steps=STEPS)


def same(a, b):
    return np.array_equal(np.asarray(a), np.asarray(b))


def test_the_documented_interface(editor, photo, code):
    assert editor.attributes == ["Smiling", "Male"]
    assert editor.align(photo).size == (16, 16)
    assert code.z.shape == (8,) and code.x_T.shape == (3, 16, 16)
    image = editor.edit(code, {"Smiling": 1.0, "Male": -0.5}, steps=STEPS, scale=1.0)
    assert image.size == (16, 16) and image.mode == "RGB"
    assert len(editor.interpolate(code, code, frames=3, mode="latent", steps=5)) == 3


def distance(a, b):
    """Mean difference of two pictures in grey levels."""
    return np.abs(np.asarray(a, float) - np.asarray(b, float)).mean()


def test_exact_codes_give_the_very_picture_back(editor, photo):
    """At five steps, with the residuals; without them, better than the plain inversion."""
    square = editor.align(photo)
    code, plain = editor.encode(photo, 5), editor.encode(photo, 5, iterations=0)
    assert distance(editor.decode(code), square) == 0
    assert code.inversion.steps == 5 and 5 < code.inversion.evaluations <= 25
    assert plain.inversion.evaluations == 5 and plain.inversion.residuals is None
    alone = replace(code, inversion=replace(code.inversion, residuals=None))
    assert distance(editor.decode(alone), square) < distance(editor.decode(plain), square)


def test_residuals_belong_to_their_own_steps(editor, photo):
    code = editor.encode(photo, 5)
    bare = replace(code, inversion=replace(code.inversion, residuals=None))
    other = replace(code, inversion=replace(code.inversion, residuals=code.inversion.residuals + 1))
    assert editor.decode(other, 7).tobytes() == editor.decode(bare, 7).tobytes()
    assert editor.decode(other, 5).tobytes() != editor.decode(bare, 5).tobytes()


def test_a_clamp_cannot_be_undone(editor, photo):
    official = editor.with_stepping("pdae")
    assert official.encode(photo, 5).inversion.residuals is None
    with pytest.raises(EditError, match="clamps, which cannot be undone"):
        official.encode(photo, 5, iterations=3)
    with pytest.raises(EditError, match="between 0 and 50"):
        editor.encode(photo, 5, iterations=-1)


def test_drawn_noise_is_decoded_by_the_higher_order_solver(editor):
    """In few steps it comes nearer to the many-step picture than DDIM does."""
    code, quick = editor.draw(3).code, editor.with_stepping("quick")
    target = editor.decode(code, 99)
    assert distance(quick.decode(code, 10), target) < distance(editor.decode(code, 10), target)


def test_no_sliders_or_zero_sliders_are_the_reconstruction(editor, code):
    plain = editor.decode(code, steps=STEPS)
    assert same(plain, editor.edit(code, {}, steps=STEPS))
    assert same(plain, editor.edit(code, {"Smiling": 0.0, "Male": 0.0}, steps=STEPS))
    assert not same(plain, editor.edit(code, {"Smiling": 2.0}, steps=STEPS))


def test_scale_zero_is_the_unconditional_model(editor, code):
    assert same(
        editor.decode(code, steps=STEPS, scale=0.0),
        editor.edit(code, {"Smiling": 2.0}, steps=STEPS, scale=0.0),
    )
    assert not same(editor.decode(code, STEPS, 0.0), editor.decode(code, STEPS, 1.0))


def test_previews_end_in_the_result(editor, code):
    steps = list(editor.edit_steps(code, {"Male": 1.0}, steps=STEPS))
    assert [p.step for p in steps] == list(range(1, STEPS + 1))
    assert [p.done for p in steps] == [False] * (STEPS - 1) + [True]
    assert same(steps[-1].image, editor.edit(code, {"Male": 1.0}, steps=STEPS))


def test_closing_a_running_edit_stops_the_work(code):
    bundle = tiny_bundle()
    editor = Editor(bundle, "tiny")
    calls = []
    bundle.model.shift.register_forward_hook(lambda *_: calls.append(1))
    own = Code(code.z, code.x_T, code.alignment, bundle.identity)
    running = editor.edit_steps(own, {"Male": 1.0}, steps=STEPS)
    next(running)
    running.close()
    assert len(calls) == 1


def test_interpolation_ends_are_the_reconstructions(editor, code):
    other = editor.encode(Image.open(EXAMPLES[0]), steps=STEPS)
    for mode in ("latent", "trajectory"):
        frames = editor.interpolate(code, other, frames=4, mode=mode, steps=STEPS)
        assert same(frames[0], editor.decode(code, steps=STEPS))
        assert same(frames[-1], editor.decode(other, steps=STEPS))
        assert not same(frames[1], frames[0])


def test_same_request_same_picture_alone_or_among_others(editor, photo, code):
    alone = editor.edit(code, {"Male": 1.0}, steps=STEPS)
    results = [None] * 6

    def request(i):
        own = editor.encode(photo, steps=STEPS)
        results[i] = editor.edit(own, {"Male": 1.0}, steps=STEPS)

    threads = [threading.Thread(target=request, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(alone, result) for result in results)


def test_no_request_leaves_a_trace(editor, photo):
    before = dict(vars(editor))
    weights = [p.clone() for p in editor.bundle.model.parameters()]
    editor.edit(editor.encode(photo, steps=3), {"Smiling": 1.0}, steps=3)
    assert vars(editor) == before
    assert all(
        torch.equal(a, b) for a, b in zip(weights, editor.bundle.model.parameters(), strict=True)
    )
    assert torch.is_inference_mode_enabled() is False


def test_inference_mode_never_leaks_out_of_a_generator(editor, code):
    running = editor.edit_steps(code, {}, steps=4)
    next(running)
    assert not torch.is_inference_mode_enabled()
    leaf = torch.ones(1, requires_grad=True)
    (leaf * 2).backward()
    running.close()


def test_codes_can_live_in_a_session(editor, code):
    for clone in (copy.deepcopy(code), pickle.loads(pickle.dumps(code))):
        assert torch.equal(clone.z, code.z) and clone.alignment == code.alignment
        assert same(editor.decode(clone, steps=3), editor.decode(code, steps=3))


def test_a_square_is_taken_as_it_is(editor, photo):
    square = editor.align(photo)
    plain = editor.encode(square, steps=3, align=False)
    assert plain.alignment is None
    assert torch.equal(plain.z, editor.encode(photo, steps=3).z)
    given = editor.encode(photo, steps=3, align=find_alignment(photo))
    assert torch.equal(plain.z, given.z)


def test_without_a_face_the_centre_can_be_used(editor):
    wall = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8))
    with pytest.raises(NoFaceError, match="centre square"):
        editor.encode(wall, steps=2)
    assert editor.encode(wall, steps=2, align=center_square(wall)).alignment.side == 60


def test_paste_returns_the_whole_photograph(editor, photo, code):
    plain, edited = editor.decode(code, STEPS), editor.edit(code, {"Male": 2.0}, STEPS)
    assert same(editor.paste(photo, code, plain, plain), photo)
    pasted = editor.paste(photo, code, edited, plain)
    assert pasted.size == photo.size and not same(pasted, photo)
    assert not same(editor.paste(photo, code, edited), pasted)


def test_strengths_say_where_a_picture_stands(editor, code):
    strengths = editor.strengths(code)
    assert strengths.keys() == {"Smiling", "Male"}
    moved = editor.moved(code, {"Male": 1.0})
    assert editor.strengths(moved)["Male"] > strengths["Male"]


@pytest.mark.parametrize(
    "sliders, message",
    [
        ({"Sneezing": 1.0}, "It has: Smiling, Male"),
        ({"Smiling": 99.0}, "use a number from -5 to 5"),
        ({"Smiling": float("nan")}, "out of range"),
    ],
)
def test_bad_sliders_are_told(editor, code, sliders, message):
    with pytest.raises(EditError, match=message):
        editor.edit(code, sliders)


def test_other_bad_requests_are_told(editor, photo, code):
    with pytest.raises(EditError, match="between 1 and 99"):
        editor.encode(photo, steps=0)
    with pytest.raises(EditError, match="between 1 and 99"):
        editor.decode(code, steps=100)
    with pytest.raises(EditError, match="between 0 and 10"):
        editor.decode(code, scale=-1.0)
    with pytest.raises(EditError, match="Known: latent, trajectory"):
        editor.interpolate(code, code, mode="magic")
    with pytest.raises(EditError, match="between 2 and 100"):
        editor.interpolate(code, code, frames=1)
    stranger = Code(code.z, code.x_T, None, "another")
    with pytest.raises(EditError, match="another model"):
        editor.decode(stranger)


def test_new_pictures_follow_from_their_seed_alone(tmp_path):
    bundle = tiny_bundle()
    bundle.floor = 40
    save_bundle(bundle, tmp_path / "b")
    editor = Editor.from_pretrained(tmp_path / "b", device="cpu")
    assert editor.bundle.floor == 40 and editor.bundle.family.name == "pdae"
    several = editor.generate([5, 6], steps=STEPS)
    assert same(several[1], editor.generate([6], steps=STEPS)[0])
    assert not same(*several)
    unguided = editor.generate([5], steps=STEPS, unguided=1.0)[0]
    assert same(unguided, editor.generate([5], steps=STEPS, scale=0.0)[0])
    with pytest.raises(EditError, match="unguided must be"):
        editor.generate([5], unguided=1.5)
    with pytest.raises(EditError, match="no setting 'warmth'"):
        editor.generate([5], warmth=1)
    code = editor.draw(5).code
    assert same(editor.edit(code, {}, steps=STEPS), editor.decode(code, steps=STEPS))


def test_new_pictures_are_drawn_as_the_bundle_says(tmp_path):
    """Variety scales the way of a code from the mean code, temperature the noise."""
    bundle = tiny_bundle()
    bundle.drawing = Drawing(variety=0.5, temperature=0.8, unguided=0.0)
    save_bundle(bundle, tmp_path / "b")
    editor = Editor.from_pretrained(tmp_path / "b", device="cpu")
    assert editor.bundle.drawing == bundle.drawing
    code, plain = editor.draw(5).code, editor.draw(5, drawing=Drawing()).code
    mean = editor.bundle.latents.mean
    assert torch.allclose(code.z - mean, (plain.z - mean) / 2, atol=1e-5)
    assert torch.allclose(code.x_T, 0.8 * plain.x_T)
    own, guided = editor.generate([5], steps=STEPS)[0], editor.render_drawn(code, STEPS, 1.0, 0.0)
    assert same(own, guided)
    (made,) = generate(editor, GenerationRequest([5], drawing={"variety": 0.7}, steps=STEPS))
    assert made.provenance.recipe | {"variety": 0.7, "temperature": 0.8} == made.provenance.recipe


def test_a_bundle_without_a_prior_says_so():
    bundle = tiny_bundle()
    bundle.prior = None
    with pytest.raises(EditError, match="no latent diffusion model"):
        Editor(bundle, "tiny").generate([0])


def test_half_precision_edits_alike_and_gives_the_very_picture_back(tiny_folder, editor, photo):
    half = Editor.from_pretrained(tiny_folder, device="cpu", precision="half")
    code = half.encode(photo, 5)
    assert distance(half.decode(code), half.align(photo)) < 0.2
    sliders = {"Smiling": 1.0}
    assert 0 < distance(half.edit(code, sliders), editor.edit(editor.encode(photo, 5), sliders)) < 3
    with pytest.raises(EditError, match="unknown precision 'double'"):
        Editor.from_pretrained(tiny_folder, device="cpu", precision="double")


def test_what_overflows_in_half_precision_is_computed_in_float32(tiny_folder, editor, photo):
    half = Editor.from_pretrained(tiny_folder, device="cpu", precision="half")
    half.sampler.half.unet.encoder.conv_in.weight.fill_(torch.inf)
    code = editor.encode(photo, 5)
    assert half.decode(code).tobytes() == editor.decode(code).tobytes()


def test_frames_computed_together_are_those_computed_alone(editor, photo, monkeypatch):
    a, b = editor.encode(photo, 5), editor.encode(photo.transpose(0), 5)
    for mode in ("latent", "trajectory"):
        together = editor.interpolate(a, b, 6, mode)
        with monkeypatch.context() as patch:
            patch.setattr(type(editor.sampler), "at_once", 1)
            alone = editor.interpolate(a, b, 6, mode)
        assert max(distance(p, q) for p, q in zip(together, alone, strict=True)) < 0.05
        assert same(together[0], editor.decode(a)) and same(together[-1], editor.decode(b))


def test_compiled_networks_make_the_same_pictures(tiny_folder, editor, photo):
    compiled = Editor.from_pretrained(tiny_folder, device="cpu").compile("eager")
    code = editor.encode(photo, 5)
    sliders = {"Smiling": 1.0}
    assert distance(compiled.edit(code, sliders), editor.edit(code, sliders)) < 0.05


def test_a_machine_that_cannot_compile_is_told(tiny_folder, monkeypatch):
    other = Editor.from_pretrained(tiny_folder, device="cpu")

    def broken(*arguments, **options):
        raise RuntimeError("no compiler found")

    monkeypatch.setattr(other.bundle.model.unet.encoder, "forward", broken)
    with pytest.raises(EditError, match=r"no compiler found.*Install a C\+\+ compiler"):
        other.compile()


def test_edits_share_their_first_step(editor, photo, monkeypatch):
    """With what the frozen model says of x_T kept, the same picture costs one pass of it less."""
    code, passes = editor.encode(photo, 5), []
    start, encoder = editor.start(code), editor.bundle.model.unet.encoder
    forward = encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda *a, **k: passes.append(1) or forward(*a, **k))
    *_, kept = editor.edit_steps(code, {"Smiling": 1.0}, start=start)
    assert len(passes) == 4
    assert kept.image.tobytes() == editor.edit(code, {"Smiling": 1.0}).tobytes()


def test_times_are_embedded_once(tiny_folder, editor, photo, monkeypatch):
    """An editor knows all embeddings from the start, and they are those of every timestep."""
    other = Editor.from_pretrained(tiny_folder, device="cpu")
    encoder = other.bundle.unet.encoder
    timesteps = torch.arange(100)
    torch.testing.assert_close(other.sampler.exact.times, encoder.embedded(timesteps))
    x, z = torch.randn(3, 3, 16, 16), torch.randn(3, 8)
    t = torch.tensor([0, 42, 99])
    asked = other.sampler.denoiser(z)
    torch.testing.assert_close(asked(x, t), replace(asked, times=None)(x, t))
    monkeypatch.setattr(encoder, "embedded", lambda t: pytest.fail("embedded again"))
    assert other.decode(other.encode(photo, 5)).size == (16, 16)


def test_what_is_kept_follows_the_unchanged_picture(editor, code):
    keep = np.zeros((16, 16), np.float32)
    keep[:, 8:] = 1
    plain = np.asarray(editor.decode(code), int)
    free = np.asarray(editor.edit(code, {"Male": 3.0}), int)
    kept = np.asarray(editor.edit(code, {"Male": 3.0}, keep=keep), int)
    assert abs(free - plain)[:, 8:].max() > 1
    assert abs(kept - plain)[:, 8:].max() <= 1
    assert abs(kept - plain)[:, :8].max() > 1
    for wrong in (np.zeros((8, 8)), np.full((16, 16), 2.0), np.full((16, 16), np.nan)):
        with pytest.raises(EditError, match="must be 16 x 16 numbers from 0 to 1"):
            editor.edit(code, {"Male": 1.0}, keep=wrong)


def test_a_strip_is_the_single_edits(editor, code):
    strengths = (-1.0, 0.0, 2.0)
    strip = list(editor.strip(code, "Smiling", strengths))
    for strength, picture in zip(strengths, strip, strict=True):
        assert distance(picture, editor.edit(code, {"Smiling": strength})) < 0.1
    (male,) = editor.strip(code, "Smiling", [1.0], others={"Male": 2.0, "Smiling": -1.0})
    assert distance(male, editor.edit(code, {"Smiling": 1.0, "Male": 2.0})) < 0.1


def test_wanted_attributes_are_drawn_by_the_few_shot_rule(editor):
    """Of accepted candidates none has p < 0.5; others come with probability p."""
    space, generator = editor.bundle.latents, torch.Generator().manual_seed(0)
    z = torch.randn(20_000, 8, generator=generator) + space.mean
    p = space.logits(z)[:, 0].sigmoid()
    taken = accepts(space, z, {"Smiling": True}, generator)
    assert not taken[p < 0.5].any()
    likely = (p > 0.7) & (p < 0.8)
    assert float(taken[likely].float().mean()) == pytest.approx(float(p[likely].mean()), abs=0.03)
    not_taken = accepts(space, z, {"Smiling": False}, generator)
    assert not not_taken[p > 0.5].any() and not_taken.any()


def test_a_wanted_draw_is_by_seed_and_bounded(editor):
    drawn = editor.draw(3, steps=5, wanted={"Smiling": True})
    again = editor.draw(3, steps=5, wanted={"Smiling": True})
    assert torch.equal(drawn.code.z, again.code.z) and drawn.tries == again.tries >= 1
    assert float(editor.bundle.latents.logits(drawn.code.z)[0]) >= 0
    space = editor.bundle.latents
    never = replace(space.attributes[0], bias=-1e6), space.attributes[1]
    other = editor.with_bundle(replace(editor.bundle, latents=replace(space, attributes=never)))
    with pytest.raises(EditError, match="None of 320 candidates was accepted as Smiling"):
        other.draw(3, steps=5, wanted={"Smiling": True})


def test_a_slider_of_ones_own_is_a_copy_of_the_editor(editor, code):
    codes = [editor.draw(seed, steps=5).code for seed in range(12)]
    for negatives in (codes[6:], []):
        fitted = editor.fit_attribute("Grin", codes[:6], negatives)
        other = editor.with_attributes(fitted)
        assert other.attributes == ["Smiling", "Male", "Grin"]
        assert editor.attributes == ["Smiling", "Male"]
        assert not same(other.edit(code, {"Grin": 3.0}), other.decode(code))
    with pytest.raises(EditError, match="at least two pictures"):
        editor.fit_attribute("Grin", codes[:1])
    with pytest.raises(EditError, match="another model"):
        editor.fit_attribute("Grin", [replace(code, bundle="other")] * 5)


def test_unusual_pictures_are_noticed(editor, code):
    assert editor.notices(code) == []
    other = editor.with_bundle(replace(editor.bundle, typical=Typical(1e-3, 1e3)))
    assert len(other.notices(code)) == 1 and "unlike" in other.notices(code)[0]
    other = editor.with_bundle(replace(editor.bundle, typical=Typical(1e3, 1e-3)))
    assert "it stays as it is" in other.notices(code)[0]


def test_the_structure_of_white_noise_is_one():
    noise = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert noise_structure(noise) == pytest.approx(1, abs=0.15)
    assert noise_structure(noise + torch.linspace(-2, 2, 64)) > 5


def test_looking_inside(editor, code, photo):
    steps = list(one_step(editor, editor.align(photo), code, count=3))
    assert [step.t for step in steps] == [5, 50, 95]
    assert all(step.gap_without > 0 and step.gap_shifted > 0 for step in steps)
    assert not same(steps[1].without, steps[1].shifted)
    found = variations(editor, code, count=3, steps=4)
    assert len(found.pictures) == 3 and not same(found.pictures[0], found.pictures[1])
    mean = np.mean([np.asarray(picture, float) for picture in found.pictures], axis=0)
    assert np.abs(np.asarray(found.mean) - mean).max() <= 0.5
    rows = weighting_curves(editor.bundle.diffusion.schedule, points=10)
    assert max(row["weight"] for row in rows) == 1


def test_weightings_are_drawn_relative_to_the_bound(editor):
    """Of eps' plain loss, 1 / lambda of the bound; the bound's own curve is flat (Fig. 4)."""
    schedule = editor.bundle.process
    rows = weighting_curves(schedule, points=10)
    curves = {name: [r["weight"] for r in rows if r["weighting"] == name] for name in WEIGHTINGS}
    assert curves["variational"] == pytest.approx([1.0] * 10)
    t = torch.tensor([r["t"] for r in rows[:10]])
    expected = 1 / WEIGHTINGS["variational"](schedule, t)
    assert curves["constant"] == pytest.approx((expected / expected.max()).tolist())


def test_a_square_by_two_eyes_is_that_of_the_face(editor):
    left, right = (60.0, 80.0), (100.0, 80.0)
    place = frame(EXAMPLES[0], editor.framing, Square(eyes=(right, left))).alignment
    matrix = np.array(place.matrix)
    for (u, v), eye in zip(FRAMINGS["face"], (left, right), strict=True):
        assert np.allclose(matrix @ (u, v, 1), eye)
    with pytest.raises(EditError, match="the same point"):
        frame(EXAMPLES[0], editor.framing, Square(eyes=(left, left)))


def test_squares_are_encoded_together_as_alone(editor, photo, code):
    square = to_tensor(editor.align(photo), 3)
    both = editor.encode_squares(torch.cat([square, square.flip(-1)]), STEPS)
    torch.testing.assert_close(both[0].z, code.z, atol=1e-4, rtol=1e-4)
    assert distance(editor.decode(both[0]), editor.decode(code)) < 0.1


def test_a_photograph_is_opened_and_searched_once(editor, photo, code, monkeypatch):
    photograph = Photograph(photo)
    framed = photograph.framed(editor.framing)
    assert framed.alignment == find_alignment(photo, framing=editor.framing)
    assert same(framed.square(16), editor.align(photo))
    monkeypatch.setattr("pdae_app.engine.framing.open_photo", lambda _: pytest.fail("opened"))
    monkeypatch.setattr("pdae_app.engine.framing.detect_faces", lambda _: pytest.fail("searched"))
    again = editor.encode(photograph.framed(editor.framing, Square(1)), STEPS)
    assert torch.equal(again.z, code.z) and again.alignment == code.alignment


def test_released_pixels_are_read_again_but_not_searched(editor, tmp_path, monkeypatch):
    path = tmp_path / "photo.jpg"
    path.write_bytes(EXAMPLES[2].read_bytes())
    photograph = Photograph(path)
    before = photograph.framed(editor.framing).square(16)
    monkeypatch.setattr("pdae_app.engine.framing.detect_faces", lambda _: pytest.fail("searched"))
    photograph.release()
    assert pickle.loads(pickle.dumps(photograph)).size == photograph.size
    assert same(photograph.framed(editor.framing).square(16), before)
    photograph.release(above=10**9)
    path.unlink()
    assert photograph.image.size == photograph.size  # a small picture was kept
    photograph.release()
    with pytest.raises(PhotoError, match=r"^There is no file photo.jpg."):
        photograph.framed(editor.framing).square(16)


@pytest.mark.parametrize(
    "open_it",
    [
        lambda path, editor: frame(path, editor.framing),
        lambda path, editor: Clip(path),
        lambda path, editor: read_preset(path, editor.attributes),
        lambda path, editor: load_slider_for(editor.bundle, path),
    ],
    ids=["photograph", "film", "preset", "slider"],
)
def test_what_was_deleted_is_told_without_its_folder(editor, tmp_path, open_it):
    with pytest.raises(ValueError) as told:
        open_it(tmp_path / "mine", editor)
    assert "no file mine. Uploads are deleted after an hour" in str(told.value)
    assert str(tmp_path) not in str(told.value)


def test_the_centre_stands_in_where_it_was_asked_for(editor):
    wall = Image.new("RGB", (60, 40), (120, 90, 60))
    with pytest.raises(NoFaceError, match="No face was found"):
        frame(wall, editor.framing)
    for square in (Square(center=True), Square(or_center=True)):
        assert frame(wall, editor.framing, square).alignment == center_square(wall)
