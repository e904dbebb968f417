"""Official files, converted, against the official code's own numbers."""

import copy

import pytest
import torch

from pdae_app.bundle import load_bundle
from pdae_app.convert.__main__ import main
from pdae_app.convert.names import semantic_names, shift_names
from pdae_app.diffusion.denoisers import Mix, ShiftedDenoiser, UNetDenoiser, slerp
from pdae_app.diffusion.grids import STEPPINGS, spaced_levels
from pdae_app.diffusion.posterior import posterior, posterior_shift
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.schedule import Schedule
from pdae_app.diffusion.solvers import ddim, ddim_invert, ddim_states
from pdae_app.diffusion.weighting import loss_weight
from pdae_app.engine import Code, Editor
from tests.oracle import arrays, flags, write_diffae, write_pdae
from training.losses import dpm_loss, pdae_loss

SCHEDULE = Schedule("linear", 1000)
DIFFUSION = Diffusion(SCHEDULE)
HEADS = ["--heads", "4", "--dropout", "0.1"]


@pytest.fixture(scope="module")
def oracle():
    return arrays()


@pytest.fixture(scope="module")
def diffae_oracle():
    return arrays("diffae_tiny32")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_pdae(tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="module")
def bundle(files, tmp_path_factory):
    """The official PDAE files, converted by the command, loaded."""
    out = str(tmp_path_factory.mktemp("bundles") / "pdae")
    given = flags(files, "autoencoder", "latents", "classifier", "latent_dpm")
    assert main(["pdae", *given, *HEADS, "--out", out]) == 0
    return load_bundle(out)


@pytest.fixture(scope="module")
def model(bundle):
    return bundle.model


@pytest.fixture(scope="module")
def unet(files, tmp_path_factory):
    """The official unconditional file, converted by the command, loaded."""
    out = str(tmp_path_factory.mktemp("bundles") / "dpm")
    given = [*flags(files, "checkpoint"), "--image-size", "32", *HEADS]
    assert main(["dpm", *given, "--out", out]) == 0
    return load_bundle(out).unet


@pytest.fixture(scope="module")
def diffae(tmp_path_factory):
    """The official Diff-AE files, converted by the command, loaded."""
    files = write_diffae(tmp_path_factory.mktemp("official-diffae"))
    out = str(tmp_path_factory.mktemp("bundles") / "diffae")
    given = flags(files, "autoencoder", "latent", "classifier", "latents")
    assert main(["diffae", *given, "--heads", "1", "--out", out]) == 0
    return load_bundle(out)


def close(ours, theirs, tolerance):
    torch.testing.assert_close(ours.float(), theirs.float(), atol=tolerance, rtol=tolerance)


def chain_close(ours, theirs):
    """The tolerance that the official code itself keeps along whole chains."""
    difference = (ours - theirs.reshape(ours.shape)).abs()
    assert difference.mean() < 1e-4 and difference.max() < 1e-2


def shifted(model, z, **options):
    return ShiftedDenoiser(model, DIFFUSION, Mix.of(z), **options)


def test_semantic_encoder(model, oracle):
    close(model.encoder(oracle["in_x0"]), oracle["z"], 2e-5)


@pytest.mark.parametrize("t", [0, 250, 999])
def test_networks_on_shared_features(model, oracle, t):
    times = torch.full((2,), t)
    x_t = SCHEDULE.noised(oracle["in_x0"], oracle["in_noise"], times)
    close(x_t, oracle[f"x_t{t}"], 1e-6)
    eps, gradient = model(x_t, times, oracle["z"])
    close(eps, oracle[f"eps_t{t}"], 2e-5)
    close(gradient, oracle[f"grad_t{t}"], 2e-5)


def test_schedule(oracle):
    close(SCHEDULE.alpha_bars[:-2], oracle["sched_alphas_cumprod"], 1e-6)
    t = torch.arange(1000)
    close(loss_weight("pdae", SCHEDULE, t, gamma=0.1), oracle["sched_weight"], 1e-5)


def test_posterior_shift_factor(oracle):
    close(posterior_shift(SCHEDULE, torch.arange(1000)), oracle["sched_shift_coef"].abs(), 1e-6)


