"""Schedules, weightings and solvers against formulas, and a Gaussian whose ODE is known."""

import math
from itertools import pairwise

import pytest
import torch

from pdae_app.diffusion.denoisers import ShiftedDenoiser, UNetDenoiser, slerp
from pdae_app.diffusion.inversion import exact_states
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.schedule import (
    CLEAN,
    Schedule,
    constant_betas,
    jumping,
    spaced_timesteps,
)
from pdae_app.diffusion.solvers import (
    ddim,
    ddim_invert,
    ddim_states,
    ddpm,
    dpm_solver_states,
    predict_x0,
)
from pdae_app.diffusion.variance import (
    log_variance,
    posterior_log_variance,
    variational_bound,
)
from pdae_app.diffusion.weighting import WEIGHTINGS, loss_weight
from tests.tiny import tiny_pdae

SCHEDULE = Schedule("linear", 1000)
MEAN, STD = 0.3, 0.4


def gaussian_denoiser(x, t):
    """The exact eps for N(m, c^2): sqrt(1 - abar) (x - sqrt(abar) m) / (abar c^2 + 1 - abar)."""
    alpha_bar = SCHEDULE.alpha_bar(t, like=x)
    variance = alpha_bar * STD**2 + 1 - alpha_bar
    return (1 - alpha_bar).sqrt() * (x - alpha_bar.sqrt() * MEAN) / variance


def exact_flow(x, t_from, t_to):
    """The probability-flow ODE of a Gaussian keeps (x - mean_t) / std_t."""

    def moments(t):
        alpha_bar = float(SCHEDULE.alpha_bar(t))
        return alpha_bar**0.5 * MEAN, (alpha_bar * STD**2 + 1 - alpha_bar) ** 0.5

    (mean_a, std_a), (mean_b, std_b) = moments(t_from), moments(t_to)
    return mean_b + std_b * (x - mean_a) / std_a


def ddim_error(steps, invert):
    torch.manual_seed(0)
    x = torch.randn(4, 1, 4, 4, dtype=torch.float64)
    levels = spaced_timesteps(SCHEDULE, steps)
    if invert:
        x = MEAN + STD * x
        ours, exact = ddim_invert(gaussian_denoiser, x, SCHEDULE, levels), exact_flow(x, CLEAN, 999)
    else:
        ours, exact = ddim(gaussian_denoiser, x, SCHEDULE, levels), exact_flow(x, 999, CLEAN)
    return float((ours - exact).abs().mean())


@pytest.mark.parametrize("invert", [False, True])
def test_ddim_converges_to_the_exact_flow(invert):
    errors = [ddim_error(steps, invert) for steps in (50, 100, 200)]
    assert errors[2] < 0.02
    for coarse, fine in pairwise(errors):
        assert 1.5 < coarse / fine < 2.6  # first order


