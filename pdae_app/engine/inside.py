"""What the model does inside: one-step pictures, the gap, the shift, variations (as PDAE shows)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from pdae_app.bundle import Bundle
from pdae_app.diffusion.heat import TIMES, coloured, heat_maps
from pdae_app.diffusion.posterior import step_posterior
from pdae_app.diffusion.process import Process, Time
from pdae_app.diffusion.variational import noised_with_truth
from pdae_app.diffusion.weighting import WEIGHTINGS, loss_weight
from pdae_app.engine.code import Code
from pdae_app.engine.editor import Editor
from pdae_app.engine.pictures import to_image, to_tensor
from pdae_app.engine.quality import FAST

# Timesteps of the one-step pictures, and noise maps of the variations.
MOMENTS, NOISES = 8, 6
# Of the networks, for both: each moment once with and once without the code.
EVALUATIONS = 2 * MOMENTS + NOISES * FAST


@dataclass(frozen=True)
class OneStep:
    """x0_hat from a noised picture in one step, the frozen model alone and with the shift.

    `shift` shows what the shift changes, grey where nothing, scaled to its own largest value.
    The gaps are || mu(x_t, x_0) - mu(x_t, x0_hat) ||^2 a number of the state, a pixel's colour
    where states are pictures (PDAE, Fig. 5 right).
    """

    t: Time
    noised: Image.Image
    without: Image.Image
    shifted: Image.Image
    shift: Image.Image
    gap_without: float
    gap_shifted: float


def one_step(
    editor: Editor, square: Image.Image, code: Code, count: int = MOMENTS, seed: int = 0
) -> Iterator[OneStep]:
    """One-step pictures of a square at `count` timesteps from little noise to much (Fig. 5, 13)."""
    sampler, process = editor.sampler, editor.bundle.process
    _, x_0 = sampler.read(to_tensor(square, editor.bundle.first_stage.picture_channels))
    noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(seed)).to(editor.device)
    z = code.z[None].to(editor.device)
    for t in map(process.at, np.linspace(0.05, 0.95, count).tolist()):
        with torch.inference_mode():
            x_t, truth = noised_with_truth(process, x_0, noise, t, editor.bundle.variational)
            times = process.asked(t, x_0)
            pictures = [
                process.predict_x0(x_t, sampler.denoiser(z, scale)(x_t, times), t)
                for scale in (0.0, 1.0)
            ]
        from_x0 = step_posterior(process, t).from_x0
        gaps = [from_x0**2 * float((p - truth).square().mean()) for p in pictures]
        with torch.inference_mode():
            noised, *found = editor.bundle.first_stage.decode(torch.cat([x_t, *pictures]))
        shift = found[1] - found[0]
        shift = shift / shift.abs().max().clamp(min=1e-6)
        yield OneStep(t, *map(to_image, (noised, *found, shift)), *gaps)


@dataclass(frozen=True)
class Variations:
    """Pictures of one z under drawn x_T, and what they share and do not."""

    pictures: list[Image.Image]
    mean: Image.Image
    deviation: Image.Image


def variations(
    editor: Editor, code: Code, count: int = NOISES, steps: int = FAST, seed: int = 0
) -> Variations:
    """What z alone holds: its pictures under `count` noise maps (PDAE, Fig. 6).

    `deviation` is the standard deviation over them, scaled to its own largest value.
    """
    generator = torch.Generator().manual_seed(seed)
    pictures = []
    for _ in range(count):
        x_T = torch.randn(editor.sampler.shape, generator=generator)
        drawn = replace(code, x_T=x_T, inversion=None)
        pictures.append(editor.render_drawn(drawn, steps, unguided=0.0))
    pixels = np.stack([np.asarray(picture, np.float32) for picture in pictures])
    deviation = pixels.std(axis=0)
    scaled = 255 * deviation / max(float(deviation.max()), 1e-6)
    mean = pixels.mean(axis=0)
    return Variations(
        pictures, *(Image.fromarray(p.round().astype(np.uint8)) for p in (mean, scaled))
    )


def encodes(bundle: Bundle) -> bool:
    """Whether the frozen model encodes pictures before it noises them (DiffEnc)."""
    return bundle.variational is not None and bundle.variational.encoding.counters


def encoding_maps(editor: Editor, square: Image.Image) -> list[tuple[float, Image.Image]]:
    """Where the encoder of a DiffEnc model moves a square, by time (DiffEnc, Fig. 2).

    Raises:
        ValueError: the model encodes nothing.
    """
    variational = editor.bundle.variational
    _, x = editor.sampler.read(to_tensor(square, editor.bundle.first_stage.picture_channels))
    maps = coloured(heat_maps(variational, x.to(variational.dtype)))[0]
    return [(t, to_image(2 * part - 1)) for t, part in zip(TIMES, maps, strict=True)]


def weighting_curves(process: Process, points: int = 100) -> list[dict]:
    """Rows {t, weighting, weight} of the loss weightings relative to the variational bound's.

    Each is divided by its largest value (PDAE, Fig. 4).
    """
    parts = torch.linspace(0, 1, points + 1).tolist()[1:]
    t = torch.tensor([min(process.at(part), process.most) for part in parts])
    rows, bound = [], loss_weight("variational", process, t)
    for name in WEIGHTINGS:
        weight = loss_weight(name, process, t) / bound
        weight = weight / weight.max()
        rows += [
            {"t": at.item(), "weighting": name, "weight": float(value)}
            for at, value in zip(t, weight, strict=True)
        ]
    return rows