@pytest.mark.parametrize("steps", [5, 10, 20, 50, 100, 200, 500])
def test_official_index_grid(oracle, steps):
    assert spaced_levels(SCHEDULE, steps, "pdae") == oracle[f"map_ddim{steps}"].tolist()


def test_every_state_of_inversion(model, oracle):
    levels = spaced_levels(SCHEDULE, 10, "pdae")
    theirs = oracle["traj_encode_ddim10"]
    denoiser = shifted(model, oracle["z"][:1])
    for i in range(10):  # step by step: the filled networks are ill-conditioned along the chain
        ours = ddim_invert(denoiser, theirs[i][None], SCHEDULE, levels[i : i + 2], clip_x0=True)
        close(ours[0], theirs[i + 1], 1e-4)


def test_sampling_from_fixed_noise(model, oracle):
    levels = spaced_levels(SCHEDULE, 10, "pdae")
    ours = ddim(shifted(model, oracle["z"]), oracle["in_xT"], SCHEDULE, levels, clip_x0=True)
    close(ours, oracle["sample_ddim10_from_xT"], 1e-4)


def test_every_state_of_sampling(model, oracle):
    levels = spaced_levels(SCHEDULE, 10, "pdae")[::-1]
    theirs, denoiser = oracle["traj_sample_ddim10"], shifted(model, oracle["z"][:1])
    for i in range(10):
        (state,) = ddim_states(denoiser, theirs[i][None], SCHEDULE, levels[i : i + 2], clip_x0=True)
        close(state.x[0], theirs[i + 1], 1e-4)


def test_unguided_tail(model, oracle):
    levels = spaced_levels(SCHEDULE, 10, "pdae")
    # No G where (i - 1) < int(0.3 N), i counting levels: below the level of index 4.
    denoiser = shifted(model, oracle["z"], unguided_below=levels[4])
    ours = ddim(denoiser, oracle["in_xT"], SCHEDULE, levels, clip_x0=True)
    close(ours, oracle["sample_ddim10_stop0.3"], 1e-4)


def test_encode_then_decode(model, oracle):
    levels = spaced_levels(SCHEDULE, 10, "pdae")
    denoiser = shifted(model, oracle["z"])
    x_T = ddim_invert(denoiser, oracle["in_x0"], SCHEDULE, levels, clip_x0=True)
    assert (x_T - oracle["xT_ddim10"]).abs().mean() < 1e-4
    decoded = ddim(denoiser, oracle["xT_ddim10"], SCHEDULE, levels, clip_x0=True)
    chain_close(decoded, oracle["rec_ddim10"])
    fewer = spaced_levels(SCHEDULE, 5, "pdae")
    decoded = ddim(denoiser, oracle["xT_ddim10"], SCHEDULE, fewer, clip_x0=True)
    chain_close(decoded, oracle["autoenc_ddim10_ddim5"])


def test_plain_unet_sampling_and_encoding(unet, oracle):
    levels = spaced_levels(SCHEDULE, 5, "pdae")
    denoiser = UNetDenoiser(unet, DIFFUSION)
    sample = ddim(denoiser, oracle["in_xT"], SCHEDULE, levels, clip_x0=True)
    close(sample, oracle["unet_ddim5_sample"], 1e-4)
    encoded = ddim_invert(denoiser, oracle["in_x0"], SCHEDULE, levels, clip_x0=True)
    chain_close(encoded, oracle["unet_ddim5_encode"])


def test_interpolation(model, oracle):
    a, b = oracle["xT_ddim10"]
    close(slerp(a, b, 0.3), oracle["slerp_0.3"].reshape(a.shape), 1e-5)
    levels = spaced_levels(SCHEDULE, 5, "pdae")
    z_a, z_b = oracle["z"][:1], oracle["z"][1:]
    close(torch.lerp(z_a, z_b, 0.3), oracle["lerp_z_0.3"].reshape(z_a.shape), 1e-6)
    x_T = slerp(a, b, 0.3)[None]
    by_code = shifted(model, torch.lerp(z_a, z_b, 0.3))
    ours = ddim(by_code, x_T, SCHEDULE, levels, clip_x0=True)
    chain_close(ours, oracle["interp_z_ddim5"])
    by_trajectory = ShiftedDenoiser(model, DIFFUSION, Mix(((z_a, 0.7), (z_b, 0.3))))
    ours = ddim(by_trajectory, x_T, SCHEDULE, levels, clip_x0=True)
    chain_close(ours, oracle["interp_traj_ddim5_0.3"])


