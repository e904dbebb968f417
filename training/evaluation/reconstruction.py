"""How well codes hold photographs, and how much of the posterior-mean gap the shift fills."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pdae_app.diffusion.posterior import step_posterior
from pdae_app.diffusion.process import Time
from training.evaluation.distances import similarity, squared_error
from training.evaluation.model import Decoding, Model


@dataclass(frozen=True)
class Coded:
    """Pictures (N, C, S, S) in [-1, 1], their states (N, C', S', S') and codes z (N, D)."""

    model: Model
    pictures: Tensor
    states: Tensor
    z: Tensor


def coded(model: Model, pictures: Tensor, z: Tensor | None = None) -> Coded:
    """Pictures (N, C, S, S) in [-1, 1] with their states and codes, or with the codes z (N, D)."""
    z = model.codes(pictures) if z is None else z
    return Coded(model, pictures, model.states(pictures), z)


def reconstruction(subject: Coded, steps: int) -> dict[str, dict]:
    """MSE and SSIM with inferred and with random x_T, and of the first stage alone."""
    model = subject.model
    plain, floor = Decoding(model.stepping("clean"), steps), model.bundle.floor
    x_T = model.inverted(subject.states, subject.z, plain.stepping, steps)
    random = torch.randn(x_T.shape, generator=torch.Generator().manual_seed(0))
    decodings = {"inferred x_T": (x_T, plain), "random x_T": (random, plain)}
    temperature = model.bundle.drawing.temperature
    if temperature != 1:
        decodings[f"random x_T of temperature {temperature:g}"] = (temperature * random, plain)
    if floor:
        jumping = Decoding(plain.stepping, steps, drawn=True)
        decodings[f"random x_T, last step from t = {floor}"] = (random, jumping)
    figures = {
        name: compare(model.decoded(subject.z, noise, how), subject.pictures)
        for name, (noise, how) in decodings.items()
    }
    figures["inferred x_T"]["x_T std"] = float(x_T.std())
    if model.latent:
        there_and_back = model.pictures(subject.states)
        figures["first stage alone"] = compare(there_and_back, subject.pictures)
    return figures


def compare(decoded: Tensor, pictures: Tensor) -> dict[str, float]:
    """MSE and SSIM (window 11, sigma 1.5) on [0, 1], means over pictures (N, C, S, S)."""
    return {
        "MSE": float(squared_error(decoded, pictures).mean()),
        "SSIM": float(similarity(decoded, pictures).mean()),
    }


def gap(subject: Coded) -> list[dict[str, float]]:
    """The posterior-mean gap per number of a state, without and with G (PDAE, Fig. 5).

    The gap is || mu(x_t, x_0) - mu(x_t, x0_hat) ||^2 at ten timesteps: the mean's error from
    x0_hat's, with normal noise in x_t. "filled" is the part of it that the shift removes.
    """
    return [
        {"t": t, "without": float(without.mean()), "with": float(shifted.mean())}
        | {"filled": 1 - float(shifted.mean() / without.mean())}
        for t, without, shifted in gaps(subject)
    ]


def gaps(subject: Coded) -> Iterator[tuple[Time, Tensor, Tensor]]:
    """Timesteps, and the gap (N,) of every picture there, without and with the shift."""
    generator = torch.Generator().manual_seed(0)
    for t in (subject.model.process.at((place + 0.5) / 10) for place in range(10)):
        noise = torch.randn(subject.states.shape, generator=generator)
        noised = subject.model.noised(subject.states, noise, t)
        yield t, *(_errors(subject, noised, t, scale) for scale in (0.0, 1.0))


def _errors(subject: Coded, noised: tuple[Tensor, Tensor], t: Time, scale: float) -> Tensor:
    """The mean squared error (N,) of the posterior's mean under so strong a shift."""
    x_t, truth = noised
    process = subject.model.process
    error = predicted(subject, x_t, t, scale) - truth
    from_x0 = step_posterior(process, t).from_x0
    return from_x0**2 * error.flatten(1).square().mean(dim=1)


def predicted(subject: Coded, x_t: Tensor, t: Time, scale: float) -> Tensor:
    """x0_hat (N, C', S', S') of one step from x_t."""
    model = subject.model

    def x0_hat(x: Tensor, z: Tensor) -> Tensor:
        eps = model.denoiser(z, scale)(x, model.process.asked(t, x))
        return model.process.predict_x0(x, eps, t)

    return model.batched(f"one step from {t}", x0_hat, x_t, subject.z)
