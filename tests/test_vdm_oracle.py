"""Every array of the official DiffEnc code's reference outputs, at the tolerances stated for it."""

import numpy as np
import pytest
import torch

from pdae_app.convert.diffenc import load_official
from pdae_app.convert.errors import ConvertError
from pdae_app.diffusion.likelihood import (
    bits_per_dimension,
    decoded,
    low_discrepancy_times,
    scaled,
)
from pdae_app.diffusion.process import expand
from tests.vdm_oracle import CASES, Case, arrays, difference, facts

TEACHER_FORCED = ["sample_T3_z1", "sample_T3_z2", "sample_T3_z3"]
parametrized = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def levels(case: Case, t):
    model = case.loaded
    return model.log_snr(t, case.given("eps"))


@parametrized
@torch.no_grad()
def test_schedule(case):
    t = case.given("t")
    for name, time in (("gamma_t", t), ("gamma_0", 0.0), ("gamma_1", 1.0)):
        assert difference(-levels(case, time), case[name]) <= 1e-6, name
    assert difference(case.loaded.process.log_snr_rate(t), case["dgamma_dt"]) <= 1e-6


@parametrized
@torch.no_grad()
def test_encoding_and_networks(case):
    model, X, log_snr = case.loaded, scaled(case.given("x")), levels(case, case.given("t"))
    assert difference(X, case["X"]) <= 1e-6
    x_t, drift = model.encoding.mean_and_drift(X, log_snr)
    if case.kind.startswith("diffenc"):
        assert difference(x_t, case["x_t"]) <= 5e-5
        for name, time in (("x_0", 0.0), ("x_1", 1.0)):
            assert difference(model.encoding.mean(X, levels(case, time)), case[name]) <= 5e-5
        variance = expand((-log_snr).sigmoid(), X)
        assert difference(variance * drift, case["dxt_dlambda"]) <= 3e-4
    if case.kind == "diffenc":
        y, slope = model.encoding.y_and_slope(X, log_snr)
        assert difference(y, case["y_t"]) <= 5e-5
        assert difference(slope, case["dyt_dlambda"]) <= 3e-4
    z_t = model.noised(x_t, case.given("eps"), log_snr)
    alpha, sigma = expand(log_snr.sigmoid().sqrt(), X), expand((-log_snr).sigmoid().sqrt(), X)
    assert difference(z_t, case["z_t"]) <= 2e-5
    assert difference(alpha * case.given("eps") - sigma * x_t, case["v_t"]) <= 2e-5
    assert difference(model.score(z_t, log_snr), case["net_out"]) <= 1e-3
    assert difference(model.x_hat(z_t, log_snr), case["x_hat"]) <= 1e-3


@parametrized
@torch.no_grad()
def test_losses(case):
    parts = losses(case, case.loaded)
    assert difference(parts["recon"], case["loss_recon"]) <= 2e-5
    assert difference(parts["latent"], case["loss_latent"]) <= 2e-5
    assert difference(parts["diffusion"], case["loss_diff"]) <= 1e-4
    whole = sum(parts.values())
    nats = torch.stack([p.mean() for p in (whole, parts["latent"], parts["recon"])])
    nats = torch.cat([nats, parts["diffusion"].mean()[None]])
    bits = bits_per_dimension(nats, case.given("x").shape[1:])
    assert difference(bits, case["bpd"]) <= 1e-4


def losses(case, model):
    given = (case.given(name) for name in ("x", "t", "eps0", "eps"))
    return model.losses(*given)


def total_bits(case, model):
    """The total, a number to be differentiated."""
    nats = sum(losses(case, model).values()).mean()
    return bits_per_dimension(nats, case.given("x").shape[1:])