def test_one_step_predictions(unet, model, oracle):
    t = torch.tensor([400, 800])
    x_t = SCHEDULE.noised(oracle["in_x0"], oracle["in_noise"], t)
    ours = SCHEDULE.predict_x0(x_t, unet(x_t, t), t)
    close(ours.clamp(-1, 1), oracle["denoise1_pred_x0"].clamp(-1, 1), 1e-4)
    # With the shift, by the factor that training uses.
    eps = shifted(model, oracle["z"], posterior=True)(x_t, t)
    ours = SCHEDULE.predict_x0(x_t, eps, t)
    close(ours.clamp(-1, 1), oracle["denoise1_ae_x0"].clamp(-1, 1), 1e-4)


@pytest.mark.parametrize("name, clip", [("p_sample", False), ("x0clip_p_sample", True)])
def test_ddpm_step(oracle, name, clip):
    """At t = 0 and 500, from in_xT, with eps_t250 for the network's answer."""
    for i, t in enumerate((0, 500)):
        x, eps, noise = (oracle[key][i] for key in ("in_xT", "eps_t250", "in_noise"))
        x0_hat, q = SCHEDULE.predict_x0(x, eps, t), posterior(SCHEDULE, t, t - 1)
        mean = q.mean(x0_hat.clamp(-1, 1) if clip else x0_hat, x)
        close(mean + q.variance**0.5 * noise, oracle[f"{name}_t0_500"][i], 1e-5)


def test_ddpm_step_without_noise_is_the_posterior_mean(model, oracle):
    x, t = oracle["x_t250"], torch.full((2,), 250)
    denoiser = shifted(model, oracle["z"], posterior=True)
    q = posterior(SCHEDULE, 250, 249)
    mean = q.mean(SCHEDULE.predict_x0(x, denoiser(x, t), 250), x)
    eps, gradient = model(x, t, oracle["z"])
    beta, alpha_bar = float(SCHEDULE.betas[250]), SCHEDULE.alpha_bar(250)
    # PDAE Alg. 2, written out
    expected = (x - beta / (1 - alpha_bar) ** 0.5 * eps) / (1 - beta) ** 0.5 + q.variance * gradient
    close(mean, expected, 1e-5)


def test_losses(bundle, unet, oracle):
    x_0, noise, t = oracle["in_x0"], oracle["in_noise"], oracle["in_train_t"]
    regular = dpm_loss(unet, DIFFUSION, x_0, t, noise, torch.ones(2))
    close(regular, oracle["loss_regular"], 1e-5)
    weight = loss_weight("pdae", SCHEDULE, t, gamma=0.1)
    close(pdae_loss(bundle.model, DIFFUSION, x_0, t, noise, weight), oracle["loss_pdae"], 1e-5)
    prior, noise = bundle.prior, oracle["in_z_t"]
    z_t = prior.schedule.noised(oracle["z_norm"], noise, t)
    close((prior.mlp(z_t, t) - noise).abs().mean(), oracle["loss_latent_l1"], 1e-5)


def test_the_norm_of_every_gradient(bundle, oracle):
    model = copy.deepcopy(bundle.model).requires_grad_(True).freeze_unet()
    t = oracle["in_train_t"]
    weight = loss_weight("pdae", SCHEDULE, t, gamma=0.1)
    pdae_loss(model, DIFFUSION, oracle["in_x0"], t, oracle["in_noise"], weight).backward()
    ours = {
        f"{part}.{theirs}": dict(module.named_parameters())[name].grad.norm()
        for part, module, names in (
            ("enc", model.encoder, semantic_names(model.encoder)),
            ("dec", model.shift, shift_names(model.shift)),
        )
        for name, theirs in names.items()
    }
    names = oracle["gradnorm_names"].tolist()
    assert ours.keys() == set(names)
    close(torch.stack([ours[name] for name in names]), oracle["gradnorm_values"], 1e-4)


