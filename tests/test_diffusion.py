"""Processes, weightings and solvers against formulas, and a Gaussian whose ODE is known."""

import math
from itertools import pairwise

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pdae_app.diffusion.denoisers import Mix, slerp
from pdae_app.diffusion.grids import jumping, spaced_levels
from pdae_app.diffusion.inversion import exact_states, mixed
from pdae_app.diffusion.posterior import posterior, posterior_shift
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.process import CLEAN, LearnedLogSNR, LinearLogSNR, expand
from pdae_app.diffusion.schedule import Schedule, constant_betas
from pdae_app.diffusion.solvers import (
    ancestral_states,
    ddim,
    ddim_invert,
    ddim_states,
    dpm_solver_states,
)
from pdae_app.diffusion.variance import (
    log_variance,
    posterior_log_variance,
    variational_bound,
)
from pdae_app.diffusion.weighting import WEIGHTINGS, loss_weight
from pdae_app.families import family
from pdae_app.typed_config import ConfigError, build
from tests.tiny import tiny_pdae

SCHEDULE = Schedule("linear", 1000)
PROCESSES = pytest.mark.parametrize(
    "process",
    [SCHEDULE, LinearLogSNR(), LinearLogSNR(least=-0.02, most=1.1, encoded=True)],
    ids=["table", "linear", "encoded"],
)
MEAN, STD = 0.3, 0.4


def gaussian(process):
    """The exact eps for N(m, c^2): sigma (x - alpha m) / (alpha^2 c^2 + sigma^2)."""

    def denoiser(x, t):
        alpha, sigma = expand(process.alpha(t), x), expand(process.sigma(t), x)
        return sigma * (x - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2)

    return denoiser


def exact_flow(process, x, t_from, t_to):
    """The probability-flow ODE of a Gaussian keeps (x - mean_t) / std_t."""

    def moments(t):
        alpha, sigma = process.alpha(t), process.sigma(t)
        return alpha * MEAN, (alpha**2 * STD**2 + sigma**2) ** 0.5

    (mean_a, std_a), (mean_b, std_b) = moments(t_from), moments(t_to)
    return mean_b + std_b * (x - mean_a) / std_a


def ddim_error(process, steps, invert):
    torch.manual_seed(0)
    x = torch.randn(4, 1, 4, 4, dtype=torch.float64)
    levels = spaced_levels(process, steps)
    first, last = levels[0], levels[-1]
    if invert:
        x = MEAN + STD * x
        ours, exact = (
            ddim_invert(gaussian(process), x, process, levels),
            exact_flow(process, x, first, last),
        )
    else:
        ours, exact = (
            ddim(gaussian(process), x, process, levels),
            exact_flow(process, x, last, first),
        )
    return float((ours - exact).abs().mean())


@PROCESSES
@pytest.mark.parametrize("invert", [False, True])
def test_ddim_converges_to_the_exact_flow(process, invert):
    errors = [ddim_error(process, steps, invert) for steps in (50, 100, 200)]
    assert errors[2] < 0.02
    for coarse, fine in pairwise(errors):
        assert 1.5 < coarse / fine < 2.6  # first order


