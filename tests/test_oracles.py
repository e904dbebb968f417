"""Our networks and steps against the official PDAE code's own numbers."""

import pytest
import torch

from pdae_app.diffusion.denoisers import ShiftedDenoiser, UNetDenoiser, slerp
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.schedule import Schedule, spaced_timesteps
from pdae_app.diffusion.solvers import ddim, ddim_invert, ddpm_posterior, predict_x0
from pdae_app.diffusion.weighting import loss_weight
from tests.oracle import arrays, filled_pdae, filled_unet
from training.losses import pdae_loss

SCHEDULE = Schedule("linear", 1000)
DIFFUSION = Diffusion(SCHEDULE)


@pytest.fixture(scope="module")
def oracle():
    return arrays()


@pytest.fixture(scope="module")
def model():
    return filled_pdae().requires_grad_(False)


def close(ours, theirs, tolerance):
    torch.testing.assert_close(ours.float(), theirs.float(), atol=tolerance, rtol=tolerance)


def chain_close(ours, theirs):
    """The tolerance that the official code itself keeps along whole chains."""
    difference = (ours - theirs.reshape(ours.shape)).abs()
    assert difference.mean() < 1e-4 and difference.max() < 1e-2


def shifted(model, z, **options):
    return ShiftedDenoiser(model, DIFFUSION, ((z, 1.0),), **options)


def test_semantic_encoder(model, oracle):
    close(model.encoder(oracle["in_x0"]), oracle["z"], 2e-5)


@pytest.mark.parametrize("t", [0, 250, 999])
def test_networks_on_shared_features(model, oracle, t):
    times = torch.full((2,), t)
    x_t = SCHEDULE.add_noise(oracle["in_x0"], oracle["in_noise"], times)
    close(x_t, oracle[f"x_t{t}"], 1e-6)
    eps, gradient = model(x_t, times, oracle["z"])
    close(eps, oracle[f"eps_t{t}"], 2e-5)
    close(gradient, oracle[f"grad_t{t}"], 2e-5)


def test_schedule(oracle):
    close(SCHEDULE.alpha_bars[:-2], oracle["sched_alphas_cumprod"], 1e-6)
    t = torch.arange(1000)
    close(loss_weight("pdae", SCHEDULE, t, gamma=0.1), oracle["sched_weight"], 1e-5)


def test_posterior_shift_factor(oracle):
    close(DIFFUSION.posterior_factor(torch.arange(1000)), oracle["sched_shift_coef"].abs(), 1e-6)


@pytest.mark.parametrize("steps", [5, 10, 20, 50, 100, 200, 500])
def test_official_index_grid(oracle, steps):
    assert spaced_timesteps(SCHEDULE, steps, "pdae") == oracle[f"map_ddim{steps}"].tolist()


def test_every_state_of_inversion(model, oracle):
    levels = spaced_timesteps(SCHEDULE, 10, "pdae")
    theirs = oracle["traj_encode_ddim10"]
    denoiser = shifted(model, oracle["z"][:1])
    for i in range(10):  # step by step: the filled networks are ill-conditioned along the chain
        ours = ddim_invert(denoiser, theirs[i][None], SCHEDULE, levels[i : i + 2], clip_x0=True)
        close(ours[0], theirs[i + 1], 1e-4)


def test_sampling_from_fixed_noise(model, oracle):
    levels = spaced_timesteps(SCHEDULE, 10, "pdae")
    ours = ddim(shifted(model, oracle["z"]), oracle["in_xT"], SCHEDULE, levels, clip_x0=True)
    close(ours, oracle["sample_ddim10_from_xT"], 1e-4)


def test_unguided_tail(model, oracle):
    levels = spaced_timesteps(SCHEDULE, 10, "pdae")
    # No G where (i - 1) < int(0.3 N), i counting levels: below the level of index 4.
    denoiser = shifted(model, oracle["z"], unguided_below=levels[4])
    ours = ddim(denoiser, oracle["in_xT"], SCHEDULE, levels, clip_x0=True)
    close(ours, oracle["sample_ddim10_stop0.3"], 1e-4)


