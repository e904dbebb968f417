"""The likelihood of variational models where the answer is known."""

import math

import numpy as np
import pytest
import torch

from pdae_app.diffusion.depth_loss import depth_loss
from pdae_app.diffusion.encoding import LearnedEncoding
from pdae_app.diffusion.heat import coloured, heat_maps
from pdae_app.diffusion.likelihood import (
    bits_per_dimension,
    decoded,
    low_discrepancy_times,
    reconstruction_nats,
    scaled,
)
from pdae_app.diffusion.process import expand
from pdae_app.diffusion.variational import VariationalDiffusion
from pdae_app.models.diffenc import MeanEncoderConfig
from pdae_app.models.vdm import VDMConfig, initialise, score_config
from tests.tiny import tiny_vdm

LEVELS = torch.arange(128 - 16, 128 + 16)
STD_IN_LEVELS = 4.0


def level_weights() -> torch.Tensor:
    """A normal distribution on the grid of grey levels."""
    weights = (-((LEVELS - 127.5) / STD_IN_LEVELS).double().square() / 2).exp()
    return weights / weights.sum()


class Optimal(VariationalDiffusion):
    """Predicts the mean of x given z_t for `LEVELS` of these weights, pixel by pixel."""

    def score(self, z_t, log_snr):
        alpha, sigma = (
            expand(log_snr.sigmoid().sqrt(), z_t),
            expand((-log_snr).sigmoid().sqrt(), z_t),
        )
        values = scaled(LEVELS).double()
        logits = -((z_t[..., None] - alpha[..., None] * values) / sigma[..., None]).square() / 2
        x_hat = ((logits + level_weights().log()).softmax(-1) * values).sum(-1)
        if self.config.prediction == "eps":
            return (z_t - alpha * x_hat) / sigma
        return (alpha * z_t - x_hat) / sigma


def optimal(kind: str) -> Optimal:
    unet = score_config(1, 1, base_channels=8, in_channels=1)
    return Optimal(VDMConfig(kind, unet))


@pytest.mark.parametrize("kind", ["vdm", "vdm_v"])
def test_bits_of_the_optimal_network_are_the_entropy(kind):
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    eps, noise_weights = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
    x, eps, both = (
        a.reshape(-1)
        for a in torch.broadcast_tensors(
            LEVELS[:, None], eps[None], level_weights()[:, None] * noise_weights
        )
    )
    x, eps = x.view(-1, 1, 1, 1), eps.view(-1, 1, 1, 1)
    model, count, totals = optimal(kind), 400, 0
    for i in range(count):
        parts = model.losses(x, torch.full((len(x),), (i + 0.5) / count), eps, eps)
        totals = totals + float((both * parts["diffusion"]).sum()) / count
    rest = float((both * (parts["recon"] + parts["latent"])).sum())
    entropy = float(-(level_weights() * level_weights().log2()).sum())
    assert abs((totals + rest) / math.log(2) - entropy) < 1e-3


def test_an_encoder_that_says_nothing_is_the_fixed_one():
    learned, fixed = tiny_vdm("diffenc"), tiny_vdm("diffenc_fixed")
    torch.nn.init.zeros_(learned.networks.encoder.conv_out.weight)
    torch.nn.init.zeros_(learned.networks.encoder.conv_out.bias)
    fixed.networks.unet.load_state_dict(learned.networks.unet.state_dict())
    x, t, eps_0, eps = batch()
    ours, theirs = (model.losses(x, t, eps_0, eps) for model in (learned, fixed))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def batch(count=4, channels=3, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, size, size)
    x = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    t = torch.rand(count, generator=generator)
    return x, t, *(torch.randn(shape, generator=generator) for _ in range(2))


def test_the_derivative_of_the_encoder():
    networks, x = tiny_vdm("diffenc").networks.double(), scaled(batch()[0]).double()
    log_snr, h = torch.tensor([-4.0, 0.5, 3.0, 9.0], dtype=torch.float64), 5e-5
    _, slope = LearnedEncoding(networks.y).y_and_slope(x, log_snr)
    difference = (networks.y(x, log_snr + h) - networks.y(x, log_snr - h)) / (2 * h)
    # Attention computes in float32 on CPUs.
    assert (slope - difference).abs().max() < 1e-3 * slope.abs().max()
    assert slope.abs().max() > 1e-3


def test_low_discrepancy_times_lower_the_variance_of_the_loss():
    model, runs, count = tiny_vdm("vdm_v", size=4), 40, 16
    x, _, _, _ = batch(count, size=4)
    X = scaled(x[:1]).double().expand(count, -1, -1, -1)
    generator = torch.Generator().manual_seed(1)

    def spread(times):
        totals = []
        for _ in range(runs):
            eps = torch.randn(X.shape, generator=generator, dtype=torch.float64)
            totals.append(float(model.diffusion_loss(X, times(), eps).mean()))
        return np.var(totals)

    with torch.no_grad():
        plain = spread(lambda: torch.rand(count, generator=generator))
        even = spread(lambda: low_discrepancy_times(count, torch.rand((), generator=generator)))
    assert even < plain / 2