@PROCESSES
def test_ancestral_samples_have_the_data_moments(process):
    x_T = torch.randn(4000, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    levels = spaced_levels(process, 999)[::-1]
    *_, last = ancestral_states(gaussian(process), x_T, process, levels, generator=generator)
    assert abs(float(last.x.mean()) - MEAN) < 0.03 and abs(float(last.x.std()) - STD) < 0.03


@PROCESSES
def test_alpha_sigma_and_the_log_snr_agree(process):
    t = torch.tensor([process.least, process.at(0.3), process.most])
    alpha, sigma = process.alpha(t), process.sigma(t)
    kept, added = process.of_v(t)
    torch.testing.assert_close(kept**2 + added**2, torch.ones(3).double())
    torch.testing.assert_close(added, sigma)
    torch.testing.assert_close(process.log_snr(t), 2 * (alpha / sigma).log())
    numbers = torch.tensor([process.alpha(value) for value in t.tolist()]).double()
    torch.testing.assert_close(numbers, alpha, atol=1e-7, rtol=0)
    assert (process.alpha(CLEAN), process.sigma(CLEAN)) == (1, 0)
    assert process.log_snr(CLEAN) == math.inf
    assert process.asked(CLEAN, t).tolist() == pytest.approx([process.least] * 3)
    x_0, eps = torch.randn(2, 3, 1, 1, 1).double()
    x_t = process.noised(x_0, eps, t)
    torch.testing.assert_close(process.predict_x0(x_t, eps, t), x_0)
    torch.testing.assert_close(process.predict_eps(x_t, x_0, t), eps)
    found = process.nearest_times(process.log_snr(t))
    torch.testing.assert_close(found.double(), t.double(), atol=1e-6, rtol=0)


def test_real_times_lie_between_the_tables():
    t = torch.tensor([-1.0, 0.0, 10.0, 10.5, 11.0, 999.0])
    alpha = SCHEDULE.alpha(t)
    torch.testing.assert_close(alpha[[0, 1, 2, 4, 5]], SCHEDULE.alpha(t[[0, 1, 2, 4, 5]].long()))
    between = (SCHEDULE.log_snr(10) + SCHEDULE.log_snr(11)) / 2
    assert SCHEDULE.log_snr(10.5) == pytest.approx(between)
    assert float(alpha[3]) == pytest.approx(SCHEDULE.alpha(10.5))


def test_the_linear_log_snr_and_its_learned_ends():
    process, t = LinearLogSNR(), torch.tensor([0.0, 0.5, 1.0])
    gamma = torch.tensor([-13.3, -4.15, 5.0])
    assert torch.allclose(process.log_snr(t), -gamma.double(), atol=1e-5)
    assert torch.allclose(process.sigma(t).square(), gamma.double().sigmoid(), atol=1e-6)
    assert (process.log_snr_rate(t) == 18.3).all()
    learned = LearnedLogSNR()
    torch.testing.assert_close(learned().alpha(t), process.alpha(t))
    learned().sigma(t).sum().backward()
    assert learned.gamma_0.grad > 0 and learned.slope.grad > 0
    assert learned.learned().gamma_1 == pytest.approx(5.0)


@PROCESSES
def test_the_posterior_is_bayes_rule(process):
    """q(x_s | x_t, x_0) is proportional to q(x_t | x_s) q(x_s | x_0)."""
    t, s = process.at(0.6), process.at(0.5)
    a = process.alpha(t) / process.alpha(s)
    forward = process.sigma(t) ** 2 - a**2 * process.sigma(s) ** 2
    precision = a**2 / forward + process.sigma(s) ** -2
    q = posterior(process, t, s)
    assert q.variance == pytest.approx(1 / precision)
    assert q.from_xt == pytest.approx(a / forward / precision)
    assert q.from_x0 == pytest.approx(process.alpha(s) / process.sigma(s) ** 2 / precision)
    last = posterior(process, process.least, CLEAN)
    assert (last.from_x0, last.from_xt, last.variance) == (1, 0, 0)


def test_the_shift_moves_the_posterior_by_its_variance():
    t = torch.tensor([1, 40, 900])
    q, gradient = posterior(SCHEDULE, t, t - 1), 0.7
    moved = q.from_x0 * SCHEDULE.sigma(t) / SCHEDULE.alpha(t) * posterior_shift(SCHEDULE, t)
    torch.testing.assert_close(moved * gradient, q.variance * gradient)
    linear, t = LinearLogSNR(), torch.tensor([0.2, 0.9])
    torch.testing.assert_close(posterior_shift(linear, t), linear.sigma(t))


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
def test_schedules_fall_from_image_to_noise(kind):
    schedule = Schedule(kind)
    alpha_bars = schedule.alpha_bars[:-2]
    assert schedule.alpha_bar(CLEAN) == 1 and (alpha_bars.diff() < 0).all()
    assert alpha_bars[0] > 0.99 and alpha_bars[-1] < 1e-3
    assert schedule.snr(500) == pytest.approx(float(alpha_bars[500] / (1 - alpha_bars[500])))


def test_schedule_formulas():
    assert torch.allclose(Schedule().betas[[0, -1]], torch.tensor([1e-4, 0.02]).double())
    assert (constant_betas(5) == 0.008).all()
    cosine = Schedule("cosine").alpha_bars
    angle = (500 / 1000 + 0.008) / 1.008 * math.pi / 2
    start = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert math.isclose(float(cosine[499]), math.cos(angle) ** 2 / start, rel_tol=1e-9)
    with pytest.raises(ValueError, match="known: linear"):
        Schedule("cosinus")


def test_a_configured_process_is_known_by_its_keys():
    assert build(Diffusion, {"schedule": {"kind": "cosine"}}).schedule == Schedule("cosine")
    linear = build(Diffusion, {"schedule": {"gamma_1": 4}}).schedule
    assert linear == LinearLogSNR(gamma_1=4.0)
    with pytest.raises(ConfigError, match="did you mean 'gamma_1'"):
        build(Diffusion, {"schedule": {"gamma_0": 4.0, "gama_1": 1.0}})


def test_jumping_leaves_out_the_lowest_levels():
    assert jumping([CLEAN, 30, 90, 400], 80) == [CLEAN, 90, 400]
    assert jumping([400, 90, 30, CLEAN], 80) == [400, 90, CLEAN]
    assert jumping([0, 30, 400], 0) == [0, 30, 400]


def test_grids():
    assert spaced_levels(SCHEDULE, 4) == [-1, 249, 499, 749, 999]
    assert spaced_levels(SCHEDULE, 3, "pdae") == [0, 333, 666, 999]
    for steps in (0, 1000):
        with pytest.raises(ValueError, match="between 1 and 999"):
            spaced_levels(SCHEDULE, steps)
    linear = LinearLogSNR()
    assert spaced_levels(linear, 3) == spaced_levels(linear, 3, "log_snr") == [CLEAN, 0, 0.5, 1]
    with pytest.raises(ValueError, match="whole timesteps"):
        spaced_levels(linear, 3, "pdae")
    with pytest.raises(ValueError, match="known: clean"):
        spaced_levels(linear, 3, "even")


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
        drawn = loss_weight(name, LinearLogSNR(), LinearLogSNR().drawn_times(50, "cpu"))
        assert drawn.isfinite().all() and (drawn > 0).all()
    with pytest.raises(ValueError, match="known: constant"):
        loss_weight("p3", SCHEDULE, t)


@PROCESSES
@pytest.mark.parametrize("prediction", ["eps", "v", "x0", "residual"])
def test_every_prediction_gives_back_the_noise(process, prediction):
    """The output that a perfect network would give is turned into exactly the noise in x_t."""
    diffusion = Diffusion(process, prediction, skip_sigma=0.2)
    x_0, noise = torch.randn(6, 3, 4, 4).double(), torch.randn(6, 3, 4, 4).double()
    t = torch.tensor([process.least, *map(process.at, (0.05, 0.3, 0.5, 0.7)), process.most])
    x_t = process.noised(x_0, noise, t)
    a, s = expand(process.alpha(t), x_t), expand(process.sigma(t), x_t)
    sigma2, kept = (s / a) ** 2, expand(process.of_v(t)[0], x_t)
    skip = 0.04 / (sigma2 + 0.04)
    c_out = ((1 - skip) ** 2 * 0.25 + skip**2 * sigma2).sqrt()
    perfect = {
        "eps": noise,
        "v": kept * noise - s * (a / kept) * x_0,  # of the encoded picture, where there is one
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
    a, s = expand(SCHEDULE.alpha(t), eps), expand(SCHEDULE.sigma(t), eps)
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
    networks, z = family(model, Diffusion(schedule)), torch.randn(1, 8)
    levels, x = spaced_levels(schedule, 10), torch.randn(1, 3, 16, 16)
    plain = ddim(networks.unconditional(), x, schedule, levels)
    assert torch.equal(ddim(networks.denoiser(z, 0.0), x, schedule, levels), plain)
    assert model.shift.calls == 0
    ddim(networks.denoiser(z, unguided_below=levels[4]), x, schedule, levels)
    assert model.shift.calls == 7
    before = model.unet.encoder.calls
    ddim(networks.denoiser(Mix(((z, 0.5), (-z, 0.5)))), x, schedule, levels)
    assert model.unet.encoder.calls - before == 10  # two shifts, one frozen pass a step


def test_clamp_bounds_x0():
    x = 5 * torch.randn(1, 1, 4, 4)
    levels = spaced_levels(SCHEDULE, 5)
    for state in ddim_states(gaussian(SCHEDULE), x, SCHEDULE, levels[::-1], clip_x0=True):
        assert state.x0_hat.abs().max() <= 1


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
    x_t = schedule.noised(x_0, noise, t)
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
    x_t = schedule.noised(torch.full_like(levels, 0.2), noise, t)
    bits = variational_bound(schedule, levels, x_t, t, noise, torch.ones_like(levels))
    assert (2**-bits).sum() == pytest.approx(1, abs=1e-6)


def test_ddpm_takes_the_learned_variance():
    """A Gaussian of mean 0: with the posterior's variance learned, samples have its spread."""
    schedule = Schedule("linear", 100)

    class Gaussian:
        def __call__(self, x, t):
            alpha, sigma = expand(schedule.alpha(t), x), expand(schedule.sigma(t), x)
            return sigma * x / (1 - 0.75 * alpha**2)

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
        *_, last = ancestral_states(
            Gaussian(),
            x_T,
            schedule,
            [*reversed(range(100)), CLEAN],
            generator=generator,
            learned_variance=learned,
        )
        spread[learned] = float(last.x.var())
    assert spread[True] == pytest.approx(0.25, rel=0.05)
    assert spread[False] < spread[True]


@PROCESSES
@pytest.mark.parametrize("steps, iterations, largest", [(10, 8, 1e-5), (20, 5, 1e-5)])
def test_exact_inversion_leads_back(process, steps, iterations, largest):
    """The image comes back through the same few steps, which plain inversion fails to do."""
    x_0 = torch.randn(3, 1, 4, 4, dtype=torch.float64) * STD + MEAN
    levels, denoiser = spaced_levels(process, steps), gaussian(process)
    inverted = exact_states(denoiser, x_0, process, levels, iterations=iterations, tolerance=1e-7)
    *_, last = inverted
    back = ddim(denoiser, last.x, process, levels)
    plain = ddim_invert(denoiser, x_0, process, levels)
    assert (back - x_0).abs().max() < largest
    assert (ddim(denoiser, plain, process, levels) - x_0).abs().max() > 100 * largest
    assert last.evaluations <= steps * iterations
    assert last.residuals.square().mean().sqrt() < largest


def test_residuals_make_any_inversion_exact():
    """With one evaluation a step nothing is solved; what is left is kept and added again."""
    x_0 = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    levels, denoiser = spaced_levels(SCHEDULE, 7), gaussian(SCHEDULE)
    *_, last = exact_states(denoiser, x_0, SCHEDULE, levels, iterations=1)
    *_, end = ddim_states(denoiser, last.x, SCHEDULE, levels[::-1], residuals=last.residuals)
    assert last.evaluations == 7 and last.residuals.square().mean().sqrt() > 1e-3
    assert torch.allclose(end.x, x_0, atol=1e-10)


@PROCESSES
def test_residuals_are_exact_in_float32_however_rough_the_network(process):
    """VDM's Fourier features of 2^8 pi x, here in a denoiser, blow rounding up at every step."""

    def rough(x, t):
        return 0.5 * x + 0.003 * torch.sin(2**8 * torch.pi * x)

    x_0 = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    levels = spaced_levels(process, 20)
    *_, last = exact_states(rough, x_0, process, levels)
    *_, end = ddim_states(rough, last.x, process, levels[::-1], residuals=last.residuals)
    assert torch.equal(end.x, x_0)


def test_a_step_that_does_not_contract_keeps_its_best():
    """A denoiser that swings wildly: the report says so, and the result stays finite."""

    def wild(x, t):
        return 5 * torch.sin(40 * x)

    x_0 = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    *_, last = exact_states(wild, x_0, SCHEDULE, spaced_levels(SCHEDULE, 10), iterations=6)
    assert last.x.isfinite().all() and last.residuals.square().mean().sqrt() > 1e-3
    assert last.evaluations == 60


def test_what_is_found_does_not_depend_on_batch_mates():
    """A picture that is solved at once, and two that swing: together as each alone."""

    def denoiser(x, t):
        return torch.where(x[:, :, :1, :1] > 0, 0.1 * x, 3 * torch.sin(9 * x))

    x_0 = torch.randn(3, 1, 4, 4, dtype=torch.float64)
    x_0[0, 0, 0, 0], x_0[1:, 0, 0, 0] = 1.0, -1.0
    levels = spaced_levels(SCHEDULE, 6)

    def inverted(pictures):
        *_, last = exact_states(denoiser, pictures, SCHEDULE, levels, iterations=7)
        return last

    together, alone = inverted(x_0), [inverted(picture[None]) for picture in x_0]
    assert torch.allclose(together.x, torch.cat([last.x for last in alone]), atol=1e-9)
    residuals = torch.cat([last.residuals for last in alone], dim=1)
    assert torch.allclose(together.residuals, residuals, atol=1e-9)


class OnMPS(torch.Tensor):
    """A tensor that says it lies on MPS, where there is no float64."""

    device = property(lambda self: torch.device("mps"))

    def double(self):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def test_mixing_needs_no_float64_of_the_device():
    images, updates = torch.randn(2, 3, 1, 4, 4).unbind(0), torch.randn(2, 3, 1, 4, 4).unbind(0)
    used = torch.ones(3, 2, dtype=torch.bool)
    there = mixed(list(images), [update.as_subclass(OnMPS) for update in updates], used)
    torch.testing.assert_close(there.as_subclass(torch.Tensor), mixed(images, updates, used))


class Copies(TorchDispatchMode):
    """Counts what is copied from one device or type to another."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._to_copy.default
        return function(*args, **kwargs or {})


def test_the_table_is_copied_to_a_device_once():
    schedule = Schedule("linear", 100)
    t = torch.zeros(3, dtype=torch.long, device="meta")
    schedule.snr(t), schedule.beta(t), schedule.log_snr(t.float())
    with Copies() as copies:
        schedule.snr(t), schedule.beta(t)
    assert copies.count == 0


@PROCESSES
def test_the_order_of_the_solvers(process):
    """Halving the steps' length halves DDIM's error and quarters DPM-Solver++(2M)'s."""
    x_T = torch.randn(4, 1, 2, 2, dtype=torch.float64) * 2
    end = spaced_levels(process, 1000 // 2, "log_snr")[1:]  # without the last step to CLEAN
    truth = exact_flow(process, x_T, end[-1], end[0])

    def error(solver, steps):
        levels = spaced_levels(process, steps, "log_snr")[1:]
        *_, last = solver(gaussian(process), x_T, process, levels[::-1])
        return float((last.x - truth).abs().max())

    for solver, order in ((ddim_states, 1), (dpm_solver_states, 2)):
        coarse, fine = error(solver, 33), error(solver, 65)
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.35), solver.__name__
    assert error(dpm_solver_states, 17) < error(ddim_states, 17) / 5


def test_the_log_snr_grid_is_even_and_takes_every_timestep_once():
    levels = spaced_levels(SCHEDULE, 12, "log_snr")
    assert levels[0] == CLEAN and levels[1] == 0 and levels[-1] == 999 and len(levels) == 13
    gaps = SCHEDULE.snr(torch.tensor(levels[1:])).log().diff().abs()
    assert gaps[3:].std() < 0.1 * gaps[3:].mean()  # near t = 0 whole timesteps are too coarse
    for steps in (1, 2, 100, 999):
        levels = spaced_levels(SCHEDULE, steps, "log_snr")
        assert len(levels) == steps + 1 and all(a < b for a, b in pairwise(levels))
