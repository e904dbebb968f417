"""Variational models as bundles: trained, converted, sampled, inverted, measured."""

import json
import math
import sys
from dataclasses import replace

import msgpack
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pdae_app.bundle import Bundle, load_bundle, save_bundle
from pdae_app.convert import __main__ as convert
from pdae_app.convert.diffenc import settings_from
from pdae_app.convert.flax import read_flax, torch_layout
from pdae_app.diffusion.grids import spaced_levels
from pdae_app.diffusion.heat import TIMES
from pdae_app.diffusion.inversion import exact_states
from pdae_app.diffusion.likelihood import decoded, low_discrepancy_times, scaled
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.process import CLEAN
from pdae_app.diffusion.sampling import drawn_pictures
from pdae_app.diffusion.solvers import ddim_states, dpm_solver_states, last_x
from pdae_app.diffusion.variational import (
    VariationalDiffusion,
    noised_as_trained,
    noised_with_truth,
)
from pdae_app.engine import Editor
from pdae_app.engine.inside import encodes, encoding_maps, one_step
from pdae_app.models.presets import VDM_PRESETS, vdm_preset
from pdae_app.models.vdm import KINDS
from pdae_app.ui import inside_tab
from tests.oracle import fill
from tests.tiny import tiny_pdae_on_vdm, tiny_vdm
from tests.vdm_oracle import CASES, Case, arrays, difference, facts, torch_name
from training import config as training_config
from training import evaluate_likelihood, make_digits, train_vdm
from training.bits import bits_of_pictures
from training.loop import LoopConfig, adamw
from training.pixels import PixelConfig, held_out_pixels, pixel_set
from training.samples import fixed_noise, gap_filled, one_step_error
from training.train_attributes import AttributesConfig
from training.train_pdae import PdaeObjective, PdaeTrainConfig
from training.train_vdm import VdmObjective, VdmTrainConfig

FACES = "pdae_app/ui/examples"


def bundle_of(model: VariationalDiffusion) -> Bundle:
    diffusion = Diffusion(model.sampling_process, model.config.prediction, shift="v")
    return Bundle(model.networks.unet, diffusion, variational=model)


def given(count=3, size=8):
    generator = torch.Generator().manual_seed(2)
    shape = (count, 3, size, size)
    x = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    t = torch.rand(count, generator=generator)
    return x, t, *(torch.randn(shape, generator=generator) for _ in range(2))


# --- bundles


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_keeps_the_likelihood(kind, learned, tmp_path):
    model = tiny_vdm(kind, learned=learned)
    if learned:
        with torch.no_grad():
            model.schedule.gamma_0.fill_(-12.5)
            model.schedule.slope.fill_(-17.0)
    save_bundle(bundle_of(model), tmp_path / "bundle", torch.float32)
    bundle = load_bundle(tmp_path / "bundle")
    ours, theirs = (m.losses(*given()) for m in (model, bundle.variational))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6)
    # As a denoiser, it is the same network at the same noise.
    denoiser, process = bundle.family.unconditional(), bundle.process
    z, t = given()[2], 0.4
    log_snr = model.log_snr(t, z)
    x_hat = model.x_hat(z, log_snr)
    tau = float(model.networks.tau(log_snr))
    eps = denoiser(z, process.asked(tau, z))
    alpha, sigma = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
    torch.testing.assert_close(eps, ((z - alpha * x_hat) / sigma).float(), rtol=1e-3, atol=1e-3)


def test_a_bundle_without_a_likelihood_is_refused(tmp_path):
    plain = replace(bundle_of(tiny_vdm("vdm_v")), variational=None)
    save_bundle(plain, tmp_path / "bundle")
    with pytest.raises(ValueError, match="has no likelihood: it was trained to denoise pixels"):
        evaluate_likelihood.variational_model(load_bundle(tmp_path / "bundle"))


# --- sampling


@pytest.mark.parametrize("kind", KINDS)
def test_ancestral_pictures_do_not_depend_on_the_batch(kind):
    model = tiny_vdm(kind)
    pictures = drawn_pictures(model, (2, 3, 8, 8), 3, torch.Generator().manual_seed(0))
    assert pictures.dtype == torch.uint8 and pictures.shape == (2, 3, 8, 8)
    again = drawn_pictures(model, (2, 3, 8, 8), 3, torch.Generator().manual_seed(0))
    assert torch.equal(pictures, again)