def test_the_optimal_variance_beats_equal_ones_and_meets_them():
    model = optimal("vdm_v")
    weights = level_weights()
    generator = torch.Generator().manual_seed(0)
    places = torch.multinomial(weights, 256 * 8, replacement=True, generator=generator)
    X = scaled(LEVELS[places]).double().view(256, 1, 2, 4)
    gains = {}
    for steps in (8, 32, 256):
        loss = depth_loss(model, X, steps, torch.Generator().manual_seed(1))
        gains[steps] = (loss.equal - loss.optimal) / loss.equal
    assert gains[8] > 0.1 and gains[8] > gains[32] > gains[256] > 0
    assert gains[256] < 0.05


def test_the_reconstruction_is_the_whole_softmax():
    """Against all 256 levels, for noise from far below to far above their distance."""
    x, _, eps_0, _ = batch()
    X = scaled(x).double()
    values = scaled(torch.arange(256)).double()
    for log_snr_0 in (13.3, 8.0, 2.0, -3.0):
        level = torch.tensor(log_snr_0, dtype=torch.float64)
        ours = reconstruction_nats(x, X, eps_0.double(), level)
        x_0_hat = X + (-level / 2).exp() * eps_0.double()
        logits = -(x_0_hat[..., None] - values).square() * level.exp() / 2
        whole = -logits.log_softmax(-1).gather(-1, x[..., None].long())
        assert torch.allclose(ours, whole.flatten(1).sum(1), rtol=1e-9)


def test_decoding_gives_pictures_back():
    x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    z_0 = scaled(x) * torch.tensor(13.3).sigmoid().sqrt()
    assert torch.equal(decoded(z_0, 13.3), x)


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (lambda x: x.float() / 127.5 - 1, "whole numbers from 0 to 255, got -1"),
        (lambda x: x.float() + 0.5, "8-bit"),
        (lambda x: x.float() * math.nan, "NaN"),
    ],
)
def test_pictures_that_are_not_of_8_bits_are_refused(spoilt, message):
    x, t, eps_0, eps = batch()
    with pytest.raises(ValueError, match=message):
        tiny_vdm("vdm_v").losses(spoilt(x), t, eps_0, eps)


def test_half_precision_keeps_the_digits_of_the_loss():
    """The networks in bfloat16; the terms around them are not."""
    model, given = tiny_vdm("diffenc"), batch()
    with torch.no_grad():
        exact = model.losses(*given)
        with torch.autocast("cpu", torch.bfloat16):
            half = model.losses(*given)
    for name, nats in exact.items():
        assert torch.allclose(nats, half[name], rtol=1e-2), name
    assert torch.allclose(exact["recon"], half["recon"], rtol=1e-4)
    bits = bits_per_dimension(exact["diffusion"] - half["diffusion"], given[0].shape[1:])
    assert bits.abs().max() > 0


def test_crossing_end_points_are_refused():
    with pytest.raises(ValueError, match="must lie below"):
        VDMConfig("vdm", score_config(8, 1, 8), gamma_0=5.0, gamma_1=-13.3)
    with pytest.raises(ValueError, match="needs encoder"):
        VDMConfig("diffenc", score_config(8, 1, 8))
    with pytest.raises(ValueError, match="halved"):
        MeanEncoderConfig(12, levels=3)


def test_first_weights():
    """A fresh network returns its input; a fresh encoder nothing; and weights have the variance."""
    torch.manual_seed(0)
    config = VDMConfig("diffenc", score_config(8, 1, 64), MeanEncoderConfig(8))
    networks = initialise(VariationalDiffusion(config)).networks
    z, levels = torch.randn(2, 3, 8, 8), torch.tensor([-1.0, 3.0])
    with torch.no_grad():
        assert torch.equal(networks.score(z, levels), z)
        assert not networks.y(z, levels).any()
    up = networks.encoder.up[0].conv.weight
    assert math.isclose(float(up.var().detach()), 1 / (up.shape[0] * 4), rel_tol=0.05)
    assert up.abs().max() <= 2.28 * (up.shape[0] * 4) ** -0.5


def test_heat_maps_to_look_at():
    X = scaled(batch()[0])
    fixed = tiny_vdm("diffenc_fixed")
    maps = heat_maps(fixed, X, (0.4, 1.0))
    variances = [fixed.process.sigma(t) ** 2 for t in (0.3, 0.4, 0.9, 1.0)]
    assert torch.allclose(maps[:, 1], -(variances[3] - variances[2]) * X.sum(1) / 0.1, atol=1e-4)
    colours = coloured(maps)
    assert colours.shape == (4, 2, 3, 8, 8) and colours.min() >= 0 and colours.max() <= 1
    largest = maps.abs().amax(dim=(1, 2, 3))
    strongest = colours.amin(dim=2).amin(dim=(1, 2, 3))
    assert (strongest < 1e-6).all() and (largest > 0).all()
    assert torch.equal(coloured(torch.zeros(1, 1, 2, 2)), torch.ones(1, 1, 3, 2, 2))
    with pytest.raises(ValueError, match="plain VDM"):
        heat_maps(tiny_vdm("vdm_v"), X)