def test_encode_then_decode(model, oracle):
    levels = spaced_timesteps(SCHEDULE, 10, "pdae")
    denoiser = shifted(model, oracle["z"])
    x_T = ddim_invert(denoiser, oracle["in_x0"], SCHEDULE, levels, clip_x0=True)
    assert (x_T - oracle["xT_ddim10"]).abs().mean() < 1e-4
    decoded = ddim(denoiser, oracle["xT_ddim10"], SCHEDULE, levels, clip_x0=True)
    chain_close(decoded, oracle["rec_ddim10"])


def test_plain_unet_sampling(oracle):
    levels = spaced_timesteps(SCHEDULE, 5, "pdae")
    denoiser = UNetDenoiser(filled_unet().requires_grad_(False), DIFFUSION)
    sample = ddim(denoiser, oracle["in_xT"], SCHEDULE, levels, clip_x0=True)
    close(sample, oracle["unet_ddim5_sample"], 1e-4)


def test_interpolation(model, oracle):
    a, b = oracle["xT_ddim10"]
    close(slerp(a, b, 0.3), oracle["slerp_0.3"].reshape(a.shape), 1e-5)
    levels = spaced_timesteps(SCHEDULE, 5, "pdae")
    z_a, z_b = oracle["z"][:1], oracle["z"][1:]
    close(torch.lerp(z_a, z_b, 0.3), oracle["lerp_z_0.3"].reshape(z_a.shape), 1e-6)
    x_T = slerp(a, b, 0.3)[None]
    by_code = shifted(model, torch.lerp(z_a, z_b, 0.3))
    ours = ddim(by_code, x_T, SCHEDULE, levels, clip_x0=True)
    chain_close(ours, oracle["interp_z_ddim5"])
    by_trajectory = ShiftedDenoiser(model, DIFFUSION, ((z_a, 0.7), (z_b, 0.3)))
    ours = ddim(by_trajectory, x_T, SCHEDULE, levels, clip_x0=True)
    chain_close(ours, oracle["interp_traj_ddim5_0.3"])


def test_one_step_predictions(oracle):
    unet = filled_unet().requires_grad_(False)
    t = torch.tensor([400, 800])
    x_t = SCHEDULE.add_noise(oracle["in_x0"], oracle["in_noise"], t)
    eps = unet(x_t, t)
    ours = torch.cat(
        [
            predict_x0(x_t[i : i + 1], eps[i : i + 1], float(SCHEDULE.alpha_bar(int(t[i]))))
            for i in (0, 1)
        ]
    )
    close(ours.clamp(-1, 1), oracle["denoise1_pred_x0"].clamp(-1, 1), 1e-4)


def test_ddpm_step_without_noise_is_the_posterior_mean(model, oracle):
    x, t = oracle["x_t250"], torch.full((2,), 250)
    denoiser = shifted(model, oracle["z"], posterior=True)
    mean, variance, _ = ddpm_posterior(x, denoiser(x, t), SCHEDULE, 250)
    eps, gradient = model(x, t, oracle["z"])
    beta, alpha_bar = float(SCHEDULE.betas[250]), float(SCHEDULE.alpha_bar(250))
    # PDAE Alg. 2, written out
    expected = (x - beta / (1 - alpha_bar) ** 0.5 * eps) / (1 - beta) ** 0.5 + variance * gradient
    close(mean, expected, 1e-5)


def test_three_optimizer_steps():
    oracle = arrays("pdae_tiny32_train3")
    model = filled_pdae().freeze_unet()
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
    frozen = filled_pdae().unet.decoder.conv_out.weight
    assert torch.equal(model.unet.decoder.conv_out.weight, frozen)