class Taught(VariationalDiffusion):
    """Knows that every picture is `truth`, a shrunk one where there is an encoder."""

    def x_hat(self, z_t, log_snr):
        return self.encoding.mean(self.truth.to(z_t), log_snr)


@pytest.mark.parametrize("kind", ["vdm_v", "diffenc_fixed"])
def test_all_samplers_find_the_only_picture_that_there_is(kind):
    model = Taught(tiny_vdm(kind).config)
    x = given(1)[0]
    model.truth = scaled(x)
    drawn = drawn_pictures(model, x.shape, 200, torch.Generator().manual_seed(0))
    # A little noise is left at t = 0: half a level is three of its standard deviations.
    apart = (drawn.int() - x.int()).abs()
    assert apart.max() <= 1 and (apart > 0).float().mean() < 0.02
    process = model.sampling_process

    def denoiser(z, t):
        log_snr = -process.gamma(float(t[0]))
        x_hat = model.x_hat(z, torch.tensor(log_snr))
        alpha, sigma = process.of_v(float(t[0]))
        return (z - alpha * x_hat) / sigma

    z_1, levels = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)), [1.0, 0.5, 0.2]
    for states in (ddim_states, dpm_solver_states):
        x_0 = last_x(states(denoiser, z_1.double(), process, [*levels, 0.0, CLEAN]))
        assert torch.equal(decoded(x_0, 60.0), x)


@pytest.mark.parametrize("kind", ["vdm_v", "diffenc"])
def test_exact_inversion(kind):
    """To the last bit, though a random network's Fourier features turn rounding into noise."""
    bundle = bundle_of(tiny_vdm(kind))
    denoiser, process = bundle.family.unconditional(), bundle.process
    X = scaled(given()[0])
    levels = spaced_levels(process, 6, "log_snr")
    with torch.no_grad():
        *_, found = exact_states(denoiser, X, process, levels)
        back = last_x(
            ddim_states(denoiser, found.x, process, levels[::-1], residuals=found.residuals)
        )
    assert torch.equal(back, X)


# --- PDAE on a variational model


@pytest.mark.parametrize("kind", KINDS)
def test_an_editor_opens_pdae_on_a_variational_model(kind, tmp_path):
    save_bundle(tiny_pdae_on_vdm(kind), tmp_path / "bundle")
    editor = Editor.from_pretrained(tmp_path / "bundle", device="cpu")
    photo = Image.open(f"{FACES}/1-young-man.jpg")
    square = editor.align(photo)
    code = editor.encode(photo, steps=6)
    back = np.asarray(editor.decode(code), float)
    assert np.abs(back - np.asarray(square, float)).max() <= 2
    edited = np.asarray(editor.edit(code, {"Smiling": 3.0}), float)
    assert np.abs(edited - back).max() > 2
    halfway = editor.interpolate(code, code, frames=3, mode="trajectory")
    assert len(list(halfway)) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_encoder_moves_is_seen_inside(kind, tmp_path):
    bundle, frozen = tiny_pdae_on_vdm(kind), tiny_vdm(kind, size=16)
    assert not encodes(bundle)  # nothing is known of an encoder
    config = replace(frozen.config, unet=bundle.unet.config)
    process, encoder = bundle.process, frozen.networks.encoder
    bundle.variational = VariationalDiffusion.around(config, bundle.unet, encoder, process)
    save_bundle(bundle, tmp_path / "bundle")
    editor = Editor.from_pretrained(tmp_path / "bundle", device="cpu")
    square = editor.align(Image.open(f"{FACES}/1-young-man.jpg"))
    assert encodes(editor.bundle) == (kind in ("diffenc", "diffenc_fixed"))
    if not encodes(editor.bundle):
        with pytest.raises(ValueError, match="nothing moves"):
            encoding_maps(editor, square)
        return
    maps = encoding_maps(editor, square)
    assert [t for t, _ in maps] == list(TIMES)
    assert all(image.size == (16, 16) for _, image in maps)
    colours = np.stack([np.asarray(image, int) for _, image in maps])
    # Red where it rises, blue where it falls; the strongest place of all has no green.
    assert (colours.max(axis=-1) == 255).all() and colours[..., 1].min() == 0


def test_the_gap_is_seen_inside_where_steps_may_be_ever_finer(tmp_path):
    save_bundle(tiny_pdae_on_vdm(), tmp_path / "bundle")
    editor = Editor.from_pretrained(tmp_path / "bundle", device="cpu")
    square = editor.align(Image.open(f"{FACES}/1-young-man.jpg"))
    code = editor.encode(square, steps=3, align=False)
    steps = list(one_step(editor, square, code))
    assert all(step.gap_without > 0 and step.gap_shifted > 0 for step in steps)
    shown = [caption for _, caption in inside_tab.rows_of(steps)]
    assert shown[:3] == ["noised 0.05", "noised 0.1786", "noised 0.3071"]