@parametrized
@torch.no_grad()
def test_ancestral_sampling(case):
    model, z = case.loaded, case.given("z1")
    for i, name in enumerate(TEACHER_FORCED):
        ours = model.ancestral_step(z, case.given(f"noise{i}"), (3 - i) / 3, (2 - i) / 3)
        assert difference(ours, case[name]) <= 5e-5, name
        z = case[name]
    same_picture(decoded(z, levels(case, 0.0)), case["sample_T3_image"])
    same_picture(decoded(case["z_t"] / 2, levels(case, 0.0)), case["decode_half_zt"])
    steps, first = facts()["cases"][case.letter]["single_step_T_i"]
    z = case.given("z1")
    t, s = (steps - first) / steps, (steps - first - 1) / steps
    noise = case.given("noise_step")
    assert difference(model.ancestral_step(z, noise, t, s), case["sample_step"]) <= 5e-5
    for i in range(3):
        t, s = ((steps - first - i - k) / steps for k in (0, 1))
        ours = model.ancestral_step(z, case.given(f"noise{i}"), t, s)
        z = case[f"sample_T1000_z{i + 1}"]
        assert difference(ours, z) <= 5e-5


def same_picture(ours, theirs):
    apart = (ours.int() - theirs.int()).abs()
    assert apart.max() <= 1 and (apart > 0).float().mean() < 0.005


@pytest.mark.parametrize("letter", "AB")
@torch.no_grad()
def test_heat_maps(letter):
    case = Case(f"{letter}.S3VA.fixed")
    X = scaled(case.given("x"))
    maps = torch.stack([case.loaded.heat_map(X, t) for t in (0.4, 0.6, 0.8, 1.0)])
    assert difference(maps, case["heat"]) <= 5e-5


@pytest.mark.parametrize("letter", "AB")
@torch.no_grad()
def test_epsilon_of_the_normalisations(letter):
    case = Case(f"{letter}.S3VA.fixed")
    state = {
        name: tensor * 1e-3 if ".conv_in." in name else tensor
        for name, tensor in case.state.items()
    }
    model, log_snr = case.model(state), levels(case, case.given("t"))
    y = model.networks.y(scaled(case.given("x")), log_snr)
    assert difference(y, case["y_t_small_conv_in"]) <= 2e-4
    assert difference(model.score(case["z_t"], log_snr), case["net_out_small_conv_in"]) <= 2e-4


@parametrized
def test_gradients(case):
    model = case.model()
    total_bits(case, model).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    gradients = case.official(model, gradients)
    norms = torch.stack([gradients[name].norm() for name in sorted(gradients)])
    projections = torch.stack([projected(name, gradients[name]) for name in sorted(gradients)])
    assert difference(norms, case["grad_norm"]) <= 2e-3
    assert difference(projections, case["grad_proj"]) <= 2e-3
    assert difference(norms.norm(), case["grad_global_norm"]) <= 2e-3
    large = case["grad_norm"] > 1e-3 * case["grad_norm"].max()
    assert (norms / case["grad_norm"] - 1).abs()[large].max() <= 1e-2


def projected(name, gradient):
    """Its inner product with normal numbers of the reference file's choice."""
    return (gradient.double() * normal_numbers(f"input:gradproj.{name}", gradient.shape)).sum()


def normal_numbers(name, shape):
    import hashlib

    seed = np.frombuffer(hashlib.sha256(f"0:{name}".encode()).digest(), "<u4")
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(tuple(shape)))


def test_low_discrepancy_times():
    times = low_discrepancy_times(8, arrays()["lowdisc.u"])
    assert difference(times, arrays()["lowdisc.t_B8"]) <= 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "vdm_v"}, "of diffenc"),
        ({"kind": "DiffEnc"}, "known: vdm, vdm_v"),
        ({"learned_schedule": True}, "no learned noise schedule"),
        ({"shape": [8, 16, 3]}, "square"),
        ({"score": {"n_embd": 32, "n_layer": 2}}, r"conv_in.weight has shape \(64"),
        ({"score": {"n_layer": 2}}, "lack 'n_embd'"),
    ],
)
def test_states_that_do_not_fit_are_refused(change, message):
    case = Case("A.S3VA.fixed")
    kind = change.get("kind", case.kind)
    with pytest.raises(ConvertError, match=message):
        load_official(case.state, kind, case.settings | change)