def test_three_optimizer_steps(bundle):
    oracle = arrays("pdae_tiny32_train3")
    model = copy.deepcopy(bundle.model).requires_grad_(True).freeze_unet()
    trained = [*model.encoder.parameters(), *model.shift.parameters()]
    optimizer = torch.optim.Adam(trained, lr=1e-4)
    for step in range(3):
        t, noise = oracle["in_t"][step], oracle[f"in_noise{step}"]
        weight = loss_weight("pdae", SCHEDULE, t, gamma=0.1)
        loss = pdae_loss(model, DIFFUSION, oracle["in_x0"], t, noise, weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        close(loss.detach(), oracle["losses"][step], 1e-5)
    close(model.shift.conv_out.weight.detach(), oracle["dec.shift_out.2.weight"], 1e-5)
    close(model.encoder.convs[0].weight.detach(), oracle["enc.encoder.0.weight"], 1e-5)
    # The frozen half did not move.
    frozen = bundle.unet.decoder.conv_out.weight
    assert torch.equal(model.unet.decoder.conv_out.weight, frozen)


def test_edit_along_the_classifier(bundle, oracle):
    editor = Editor(bundle, "official")
    assert editor.stepping == "pdae" and editor.attributes[31] == "Smiling"
    latents = bundle.latents
    close(latents.normalize(oracle["z"]), oracle["z_norm"], 1e-4)
    for z, expected in zip(oracle["z"], oracle["z_manip"], strict=True):
        code = Code(z, oracle["in_xT"][0], None, bundle.identity)
        close(editor.moved(code, {"Smiling": 1.0}).z, expected, 1e-4)
    denoiser = shifted(bundle.model, oracle["z_manip"])
    levels = spaced_levels(SCHEDULE, 10, "pdae")
    ours = ddim(denoiser, oracle["xT_ddim10"], SCHEDULE, levels, clip_x0=True)
    chain_close(ours, oracle["manip_cls31_0.3_ddim10"])


def test_latent_diffusion(bundle, oracle):
    prior = bundle.prior
    times = torch.tensor([0, 999])
    close(prior.mlp(oracle["in_z_t"], times), oracle["latent_eps_t0_999"], 2e-5)
    assert prior.clip
    levels = spaced_levels(prior.schedule, 10, "pdae")
    for clip, name in ((True, "official_clamped"), (False, "unclamped_deadcode")):
        ours = ddim(prior.mlp, oracle["in_z_T"], prior.schedule, levels, clip_x0=clip)
        close(ours, oracle[f"latent_ddim10_{name}"], 1e-4)


def test_generation_by_the_editor(bundle, oracle):
    """The whole unconditional path, from the latent noise to the picture."""
    z = bundle.prior.sample(oracle["in_z_T"], 10, STEPPINGS["pdae"])
    z = z * bundle.latents.std + bundle.latents.mean
    levels = spaced_levels(SCHEDULE, 5, "pdae")
    expected = oracle["latent_diffusion_sample_ddim10_ddim5"]
    denoiser = shifted(bundle.model, z, unguided_below=levels[int(0.3 * 5) + 1])
    chain_close(ddim(denoiser, oracle["in_xT"], SCHEDULE, levels, clip_x0=True), expected)
    editor = Editor(bundle, "official")
    code = Code(z[0], oracle["in_xT"][0], None, bundle.identity)
    *_, last = editor.decode_steps(code, 5, unguided=0.3)
    pixels = ((expected[0].clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy()
    assert abs(pixels - last.image).max() <= 1


@pytest.mark.parametrize("t", [0, 250, 999])
def test_diffae_networks(diffae, diffae_oracle, t):
    oracle = diffae_oracle
    close(diffae.model.encoder(oracle["in_x0"]), oracle["cond"], 2e-5)
    times = torch.full((2,), t)
    x_t = SCHEDULE.noised(oracle["in_x0"], oracle["in_noise"], times)
    close(diffae.model(x_t, times, oracle["cond"]), oracle[f"eps_t{t}"], 2e-5)


@pytest.mark.parametrize("steps", [5, 10, 20, 25, 50, 100, 125, 200, 250, 500, 1000])
def test_diffae_index_grid(diffae_oracle, steps):
    expected = diffae_oracle[f"map_T{steps}"].tolist()
    assert spaced_levels(SCHEDULE, steps, "diffae")[1:] == expected
    assert spaced_levels(SCHEDULE, steps, "diffae", inverting=True)[:-1] == expected


def conditioned(diffae, z):
    return diffae.family.denoiser(z)


def diffae_run(denoiser, x, steps, inverting=False):
    stepping = STEPPINGS["diffae"]
    levels = stepping.levels(SCHEDULE, steps, inverting)
    *_, last = ddim_states(denoiser, x, SCHEDULE, levels, clip_x0=True)
    return last.x


def rendered(x):
    return (x + 1) / 2


def test_diffae_encodes_state_by_state(diffae, diffae_oracle):
    theirs = diffae_oracle["traj_encode_T10"]
    levels = STEPPINGS["diffae"].levels(SCHEDULE, 10, inverting=True)
    denoiser = conditioned(diffae, diffae_oracle["cond"][:1])
    for i in range(10):
        ours = ddim_invert(denoiser, theirs[i][None], SCHEDULE, levels[i : i + 2], clip_x0=True)
        close(ours[0], theirs[i + 1], 1e-4)
    x_T = diffae_run(conditioned(diffae, diffae_oracle["cond"]), diffae_oracle["in_x0"], 10, True)
    chain_close(x_T, diffae_oracle["xT_T10"])


@pytest.mark.parametrize(
    ("name", "steps", "start"),
    [
        ("render_T10", 10, "xT_T10"),
        ("render_T20_from_xT", 20, "in_xT"),
        ("render_T5_from_xT", 5, "in_xT"),
    ],
)
def test_diffae_renders(diffae, diffae_oracle, name, steps, start):
    denoiser = conditioned(diffae, diffae_oracle["cond"])
    ours = diffae_run(denoiser, diffae_oracle[start], steps)
    chain_close(rendered(ours), diffae_oracle[name])


def test_diffae_edits(diffae, diffae_oracle):
    oracle, editor = diffae_oracle, Editor(diffae, "official")
    for z, expected in zip(oracle["cond"], oracle["cond_manip_cls31_0.3"], strict=True):
        code = Code(z, oracle["in_xT"][0], None, diffae.identity)
        close(editor.moved(code, {"Smiling": 1.0}).z, expected, 1e-4)
    ours = diffae_run(conditioned(diffae, oracle["cond_manip_cls31_0.3"]), oracle["xT_T10"], 10)
    chain_close(rendered(ours), oracle["render_manip_T10"])


def test_diffae_interpolates(diffae, diffae_oracle):
    oracle = diffae_oracle
    x_T = slerp(*oracle["xT_T10"], 0.3)[None]
    close(x_T, oracle["slerp_0.3"].reshape(x_T.shape), 1e-5)
    z = torch.lerp(*oracle["cond"], 0.3)[None]
    ours = diffae_run(conditioned(diffae, z), x_T, 10)
    chain_close(rendered(ours), oracle["interp_render_T10_0.3"])


def test_diffae_latent_diffusion(diffae, diffae_oracle):
    oracle, prior = diffae_oracle, diffae.prior
    assert not prior.clip
    times = torch.tensor([0, 999])
    close(prior.mlp(oracle["in_z_T"], times), oracle["latent_eps_t0_999"], 2e-5)
    z_n = prior.sample(oracle["in_z_T"], 10, STEPPINGS["diffae"])
    close(z_n, oracle["latent_sample_T10"], 1e-4)
    z = z_n * diffae.latents.std + diffae.latents.mean
    ours = diffae_run(conditioned(diffae, z), oracle["in_xT"], 10)
    chain_close(ours, oracle["uncond_T10_Tlatent10"])


def test_diffae_loss(diffae, diffae_oracle):
    oracle, t = diffae_oracle, diffae_oracle["in_train_t"]
    x_t = SCHEDULE.noised(oracle["in_x0"], oracle["in_noise"], t)
    error = (diffae.model(x_t, t, oracle["cond"]) - oracle["in_noise"]).square()
    close(error.mean(dim=(1, 2, 3)), oracle["loss_per_sample"], 1e-5)
    # The oracle took the codes as they are here, not normalised.
    prior, noise = diffae.prior, oracle["in_z_T"]
    z_t = prior.schedule.noised(oracle["cond"], noise, t)
    close((prior.mlp(z_t, t) - noise).abs().mean(dim=1), oracle["latent_loss_per_sample"], 1e-5)