def test_edits_of_a_continuous_process_start_between_its_ends(tmp_path):
    given = ["model=a", "latents=b", "bundle=c"]
    read = training_config.load(AttributesConfig, None, [*given, "coupled_from=0.7"])
    assert read.coupled_from == 0.7 and read.floor is None
    save_bundle(replace(tiny_pdae_on_vdm(), coupled_from=read.coupled_from), tmp_path / "bundle")
    editor = Editor.from_pretrained(tmp_path / "bundle", device="cpu")
    assert editor.bundle.coupled_from == 0.7
    square = editor.align(Image.open(f"{FACES}/1-young-man.jpg"))
    code = editor.encode(square, steps=3, align=False)
    plain, moved = editor.edit(code, {}), editor.edit(code, {editor.attributes[0]: 2.0})
    assert plain.tobytes() == square.tobytes() != moved.tobytes()


@pytest.mark.parametrize("kind", ["vdm_v", "diffenc_fixed", "diffenc"])
def test_the_frozen_model_is_shown_what_it_was_trained_on(kind):
    model = tiny_vdm(kind)
    x, t, _, eps = given()
    diffusion = bundle_of(model).diffusion
    process = diffusion.schedule
    z_t = noised_as_trained(process, scaled(x), eps, t, model)
    log_snr = model.log_snr(t, eps)
    x_t = model.encoding.mean(scaled(x).double(), log_snr)
    torch.testing.assert_close(z_t, model.noised(x_t, eps.double(), log_snr).float())
    # Without weights in the encoder, the process alone knows it.
    if kind != "diffenc":
        torch.testing.assert_close(z_t, noised_as_trained(process, scaled(x), eps, t))


def test_a_model_that_knows_the_encoded_picture_leaves_no_gap():
    model, (x, _, _, eps) = tiny_vdm("diffenc"), given()
    process, X, t = bundle_of(model).process, scaled(x), 0.6
    _, truth = noised_with_truth(process, X, eps, t, model)
    x_t = model.encoding.mean(X.double(), model.log_snr(t, X)).float()
    torch.testing.assert_close(truth, x_t / process.of_v(t)[0] ** 2, rtol=1e-3, atol=1e-4)
    assert (truth - X).abs().max() > 1e-2  # so the picture itself is not what is to be predicted
    same = noised_with_truth(process, X, eps, t)
    assert same[1] is X and torch.equal(same[0], process.noised(X, eps, t))


@torch.no_grad()
def test_validation_asks_a_model_about_the_pictures_that_it_knows():
    """One that always finds the encoded picture has no error, and fills the whole gap."""
    model, X = tiny_vdm("diffenc"), scaled(given()[0])
    process = bundle_of(model).process

    def knowing(x_t, t):
        _, truth = noised_with_truth(process, X, fixed_noise(X), float(t[0]), model)
        return process.predict_eps(x_t, truth, t)

    # The plain picture is another one.
    assert one_step_error(knowing, X, process, model) < one_step_error(knowing, X, process) / 100
    filled = gap_filled(lambda x_t, t: knowing(x_t, t) + 1, knowing, X, process, model)
    assert filled > 1 - 1e-6


def test_pdae_trains_on_a_learned_encoder(smoke, tmp_path):
    save_bundle(bundle_of(tiny_vdm("diffenc", size=16)), tmp_path / "dpm", torch.float32)
    config = training_config.load(
        PdaeTrainConfig,
        "training/configs/smoke/pdae.yaml",
        ["encoder={image_size: 16, z_dim: 8, channels: [8, 8]}", f"dpm={tmp_path / 'dpm'}"],
    )
    objective = PdaeObjective(config, load_bundle(config.dpm)).train()
    x_0 = torch.rand(2, 3, 16, 16) * 2 - 1
    objective(x_0, *objective.draw(x_0.shape, torch.device("cpu"))).backward()
    named = list(objective.named_parameters())
    asked = {name for name, p in named if p.grad is not None and p.grad.any()}
    assert asked and all(name.startswith(("model.encoder", "model.shift")) for name in asked)
    assert {name for name, p in named if p.requires_grad} >= asked


# --- training


