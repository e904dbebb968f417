"""DiffEnc's Section 3 against numbers that were computed apart from any network (theory.*)."""

import math

import pytest
import torch

from pdae_app.diffusion.finite_depth import Step, best_ratio, step_error, step_nats
from pdae_app.diffusion.likelihood import diffusion_nats, v_residual
from pdae_app.diffusion.process import LinearLogSNR
from tests.vdm_oracle import arrays, difference

PROCESS = LinearLogSNR()
D = 6


def theory(name):
    return arrays()[f"theory.{name}"]


X, Z = theory("X"), theory("z")
S, T = theory("s_t").tolist()


def level(t):
    return torch.tensor(PROCESS.log_snr(float(t)), dtype=torch.float64)


def encoded(kind, log_snr):
    """x_t and dx_t / dlambda of the toy encoders."""
    variance, wave = (-log_snr).sigmoid(), torch.tanh(0.7 * X + 0.1 * log_snr)
    if kind == "vdm":
        return X, 0 * X
    if kind == "nt":
        x_t = (1 - variance) * X
        return x_t, variance * x_t
    x_t = (1 - variance) * X + variance * wave
    return x_t, variance * (x_t - wave + 0.1 * (1 - wave.square()))


def predicted(kind, log_snr):
    x_t = encoded(kind, log_snr)[0]
    return x_t - (-log_snr).sigmoid() * (0.3 * x_t - 0.1)


def means(kind, t, s):
    step = Step(level(t), level(s))
    (x_t, _), (x_s, _) = encoded(kind, level(t)), encoded(kind, level(s))
    posterior = step.posterior_mean(Z, x_t, x_s)
    return step, posterior, step.generative_mean(Z, predicted(kind, level(t)), kind != "vdm")


def error_of(kind, t, s):
    step, posterior, generative = means(kind, t, s)
    return step_error(generative[None], posterior[None], step.variance)


kinds = pytest.mark.parametrize("kind", ["vdm", "nt", "denc"])


@kinds
def test_one_step(kind):
    step, posterior, generative = means(kind, T, S)
    assert difference(posterior, theory(f"{kind}.mu_Q")) < 1e-8
    assert difference(generative, theory(f"{kind}.mu_P")) < 1e-8
    assert difference(step.variance, theory(f"{kind}.var_Q")) < 1e-8
    error = error_of(kind, T, S)
    ratios = [1 / p for p in (0.5, 0.8, 1, 1.25, 2)]
    nats = torch.cat([step_nats(error, D, ratio) for ratio in ratios])
    assert difference(nats, theory(f"{kind}.kl_varP_over_varQ_.5_.8_1_1.25_2")) < 1e-8
    best = best_ratio(error, D)
    assert difference(step.variance / best, theory(f"{kind}.var_P_opt")) < 1e-8
    assert difference(step_nats(error, D, best), theory(f"{kind}.kl_opt")) < 1e-8
    assert difference(encoded(kind, level(T))[1], theory(f"{kind}.dx_dlambda_t")) < 1e-8


@kinds
def test_sums_over_finite_depths(kind):
    rows = []
    for steps in theory("L_T_Ts").tolist():
        errors = [error_of(kind, i / steps, (i - 1) / steps) for i in range(1, steps + 1)]
        ways = (lambda e: 1.0, lambda e: best_ratio(e, D), lambda e: 0.8)
        rows.append([sum(float(step_nats(e, D, way(e))) for e in errors) for way in ways])
    for name, column in zip(
        ("L_T", "L_T_opt_var", "L_T_w0.8"), zip(*rows, strict=True), strict=True
    ):
        assert (
            difference(torch.tensor(column, dtype=torch.float64), theory(f"{kind}.{name}")) < 1e-8
        )


@kinds
def test_the_continuous_loss_is_the_limit(kind):
    """Our form in v, integrated over t, against the reference's."""
    count = 4000
    t = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    total = 0.0
    for part in t.split(1000):
        log_snr = PROCESS.log_snr(part)
        nats = torch.stack([continuous(kind, value) for value in log_snr])
        total += float(nats.sum()) / count
    assert difference(torch.tensor(total), theory(f"{kind}.L_inf")) < 1e-6


def continuous(kind, log_snr):
    alpha, sigma = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
    (x_t, slope), x_hat = encoded(kind, log_snr), predicted(kind, log_snr)
    eps = torch.ones(D, dtype=torch.float64)
    z_t = alpha * x_t + sigma * eps
    v, v_hat = alpha * eps - sigma * x_t, (alpha * z_t - x_hat) / sigma
    residual, many = v - v_hat, log_snr[None]
    if kind != "vdm":
        residual = v_residual(*(a[None] for a in (v, v_hat, z_t, slope / sigma**2)), many)[0]
    rate = PROCESS.log_snr_rate(torch.zeros(1))
    return diffusion_nats(residual[None], many, rate)[0]


@kinds
def test_a_step_is_the_differential_equation_s(kind):
    """Euler-Maruyama of the generative SDE: the mean to O(h^2), the variance's ratio to O(h)."""
    gaps = []
    for h in (1e-3, 5e-4):
        step, _, generative = means(kind, T, T - h)
        log_snr, rate = level(T), 18.3
        sigma2, alpha = (-log_snr).sigmoid(), log_snr.sigmoid().sqrt()
        x_hat = predicted(kind, log_snr)
        moved = 1 + (sigma2 if kind != "vdm" else 0)
        drift = (1 - sigma2 / 2) * rate * Z - alpha * rate * moved * x_hat
        gaps.append(float((generative - (Z - h * drift)).abs().max()))
        assert abs(float(step.variance / (sigma2 * rate * h)) - 1) < 30 * h
    assert math.isclose(gaps[0] / gaps[1], 4, rel_tol=0.1)
