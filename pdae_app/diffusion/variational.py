"""A variational diffusion model: networks, noise schedule and encoding together."""

from dataclasses import asdict, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from pdae_app.diffusion.encoding import (
    Encoding,
    FixedEncoding,
    IdentityEncoding,
    LearnedEncoding,
)
from pdae_app.diffusion.finite_depth import Step
from pdae_app.diffusion.likelihood import (
    check_pixels,
    diffusion_nats,
    latent_nats,
    reconstruction_nats,
    scaled,
    v_residual,
)
from pdae_app.diffusion.process import (
    LearnedLogSNR,
    LinearLogSNR,
    Process,
    Time,
    as_double,
    expand,
)
from pdae_app.models.diffenc import MeanEncoder
from pdae_app.models.unet import UNet
from pdae_app.models.vdm import VDM, VDMConfig


class VariationalDiffusion(nn.Module):
    """VDM or DiffEnc, of any of the four kinds (`VDMConfig`).

    Loss terms are computed in `dtype`, whatever the networks compute in. The official code takes
    float32; then times are taken in float32 too, and its rounding is reproduced.
    """

    def __init__(self, config: VDMConfig, dtype: torch.dtype = torch.float64):
        super().__init__()
        self.config, self.dtype = config, dtype
        self.networks = VDM(config)
        start = LinearLogSNR(config.gamma_0, config.gamma_1)
        self.schedule = LearnedLogSNR(start) if config.learned_schedule else None

    @classmethod
    def around(
        cls, config: VDMConfig, unet: UNet, encoder: MeanEncoder | None, process: LinearLogSNR
    ) -> "VariationalDiffusion":
        """The model of networks that there are; learned ends are those of a `sampling_process`."""
        with torch.device("meta"):
            model = cls(config)
        model.networks.unet, model.networks.encoder = unet, encoder
        if config.learned_schedule:
            ends = (process.gamma(t) for t in (process.least, process.most))
            model.schedule = LearnedLogSNR(LinearLogSNR(*ends))
        return model

    @property
    def settings(self) -> dict:
        """The configuration, but for that of the score network."""
        settings = asdict(self.config)
        del settings["unet"]
        return settings

    @property
    def process(self) -> LinearLogSNR:
        """The noise schedule; gradients reach learned end points."""
        if self.schedule is not None:
            return self.schedule()
        return LinearLogSNR(self.config.gamma_0, self.config.gamma_1)

    @property
    def sampling_process(self) -> LinearLogSNR:
        """The process as solvers and the score network know it; its times are the network's tau.

        The generative model of either DiffEnc takes the encoded picture for alpha^2 X (Eq. 17).
        """
        ends = self.schedule.learned() if self.schedule is not None else self.process
        known = LinearLogSNR(self.config.gamma_0, self.config.gamma_1)
        least, most = (
            (gamma - known.gamma_0) / (known.gamma_1 - known.gamma_0)
            for gamma in (ends.gamma_0, ends.gamma_1)
        )
        return replace(known, least=least, most=most, encoded=self.encoding.counters)

    @cached_property
    def encoding(self) -> Encoding:
        """What is noised."""
        traits = self.config.traits
        if not traits.encodes:
            return IdentityEncoding()
        return LearnedEncoding(self._y) if traits.learned else FixedEncoding()

    def log_snr(self, t: float | Tensor, like: Tensor) -> Tensor:
        """Log SNR at t, () or (N,), in the precision of the loss terms."""
        if not isinstance(t, Tensor):
            t = as_double(torch.tensor(t, dtype=torch.float64)).to(like.device)
        return self.process.log_snr(t).to(self.dtype)

    def losses(self, x: Tensor, t: Tensor, eps_0: Tensor, eps: Tensor) -> dict[str, Tensor]:
        """The three parts of the bound on -log p(x), for each image (N,), in nats.

        Args:
            x: (N, C, H, W), uint8 or whole numbers 0 .. 255.
            t: (N,) in [0, 1], where the diffusion loss is measured.
            eps_0, eps: normal noise like x, of the reconstruction and of the diffusion loss.

        Returns:
            {"recon", "latent", "diffusion"}

        Raises:
            ValueError: x is not of 8 bits, or not finite.
        """
        check_pixels(x)
        X = scaled(x).to(self.dtype)
        log_snr_0, log_snr_1 = self.log_snr(0.0, X), self.log_snr(1.0, X)
        x_0, x_1 = (self.encoding.mean(X, level) for level in (log_snr_0, log_snr_1))
        return {
            "recon": reconstruction_nats(x, x_0, eps_0.to(X), log_snr_0),
            "latent": latent_nats(x_1, log_snr_1),
            "diffusion": self.diffusion_loss(X, t, eps.to(X)),
        }

    def diffusion_loss(self, X: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """The continuous diffusion loss at times t (N,) of scaled pictures X: (N,) nats."""
        log_snr, rate = self.log_snr(t, X), self.process.log_snr_rate(t).to(X)
        x_t, drift = self.encoding.mean_and_drift(X, log_snr)
        z_t = self.noised(x_t, eps, log_snr)
        output = self.score(z_t, log_snr)
        if self.config.prediction == "eps":
            return diffusion_nats(eps - output, log_snr, rate, "eps")
        alpha, sigma = _alpha_sigma(log_snr, X)
        v = alpha * eps - sigma * x_t
        if not self.encoding.counters:
            return diffusion_nats(v - output, log_snr, rate)
        return diffusion_nats(v_residual(v, output, z_t, drift, log_snr), log_snr, rate)

    def noised(self, x_t: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
        """z_t = alpha x_t + sigma eps, of encoded pictures x_t."""
        alpha, sigma = _alpha_sigma(log_snr, x_t)
        return alpha * x_t + sigma * eps

    def score(self, z_t: Tensor, log_snr: Tensor) -> Tensor:
        """What the score network predicts, eps_hat or v_hat, like z_t."""
        return self.networks.score(z_t.float(), log_snr).to(z_t.dtype)

    def _y(self, X: Tensor, log_snr: Tensor) -> Tensor:
        return self.networks.y(X.float(), log_snr).to(X.dtype)

    def x_hat(self, z_t: Tensor, log_snr: Tensor) -> Tensor:
        """The prediction of the encoded picture x_t, like z_t."""
        output, (alpha, sigma) = self.score(z_t, log_snr), _alpha_sigma(log_snr, z_t)
        if self.config.prediction == "eps":
            return (z_t - sigma * output) / alpha
        return alpha * z_t - sigma * output

    def ancestral_step(self, z_t: Tensor, noise: Tensor, t: float, s: float) -> Tensor:
        """z_s of p(z_s | z_t) for s < t (VDM, Eq. 34; DiffEnc, Eq. 17)."""
        log_snr_t, log_snr_s = self.log_snr(t, z_t), self.log_snr(s, z_t)
        step = Step(log_snr_t, log_snr_s)
        x_hat = self.x_hat(z_t, log_snr_t)
        mean = step.generative_mean(z_t, x_hat, self.encoding.counters)
        return mean + step.variance.sqrt() * noise

    def heat_map(self, X: Tensor, t: float, interval: float = 0.1) -> Tensor:
        """How the encoded picture moves: sum over channels of (x_t - x_s) / (t - s) (Fig. 2).

        Args:
            X: (N, C, H, W), scaled pictures.
            t: the later time, s = t - `interval` the earlier.

        Returns:
            (N, H, W), zero for a VDM.
        """
        later, earlier = (
            self.encoding.mean(X, self.log_snr(time, X)) for time in (t, t - interval)
        )
        return (later - earlier).sum(1) / interval


def noised_as_trained(
    process: Process,
    x_0: Tensor,
    noise: Tensor,
    t: Tensor,
    variational: VariationalDiffusion | None = None,
) -> Tensor:
    """What a frozen model was trained on at times t (N,), like x_0.

    Of a variational one, that is the picture as its encoding has it, noised.
    """
    if variational is None:
        return process.noised(x_0, noise, t)
    # Not the log SNR of the process, which may count the encoding in.
    log_snr = -process.gamma(t).to(x_0.dtype)
    return variational.noised(variational.encoding.mean(x_0, log_snr), noise, log_snr)


def noised_with_truth(
    process: Process,
    x_0: Tensor,
    noise: Tensor,
    t: Time,
    variational: VariationalDiffusion | None = None,
) -> tuple[Tensor, Tensor]:
    """What a frozen model was trained on at t, and the x0_hat there that has no gap.

    That is x_0 itself, or x_t / alpha^2 where a learned encoder makes x_t of it (see Eq. 17).
    """
    if variational is None:
        return process.noised(x_0, noise, t), x_0
    times = process.asked(t, x_0)
    z_t = noised_as_trained(process, x_0, noise, times, variational)
    return z_t, process.predict_x0(z_t, noise, t)


def _alpha_sigma(log_snr: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    alpha, sigma = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
    return expand(alpha, like), expand(sigma, like)