def test_pixels_are_the_files_own(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    exact = rng.integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(exact).save(folder / "a.png")
    Image.fromarray(exact.repeat(2, 0).repeat(2, 1)).save(folder / "b.png")
    (folder / "c.png").write_bytes(b"no picture")
    pixels = pixel_set(PixelConfig(str(folder), cache=str(tmp_path / "cache")), 16, 3)
    assert len(pixels) == 2
    for index in range(2):
        assert torch.equal(pixels[index, 5], torch.from_numpy(exact).permute(2, 0, 1))
    mirrored = pixel_set(PixelConfig(str(folder), flip=True, cache=str(tmp_path / "cache")), 16, 3)
    turned = [bool((mirrored[0, seed] != pixels[0, 0]).any()) for seed in range(20)]
    assert any(turned) and not all(turned)


def test_digits_are_scikit_learns(tmp_path):
    from sklearn.datasets import load_digits

    make_digits.write_digits(tmp_path / "digits")
    data = PixelConfig(
        str(tmp_path / "digits"),
        labels=str(tmp_path / "digits/labels.csv"),
        split="train",
        held_out="test",
        cache=str(tmp_path / "cache"),
    )
    test = held_out_pixels(data, 8, 1, None)
    assert (len(test), len(pixel_set(data, 8, 1))) == (360, 1437)
    own = torch.from_numpy(load_digits().images[::5]).clamp(max=15.9375) * 16
    assert torch.equal(test[:, 0].double(), own)


@pytest.fixture
def smoke(tmp_path):
    overrides = [
        f"data.folder={FACES}",
        f"data.cache={tmp_path / 'cache'}",
        f"loop.out={tmp_path / 'run'}",
        f"bundle={tmp_path / 'bundle'}",
    ]
    return lambda *more: training_config.load(
        VdmTrainConfig, "training/configs/smoke/vdm.yaml", [*overrides, *more]
    )


def test_the_script_trains_measures_and_leaves_a_bundle(smoke, tmp_path, monkeypatch, capsys):
    arguments = [
        "--config",
        "training/configs/smoke/vdm.yaml",
        f"data.folder={FACES}",
        f"data.cache={tmp_path / 'cache'}",
        f"loop.out={tmp_path / 'run'}",
        f"bundle={tmp_path / 'bundle'}",
        "learned_schedule=true",
        "loop.learning_rate=3e-3",
        f"data.labels={labels(tmp_path)}",
        "data.split=train",
        "data.held_out=test",
        "loop.sample_every=32",
    ]
    monkeypatch.setattr(sys, "argv", ["train_vdm.py", *arguments])
    train_vdm.main()
    lines = [json.loads(x) for x in (tmp_path / "run/validation.jsonl").read_text().splitlines()]
    assert lines[-1]["bpd"] == pytest.approx(
        sum(lines[-1][part] for part in ("recon", "latent", "diffusion"))
    )
    assert lines[-1]["bpd"] < lines[0]["bpd"]
    assert load_file(tmp_path / "bundle/unet.safetensors")["encoder.conv_in.weight"].dtype == (
        torch.float32
    )
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.process.least != 0  # the ends have been learned
    data = PixelConfig(FACES, labels=str(labels(tmp_path)), held_out="test")
    test = held_out_pixels(replace(data, cache=str(tmp_path / "cache")), 16, 3, None)
    bits = bits_of_pictures(bundle.variational, test)
    assert float(bits.total.mean()) == pytest.approx(lines[-1]["bpd"], rel=1e-3)
    evaluated(tmp_path, monkeypatch, lines[-1]["bpd"])
    assert "| again |" in capsys.readouterr().out


def evaluated(tmp_path, monkeypatch, bpd):
    """The same bundle, alone and twice over, by the script."""
    folder = str(tmp_path / "bundle")
    arguments = [
        f"models={{one: {folder}, again: '{folder},{folder}'}}",
        f"data.folder={FACES}",
        f"data.labels={labels(tmp_path)}",
        "data.held_out=test",
        f"data.cache={tmp_path / 'cache'}",
        f"out={tmp_path / 'likelihood'}",
        "draws=2",
        "times=3",
    ]
    monkeypatch.setattr(sys, "argv", ["evaluate_likelihood.py", *arguments])
    evaluate_likelihood.main()
    rows = json.loads((tmp_path / "likelihood/likelihood.json").read_text())
    assert rows["again"]["bpd"] == [pytest.approx(rows["one"]["bpd"][0]), 0]
    assert rows["one"]["bpd"][0] == pytest.approx(bpd, rel=0.3)
    assert list(rows["one"]["diffusion at t"]) == ["0.0", "0.5", "1.0"]
    assert (tmp_path / "likelihood/likelihood.svg").stat().st_size > 1000


def labels(tmp_path):
    path = tmp_path / "labels.csv"
    if not path.exists():
        from pathlib import Path

        names = sorted(p.name for p in Path(FACES).glob("*.jpg"))
        rows = [f"{name},{'test' if i < 2 else 'train'}" for i, name in enumerate(names)]
        path.write_text("\n".join(["file,split", *rows]) + "\n")
    return path


def test_what_the_objective_draws_and_spares(smoke):
    objective = VdmObjective(smoke("learned_schedule=true"))
    torch.manual_seed(0)
    t, eps_0, eps = objective.draw((8, 3, 16, 16), torch.device("cpu"))
    assert torch.allclose(t, low_discrepancy_times(8, t[0]), atol=1e-6)
    assert not torch.equal(eps_0, eps)
    names = [f"model.{name}" for name, _ in objective.model.named_parameters()]
    spared = [name for name in names if not objective.decayed(name)]
    assert {name.rpartition(".")[2] for name in spared} == {"bias", "gamma_0", "slope"}
    assert not any("gamma" in name for name in names if objective.decayed(name))


def test_presets(smoke):
    tables = {"mnist": "28x28x1", "cifar10": "32x32x3", "imagenet32": "32x32x3"}
    counts = {value["total"] for value in facts()["full_tables"].values()}
    for name, model in VDM_PRESETS.items():
        with torch.device("meta"):
            networks = VariationalDiffusion(model)
        classes = 4 * model.unet.base_channels + (4 * 64 if model.encoder else 0)
        count = sum(p.numel() for p in networks.parameters()) + classes
        assert count in counts or name == "cifar10-diffenc-32-2", name
        assert name.split("-")[0] in tables
    assert smoke("preset=cifar10-diffenc-32-4").model == vdm_preset("cifar10-diffenc-32-4")
    with pytest.raises(ValueError, match="known: mnist-vdm-8"):
        vdm_preset("cifar10-diffenc")


TRAINED = [case for case in CASES if "train_losses" in case]


@pytest.mark.parametrize("case", TRAINED, ids=lambda case: case.name)
def test_three_official_steps(case):
    """Our optimiser, its groups and the average against the official ones."""
    options, model = facts()["optimizer"], case.model()
    config = LoopConfig("", 1, beta2=0.99, weight_decay=options["wd"], ema=options["ema"])
    parameters = dict(model.named_parameters())
    optimizer = adamw(config, parameters, lambda name: not name.endswith("bias"))
    average = {name: p.detach().clone() for name, p in parameters.items()}
    start = case.official(model, {name: p.detach().clone() for name, p in parameters.items()})
    losses = []
    for update in range(3):
        for group in optimizer.param_groups:
            group["lr"] = options["lr"] * min(update / options["warm"], 1)
        losses.append(loss_of(case, model))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
        for name, p in parameters.items():
            average[name].lerp_(p.detach(), 1 - options["ema"])
    losses.append(loss_of(case, model))
    ended = {name: p.detach().clone() for name, p in parameters.items()}
    model.load_state_dict(average)
    losses.append(loss_of(case, model))
    limits = [1e-4, 1e-4, 2e-4, 2e-4, 2e-4]
    if case.kind == "diffenc":
        limits = [1e-4, 1e-4, 5e-3, 0.1, 0.1]
    for ours, theirs, limit in zip(losses, case["train_losses"], limits, strict=True):
        assert abs(float(ours) / float(theirs) - 1) <= limit
    for end, values in (("param", ended), ("ema", average)):
        moved(case, start, case.official(model, values), end)


def loss_of(case, model):
    parts = model.losses(*(case.given(name) for name in ("x", "t", "eps0", "eps")))
    return sum(parts.values()).mean() / (math.prod(case.given("x").shape[1:]) * math.log(2))


def moved(case, start, ours, end):
    """Tensors that were kept whole, and how far each has moved."""
    prefix = f"{case.name}.train3.{end}."
    for key, theirs in arrays().items():
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            change = (theirs - start[name]).square().mean().sqrt()
            error = (ours[name] - theirs).square().mean().sqrt()
            assert error <= 0.25 * change, key
    names = sorted(ours)
    norms = torch.stack([(ours[name] - start[name]).norm() for name in names])
    large = case["grad_norm"] > 1e-3 * case["grad_norm"].max()
    theirs = case[f"train3.{end}_delta_norm"]
    assert (norms / theirs - 1).abs()[large].max() <= 5e-2


# --- official files


def flax_file(case: Case, path, wrap=lambda tree: {"step": 3, "ema_params": tree}):
    """What the official code would have saved: weights in Flax's layout, by Flax's names."""
    tree: dict = {}
    for flax_path, shape in case.flax_shapes.items():
        *parents, last = flax_path.split("/")
        tensor = case.state[torch_name(flax_path)]
        assert list(tensor.shape) == shape
        level = tree
        for parent in parents:
            level = level.setdefault(parent, {})
        level[last] = packed(flax_layout(parents, last, tensor).numpy())
    path.write_bytes(msgpack.packb(wrap(tree)))
    return path


def flax_layout(parents, last, tensor):
    if last != "kernel":
        return tensor
    if tensor.ndim == 2:
        return tensor.T
    if "conv_trans" in parents:
        return tensor.flip(2, 3).permute(2, 3, 0, 1)
    return tensor.permute(2, 3, 1, 0)


def packed(array):
    content = (array.shape, array.dtype.name, np.ascontiguousarray(array).tobytes())
    return msgpack.ExtType(1, msgpack.packb(content))


@pytest.mark.parametrize("name", ["A.S3VA.train_scalar", "B.S3VA.fixed", "A.VDM2.fixed"])
def test_an_official_file_goes_through_the_converter(name, tmp_path):
    case = Case(name)
    path = flax_file(case, tmp_path / "checkpoint_3")
    size = str(case.settings["shape"][0])
    arguments = ["diffenc", "--checkpoint", str(path), "--image-size", size, "--kind", case.kind]
    assert convert.main([*arguments, "--out", str(tmp_path / "bundle")]) == 0
    model = load_bundle(tmp_path / "bundle").variational
    with torch.no_grad():
        parts = model.losses(*(case.given(name) for name in ("x", "t", "eps0", "eps")))
    assert difference(parts["recon"], case["loss_recon"]) <= 1e-4
    assert difference(parts["diffusion"], case["loss_diff"]) <= 1e-3


def test_the_settings_are_told_by_the_tensors():
    for name in ("A.S3VA.fixed", "B.S3VA.train_scalar", "A.VDM2.train_scalar"):
        case = Case(name)
        found = settings_from(case.state, case.settings["shape"][0])
        expected = case.settings
        assert found["score"].items() <= expected["score"].items()
        assert found.get("encoder", expected["encoder"]) == expected["encoder"]
        assert (found["shape"], found["learned_schedule"]) == (expected["shape"], case.learned)


def test_transposed_convolutions_are_turned_about():
    kernel = arrays()["layout.convtrans.flax_kernel_hwio"].numpy()
    weight = torch_layout(("conv_trans", "kernel"), kernel)
    ours = torch.nn.functional.conv_transpose2d(
        arrays()["layout.convtrans.x"], weight, arrays()["layout.convtrans.bias"], stride=2
    )
    assert difference(ours, arrays()["layout.convtrans.y"]) < 1e-6


def test_large_arrays_come_in_pieces(tmp_path):
    whole = fill("a", (4, 6))
    pieces = {str(i): packed(part) for i, part in enumerate(np.split(whole.reshape(-1), 3))}
    chunked = {
        "__msgpack_chunked_array__": True,
        "shape": {"0": 4, "1": 6},
        "chunks": pieces,
    }
    (tmp_path / "file").write_bytes(msgpack.packb({"params": {"a": {"kernel": chunked}}}))
    assert torch.equal(read_flax(tmp_path / "file")["a.weight"], torch.from_numpy(whole.T.copy()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no msgpack at all", "damaged|not a mapping"),
        (msgpack.packb({"params": {}}), "holds no weights"),
        (msgpack.packb({"a": msgpack.ExtType(7, b"x")}), "refused"),
        (msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb(((9,), "float32", b"")))}), "size"),
        (msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb(((1,), "O", b"x")))}), "'O'"),
    ],
)
def test_damaged_files_are_refused(content, message, tmp_path, capsys):
    path = tmp_path / "checkpoint"
    path.write_bytes(content)
    out = tmp_path / "bundle"
    assert convert.main(["diffenc", "--checkpoint", str(path), "--out", str(out)]) == 1
    import re

    assert re.search(message, capsys.readouterr().err) and not out.exists()
