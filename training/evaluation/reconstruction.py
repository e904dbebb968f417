"""How well codes hold photographs, and how much of the posterior-mean gap the shift fills."""

from dataclasses import dataclass

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor
from tqdm import tqdm

from pdae_app.diffusion.grids import jumping, spaced_levels
from pdae_app.diffusion.posterior import posterior
from pdae_app.diffusion.process import Process, Time
from pdae_app.diffusion.solvers import ddim, ddim_invert
from pdae_app.engine import Editor


@dataclass(frozen=True)
class Coded:
    """Pictures (N, C, S, S) in [-1, 1], their states (N, C', S', S') and codes z (N, D)."""

    editor: Editor
    pictures: Tensor
    states: Tensor
    z: Tensor
    batch_size: int = 48

    @property
    def process(self) -> Process:
        """The model's."""
        return self.editor.bundle.process

    def batched(self, what: str, run, *tensors: Tensor) -> Tensor:
        """What `run` makes of the tensors, piece by piece."""
        batches = zip(*(tensor.split(self.batch_size) for tensor in tensors), strict=True)
        return torch.cat([run(*b) for b in tqdm(list(batches), desc=what, leave=False)])

    def denoiser(self, z: Tensor, scale: float = 1.0):
        """Eps in float32 under the codes z (N, D)."""
        return self.editor.sampler.exact.denoiser(z, scale)

    def inverted(self, steps: int) -> Tensor:
        """x_T (N, C', S', S') by plain DDIM inversion (PDAE, Eq. 8)."""
        levels = spaced_levels(self.process, steps)
        return self.batched(
            "inverting",
            lambda x, z: ddim_invert(self.denoiser(z), x, self.process, levels),
            self.states,
            self.z,
        )

    def decoded(self, x_T: Tensor, steps: int, floor: int = 0) -> Tensor:
        """Pictures (N, C, S, S) made from x_T; for `floor` see `jumping`."""
        levels = jumping(spaced_levels(self.process, steps), floor)
        decode = self.editor.bundle.first_stage.decode
        return self.batched(
            "decoding",
            lambda z, x: decode(ddim(self.denoiser(z), x, self.process, levels)),
            self.z,
            x_T,
        )


@torch.inference_mode()
def coded(editor: Editor, pictures: Tensor) -> Coded:
    """Pictures (N, C, S, S) in [-1, 1] with their states and codes."""
    read = [editor.sampler.read(part) for part in pictures.split(48)]
    z, states = (torch.cat(parts) for parts in zip(*read, strict=True))
    return Coded(editor, pictures, states, z)


@torch.inference_mode()
def reconstruction(subject: Coded, steps: int) -> dict[str, dict]:
    """MSE and SSIM with inferred and with random x_T, and of the first stage alone."""
    x_T, floor = subject.inverted(steps), subject.editor.bundle.floor
    random = torch.randn(x_T.shape, generator=torch.Generator().manual_seed(0))
    ways = {"inferred x_T": (x_T, 0), "random x_T": (random, 0)}
    if floor:
        ways[f"random x_T, last step from t = {floor}"] = (random, floor)
    figures = {
        way: compare(subject.decoded(noise, steps, to), subject.pictures)
        for way, (noise, to) in ways.items()
    }
    figures["inferred x_T"]["x_T std"] = float(x_T.std())
    if subject.editor.bundle.first_stage.factor > 1:
        decode = subject.editor.bundle.first_stage.decode
        there_and_back = subject.batched("first stage", decode, subject.states)
        figures["first stage alone"] = compare(there_and_back, subject.pictures)
    return figures


def compare(decoded: Tensor, pictures: Tensor) -> dict[str, float]:
    """MSE and SSIM (window 11, sigma 1.5) on [0, 1], means over pictures (N, C, S, S)."""
    a, b = (((x.clamp(-1, 1) + 1) / 2).numpy() for x in (decoded, pictures))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = [
        structural_similarity(p, q, channel_axis=0, data_range=1.0, **options)
        for p, q in zip(a, b, strict=True)
    ]
    return {"MSE": float(np.mean((a - b) ** 2)), "SSIM": float(np.mean(ssim))}


@torch.inference_mode()
def gap(subject: Coded) -> list[dict[str, float]]:
    """The posterior-mean gap per number of a state, without and with G (PDAE, Fig. 5).

    The gap is || mu(x_t, x_0) - mu(x_t, x0_hat) ||^2 at ten timesteps: the mean's error from
    x0_hat's, with normal noise in x_t. "filled" is the part of it that the shift removes.
    """
    rows, generator = [], torch.Generator().manual_seed(0)
    for t in (subject.process.at((place + 0.5) / 10) for place in range(10)):
        noise = torch.randn(subject.states.shape, generator=generator)
        x_t = subject.process.noised(subject.states, noise, t)
        without, shifted = (_mean_error(subject, x_t, t, scale) for scale in (0.0, 1.0))
        filled = 1 - shifted / without
        rows.append({"t": t, "without": without, "with": shifted, "filled": filled})
    return rows


def _mean_error(subject: Coded, x_t: Tensor, t: Time, scale: float) -> float:
    """The mean squared error of the posterior's mean under so strong a shift."""
    process = subject.process

    def x0_error(x: Tensor, z: Tensor, x_0: Tensor) -> Tensor:
        eps = subject.denoiser(z, scale)(x, process.asked(t, x))
        return process.predict_x0(x, eps, t) - x_0

    error = subject.batched(f"gap at {t}", x0_error, x_t, subject.z, subject.states)
    from_x0 = posterior(process, t, process.previous(t)).from_x0
    return from_x0**2 * float(error.square().mean())