def test_ddpm_samples_have_the_data_moments():
    schedule_steps = []
    x_T = torch.randn(4000, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    samples = ddpm(
        gaussian_denoiser,
        x_T,
        SCHEDULE,
        torch.Generator().manual_seed(1),
        callback=lambda state: schedule_steps.append(state["t"]),
    )
    assert abs(float(samples.mean()) - MEAN) < 0.03 and abs(float(samples.std()) - STD) < 0.03
    assert schedule_steps == list(range(999, -1, -1))


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
def test_schedules_fall_from_image_to_noise(kind):
    schedule = Schedule(kind)
    alpha_bars = schedule.alpha_bars[:-2]
    assert schedule.alpha_bar(CLEAN) == 1 and (alpha_bars.diff() < 0).all()
    assert alpha_bars[0] > 0.99 and alpha_bars[-1] < 1e-3
    assert torch.allclose(schedule.snr(500), alpha_bars[500] / (1 - alpha_bars[500]))


def test_schedule_formulas():
    assert torch.allclose(Schedule().betas[[0, -1]], torch.tensor([1e-4, 0.02]).double())
    assert (constant_betas(5) == 0.008).all()
    cosine = Schedule("cosine").alpha_bars
    angle = (500 / 1000 + 0.008) / 1.008 * math.pi / 2
    start = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert math.isclose(float(cosine[499]), math.cos(angle) ** 2 / start, rel_tol=1e-9)
    with pytest.raises(ValueError, match="known: linear"):
        Schedule("cosinus")


def test_jumping_leaves_out_the_lowest_levels():
    assert jumping([CLEAN, 30, 90, 400], 80) == [CLEAN, 90, 400]
    assert jumping([400, 90, 30, CLEAN], 80) == [400, 90, CLEAN]
    assert jumping([0, 30, 400], 0) == [0, 30, 400]


def test_grids():
    assert spaced_timesteps(SCHEDULE, 4) == [-1, 249, 499, 749, 999]
    assert spaced_timesteps(SCHEDULE, 3, "pdae") == [0, 333, 666, 999]
    for steps in (0, 1000):
        with pytest.raises(ValueError, match="between 1 and 999"):
            spaced_timesteps(SCHEDULE, steps)


def test_weightings_by_hand():
    t = torch.tensor([10, 500, 990])
    snr = SCHEDULE.snr(t)
    assert (loss_weight("constant", SCHEDULE, t) == 1).all()
    ours = loss_weight("pdae", SCHEDULE, t, gamma=0.1)
    assert torch.allclose(ours, snr**0.1 / (1 + snr))
    assert torch.allclose(loss_weight("p2", SCHEDULE, t, gamma=2.0, k=3.0), (3 + snr) ** -2)
    assert torch.allclose(loss_weight("velocity", SCHEDULE, t), 1 + 1 / snr)
    for name in WEIGHTINGS:
        every = loss_weight(name, SCHEDULE, torch.arange(1000))
        assert every.isfinite().all() and (every > 0).all()
    with pytest.raises(ValueError, match="known: constant"):
        loss_weight("p3", SCHEDULE, t)


@pytest.mark.parametrize("prediction", ["eps", "v", "x0", "residual"])
def test_every_prediction_gives_back_the_noise(prediction):
    """The output that a perfect network would give is turned into exactly the noise in x_t."""
    diffusion = Diffusion(SCHEDULE, prediction, skip_sigma=0.2)
    x_0, noise = torch.randn(6, 3, 4, 4).double(), torch.randn(6, 3, 4, 4).double()
    t = torch.tensor([0, 5, 50, 300, 700, 999])
    x_t = SCHEDULE.add_noise(x_0, noise, t)
    alpha_bar = SCHEDULE.alpha_bar(t, like=x_t)
    a, s = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    sigma2 = (s / a) ** 2
    skip = 0.04 / (sigma2 + 0.04)
    c_out = ((1 - skip) ** 2 * 0.25 + skip**2 * sigma2).sqrt()
    perfect = {
        "eps": noise,
        "v": a * noise - s * x_0,
        "x0": x_0,
        "residual": (x_0 - skip * x_t / a) / c_out,
    }[prediction]
    torch.testing.assert_close(diffusion.eps(perfect, x_t, t), noise, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", ["G", "v", "x0"])
def test_every_shift_moves_x0_by_its_formula(kind):
    """x0_hat moves by (1 - abar) / sqrt(abar) G, whatever the network's output stands for."""
    diffusion = Diffusion(SCHEDULE, shift=kind)
    t, eps = torch.tensor([1, 400, 999]), torch.randn(3, 3, 4, 4).double()
    output, x_t = torch.randn_like(eps), torch.randn_like(eps)
    alpha_bar = SCHEDULE.alpha_bar(t, like=eps)
    a, s = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    moved = diffusion.shifted_eps(eps, output, t, scale=0.7)
    x0_change = (x_t - s * moved) / a - (x_t - s * eps) / a
    effect = {"G": s * s / a * output, "v": s * output, "x0": output}[kind]
    torch.testing.assert_close(x0_change, 0.7 * effect)


def test_unknown_predictions_are_errors():
    with pytest.raises(ValueError, match="known: eps"):
        Diffusion(prediction="noise")
    with pytest.raises(ValueError, match="known: G"):
        Diffusion(shift="H")


class Counting(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, *args, **kwargs):
        self.calls += 1
        return self.inner(*args, **kwargs)


def test_unguided_steps_never_run_the_shift():
    model = tiny_pdae()
    model.shift = Counting(model.shift)
    model.unet.encoder = Counting(model.unet.encoder)
    schedule = Schedule("linear", 100)
    diffusion, z = Diffusion(schedule), torch.randn(1, 8)
    levels, x = spaced_timesteps(schedule, 10), torch.randn(1, 3, 16, 16)
    plain = ddim(UNetDenoiser(model.unet, diffusion), x, schedule, levels)
    assert torch.equal(
        ddim(ShiftedDenoiser(model, diffusion, ((z, 1.0),), 0.0), x, schedule, levels), plain
    )
    assert model.shift.calls == 0
    ddim(ShiftedDenoiser(model, diffusion, ((z, 1.0),), 1.0, levels[4]), x, schedule, levels)
    assert model.shift.calls == 7
    before = model.unet.encoder.calls
    ddim(ShiftedDenoiser(model, diffusion, ((z, 0.5), (-z, 0.5))), x, schedule, levels)
    assert model.unet.encoder.calls - before == 10  # two shifts, one frozen pass a step


def test_callback_sees_every_step_and_can_stop():
    seen = []

    def callback(state):
        seen.append(state["step"])
        x0_hat = predict_x0(state["x"], torch.zeros_like(state["x"]), 1.0)
        assert state["x0_hat"].shape == x0_hat.shape
        if state["step"] == 3:
            raise KeyboardInterrupt

    x = torch.randn(1, 1, 2, 2)
    with pytest.raises(KeyboardInterrupt):
        ddim(gaussian_denoiser, x, SCHEDULE, spaced_timesteps(SCHEDULE, 8), callback=callback)
    assert seen == [1, 2, 3]


def test_clamp_bounds_x0():
    x = 5 * torch.randn(1, 1, 4, 4)
    levels = spaced_timesteps(SCHEDULE, 5)
    for state in ddim_states(gaussian_denoiser, x, SCHEDULE, levels[::-1], clip_x0=True):
        assert state["x0_hat"].abs().max() <= 1


def test_slerp_ends_norm_and_degenerate_arcs():
    a, b = torch.randn(3, 8, 8), torch.randn(3, 8, 8)
    b = b * a.norm() / b.norm()
    assert torch.equal(slerp(a, b, 0), a) and torch.equal(slerp(a, b, 1), b)
    assert torch.isclose(slerp(a, b, 0.4).norm(), a.norm(), rtol=1e-4)
    for other in (a, -a, torch.zeros_like(a)):
        assert slerp(a, other, 0.5).isfinite().all()
    torch.testing.assert_close(slerp(a, a, 0.3), a)


def test_the_variational_bound_is_zero_at_the_true_posterior():
    """Nichol & Dhariwal 2021, Eq. 5 and 15: the true noise and the least variance leave no gap."""
    schedule = Schedule("cosine", 200)
    x_0 = torch.rand(6, 3, 4, 4, dtype=torch.float64) * 2 - 1
    noise = torch.randn_like(x_0)
    t = torch.tensor([1, 2, 10, 60, 150, 199])
    x_t = schedule.add_noise(x_0, noise, t)
    least, largest = torch.full_like(x_0, -1.0), torch.full_like(x_0, 1.0)
    assert variational_bound(schedule, x_0, x_t, t, noise, least).abs().max() < 1e-9
    assert (variational_bound(schedule, x_0, x_t, t, noise, largest)[1:-1] > 0).all()
    assert torch.allclose(log_variance(largest, schedule, t)[:, 0, 0, 0], schedule.beta(t).log())


def test_the_last_step_is_the_likelihood_of_grey_levels():
    """At t = 0 all 256 levels together have probability one."""
    schedule = Schedule("linear", 100)
    levels = (torch.arange(256, dtype=torch.float64) / 127.5 - 1).view(256, 1, 1, 1)
    noise = torch.zeros_like(levels)
    t = torch.zeros(256, dtype=torch.long)
    # The same x_t for every level, so that the model's distribution is one and the same.
    x_t = schedule.add_noise(torch.full_like(levels, 0.2), noise, t)
    bits = variational_bound(schedule, levels, x_t, t, noise, torch.ones_like(levels))
    assert (2**-bits).sum() == pytest.approx(1, abs=1e-6)


def test_ddpm_takes_the_learned_variance():
    """A Gaussian of mean 0: with the posterior's variance learned, samples have its spread."""
    schedule = Schedule("linear", 100)

    class Gaussian:
        def __call__(self, x, t):
            alpha_bar = schedule.alpha_bar(t, like=x)
            return (1 - alpha_bar).sqrt() * x / (1 - 0.75 * alpha_bar)

        def with_variance(self, x, t):
            """The variance of p(x_{t-1} | x_t), which lies between beta~ and beta."""
            beta, alpha_bar = schedule.beta(t), schedule.alpha_bar(t)
            previous = schedule.alpha_bar(t - 1)
            before, now = 1 - 0.75 * previous, 1 - 0.75 * alpha_bar
            true = before - before.square() * (1 - beta) / now
            least = posterior_log_variance(schedule, t)
            fraction = (true.log() - least) / (beta.log() - least)
            return self(x, t), (2 * fraction - 1).view(-1, 1, 1, 1).expand_as(x)

    spread = {}
    for learned in (True, False):
        generator = torch.Generator().manual_seed(0)
        x_T = torch.randn(2000, 1, 2, 2, generator=generator, dtype=torch.float64)
        x_0 = ddpm(Gaussian(), x_T, schedule, generator, learned_variance=learned)
        spread[learned] = float(x_0.var())
    assert spread[True] == pytest.approx(0.25, rel=0.05)
    assert spread[False] < spread[True]


@pytest.mark.parametrize("steps, iterations, largest", [(10, 8, 1e-5), (20, 5, 1e-5)])
def test_exact_inversion_leads_back(steps, iterations, largest):
    """The image comes back through the same few steps, which plain inversion fails to do."""
    x_0 = torch.randn(3, 1, 4, 4, dtype=torch.float64) * STD + MEAN
    levels = spaced_timesteps(SCHEDULE, steps)
    *_, last = exact_states(gaussian_denoiser, x_0, SCHEDULE, levels, iterations, 1e-7)
    back = ddim(gaussian_denoiser, last["x"], SCHEDULE, levels)
    plain = ddim_invert(gaussian_denoiser, x_0, SCHEDULE, levels)
    assert (back - x_0).abs().max() < largest
    assert (ddim(gaussian_denoiser, plain, SCHEDULE, levels) - x_0).abs().max() > 100 * largest
    assert last["solved"].evaluations <= steps * iterations
    assert last["solved"].error < largest


def test_residuals_make_any_inversion_exact():
    """With one evaluation a step nothing is solved; what is left is kept and added again."""
    x_0 = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    levels = spaced_timesteps(SCHEDULE, 7)
    *_, last = exact_states(gaussian_denoiser, x_0, SCHEDULE, levels, iterations=1)
    solved = last["solved"]
    states = ddim_states(
        gaussian_denoiser, last["x"], SCHEDULE, levels[::-1], residuals=solved.residuals
    )
    *_, end = states
    assert solved.evaluations == 7 and solved.error > 1e-3
    assert torch.allclose(end["x"], x_0, atol=1e-10)


def test_a_step_that_does_not_contract_keeps_its_best():
    """A denoiser that swings wildly: the report says so, and the result stays finite."""

    def wild(x, t):
        return 5 * torch.sin(40 * x)

    x_0 = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    levels = spaced_timesteps(SCHEDULE, 10)
    *_, last = exact_states(wild, x_0, SCHEDULE, levels, iterations=6)
    assert last["x"].isfinite().all() and last["solved"].error > 1e-3
    assert last["solved"].evaluations == 60


def test_the_order_of_the_solvers():
    """Halving the steps' length halves DDIM's error and quarters DPM-Solver++(2M)'s."""
    x_T = torch.randn(4, 1, 2, 2, dtype=torch.float64) * 2
    end = spaced_timesteps(SCHEDULE, 1000 // 2, "log_snr")[1:]  # without the last step to CLEAN
    truth = exact_flow(x_T, end[-1], end[0])

    def error(solver, steps):
        levels = spaced_timesteps(SCHEDULE, steps, "log_snr")[1:]
        *_, last = solver(gaussian_denoiser, x_T, SCHEDULE, levels[::-1])
        return float((last["x"] - truth).abs().max())

    for solver, order in ((ddim_states, 1), (dpm_solver_states, 2)):
        coarse, fine = error(solver, 33), error(solver, 65)
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.35), solver.__name__
    assert error(dpm_solver_states, 17) < error(ddim_states, 17) / 5


def test_the_log_snr_grid_is_even_and_takes_every_timestep_once():
    levels = spaced_timesteps(SCHEDULE, 12, "log_snr")
    assert levels[0] == CLEAN and levels[1] == 0 and levels[-1] == 999 and len(levels) == 13
    gaps = SCHEDULE.snr(torch.tensor(levels[1:])).log().diff().abs()
    assert gaps[3:].std() < 0.1 * gaps[3:].mean()  # near t = 0 whole timesteps are too coarse
    for steps in (1, 2, 100, 999):
        levels = spaced_timesteps(SCHEDULE, steps, "log_snr")
        assert len(levels) == steps + 1 and all(a < b for a, b in pairwise(levels))
