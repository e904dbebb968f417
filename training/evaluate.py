"""Measure a bundle on held-out people: reconstruction, the posterior-mean gap, edits. Writes JSON.

    python training/evaluate.py --config training/configs/faces64/evaluate.yaml

The contact sheets that it draws show people of the test split: to be looked at, not shared.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor
from torchvision.utils import save_image
from tqdm import tqdm

from pdae_app.bundle import Bundle, load_bundle
from pdae_app.diffusion.denoisers import ShiftedDenoiser
from pdae_app.diffusion.schedule import jumping, spaced_timesteps
from pdae_app.diffusion.solvers import ddim, ddim_invert, predict_x0
from training.config import parse
from training.data import DataConfig, load_pictures, plain_squares
from training.loop import run_script
from training.pixel_classifier import ClassifierConfig, aurocs, train_classifier

JUDGED = ("Smiling", "Eyeglasses", "Male", "Gray_Hair", "Young")
SHEET_FACES = 10
SHEET_VALUES = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)


@dataclass(frozen=True)
class EvaluateConfig:
    """Everything that `evaluate.py` takes. `limit` takes the first test pictures only."""

    model: str
    out: str
    data: DataConfig
    test_split: str = "test"
    steps: int = 100
    edit_steps: int = 25
    limit: int | None = None
    sheets: bool = True
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)


class Evaluation:
    """A bundle with the test squares; each method measures one thing."""

    def __init__(self, bundle: Bundle, squares: Tensor, batch_size: int = 48):
        self.bundle, self.squares, self.batch_size = bundle, squares, batch_size
        self.schedule = bundle.diffusion.schedule
        self.z = torch.cat([bundle.model.encoder(x) for x in squares.split(batch_size)])

    def _batched(self, what: str, run, *tensors: Tensor) -> Tensor:
        batches = zip(*(tensor.split(self.batch_size) for tensor in tensors), strict=True)
        return torch.cat([run(*b) for b in tqdm(list(batches), desc=what, leave=False)])

    def _denoiser(self, z: Tensor) -> ShiftedDenoiser:
        return ShiftedDenoiser(self.bundle.model, self.bundle.diffusion, ((z, 1.0),))

    def invert(self, steps: int) -> Tensor:
        """x_T of every test square by plain DDIM inversion."""
        levels = spaced_timesteps(self.schedule, steps)
        return self._batched(
            "inverting",
            lambda x, z: ddim_invert(self._denoiser(z), x, self.schedule, levels),
            self.squares,
            self.z,
        )

    def decode(self, z: Tensor, x_T: Tensor, steps: int, floor: int = 0) -> Tensor:
        """Pictures of codes; for `floor` see `jumping`."""
        levels = jumping(spaced_timesteps(self.schedule, steps), floor)
        return self._batched(
            "decoding", lambda z, x: ddim(self._denoiser(z), x, self.schedule, levels), z, x_T
        )

    def gap(self) -> list[dict[str, float]]:
        """The posterior-mean gap per pixel with and without G at ten timesteps (PDAE, Fig. 5).

        The gap is || mu(x_t, x_0) - mu(x_t, x0_hat) ||^2: the mean's error from x0_hat's, with
        normal noise in x_t. "filled" is the part of it that the shift removes.
        """
        rows, generator = [], torch.Generator().manual_seed(0)
        for t in np.linspace(50, self.schedule.timesteps - 50, 10).astype(int).tolist():
            noise = torch.randn(self.squares.shape, generator=generator)
            x_t = self.schedule.add_noise(self.squares, noise, torch.full((len(noise),), t))
            errors = [self._mean_error(x_t, t, scale) for scale in (0.0, 1.0)]
            rows.append(
                {
                    "t": t,
                    "without": errors[0],
                    "with": errors[1],
                    "filled": 1 - errors[1] / errors[0],
                }
            )
        return rows

    def _mean_error(self, x_t: Tensor, t: int, scale: float) -> float:
        def x0_error(x, z, x_0):
            denoiser = replace(self._denoiser(z), scale=scale)
            eps = denoiser(x, torch.full((len(x),), t))
            return predict_x0(x, eps, float(self.schedule.alpha_bar(t))) - x_0

        error = self._batched(f"gap at {t}", x0_error, x_t, self.z, self.squares)
        alpha_bar, previous = (float(self.schedule.alpha_bar(i)) for i in (t, t - 1))
        from_x0 = previous**0.5 * float(self.schedule.betas[t]) / (1 - alpha_bar)
        return from_x0**2 * float(error.square().mean())

    def moved(self, name: str, strength: float) -> Tensor:
        """All codes with one slider set."""
        return torch.stack([self.bundle.latents.move(z, {name: strength}) for z in self.z])

    def edit(self, name: str, strength: float, x_T: Tensor, steps: int) -> Tensor:
        """All test squares with one slider set."""
        return self.decode(self.moved(name, strength)[: len(x_T)], x_T, steps).clamp(-1, 1)


def compare(decoded: Tensor, squares: Tensor) -> dict[str, float]:
    """MSE and SSIM (window 11, sigma 1.5) on [0, 1], means over the pictures."""
    a, b = (((x.clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).numpy() for x in (decoded, squares))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = [
        structural_similarity(p, q, channel_axis=2, data_range=1.0, **options)
        for p, q in zip(a, b, strict=True)
    ]
    return {"MSE": float(np.mean((a - b) ** 2)), "SSIM": float(np.mean(ssim))}


def reconstruction(evaluation: Evaluation, steps: int) -> dict[str, dict]:
    """With inferred and with random x_T."""
    x_T = evaluation.invert(steps)
    random = torch.randn(x_T.shape, generator=torch.Generator().manual_seed(0))
    inferred = evaluation.decode(evaluation.z, x_T, steps)
    drawn, floor = evaluation.decode(evaluation.z, random, steps), evaluation.bundle.floor
    figures = {
        "inferred x_T": compare(inferred, evaluation.squares) | {"x_T std": float(x_T.std())},
        "random x_T": compare(drawn, evaluation.squares),
    }
    if floor:
        jumped = evaluation.decode(evaluation.z, random, steps, floor)
        figures[f"random x_T, last step from t = {floor}"] = compare(jumped, evaluation.squares)
    return figures


def edits(evaluation: Evaluation, judge, names: list[str], x_T: Tensor, steps: int) -> dict:
    """For how many faces the judge's probability rises from slider -1 to +1, and by how much."""
    rows = {}
    for name in JUDGED:
        column = names.index(name)
        low, high = (
            judge(evaluation.edit(name, value, x_T, steps))[:, column].sigmoid()
            for value in (-1.0, 1.0)
        )
        rows[name] = {
            "rises for": float((high > low).float().mean()),
            "mean at -1": float(low.mean()),
            "mean at +1": float(high.mean()),
        }
    return rows


def contact_sheets(evaluation: Evaluation, x_T: Tensor, steps: int, folder: Path) -> None:
    """One sheet an attribute: a test face a row, the original first, then the slider's values."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in evaluation.bundle.latents.names:
        columns = [evaluation.squares[:SHEET_FACES]]
        columns += [evaluation.edit(name, v, x_T[:SHEET_FACES], steps) for v in SHEET_VALUES]
        pictures = torch.stack(columns, dim=1).flatten(0, 1)
        save_image(pictures / 2 + 0.5, folder / f"{name}.png", nrow=len(columns))


def _labels(pictures, names: list[str]) -> Tensor:
    return torch.tensor([[float(row[name]) for name in names] for row in pictures.rows])


@torch.inference_mode()
def measure(config: EvaluateConfig, judge, judged: dict[str, float], test, squares) -> dict:
    """All figures of a bundle."""
    bundle = load_bundle(config.model)
    evaluation = Evaluation(bundle, squares)
    names = bundle.latents.names
    figures = {
        "pictures": len(squares),
        "steps": config.steps,
        "reconstruction": reconstruction(evaluation, config.steps),
        "gap": evaluation.gap(),
        "AUROC of z": {a.name: a.auroc for a in bundle.latents.attributes},
        "AUROC of the judge": judged,
    }
    x_T = evaluation.invert(config.edit_steps)
    figures["edits"] = edits(evaluation, judge, names, x_T, config.edit_steps)
    if config.sheets:
        contact_sheets(evaluation, x_T, config.edit_steps, Path(config.out) / "sheets")
    return figures


def main() -> None:
    """The command line."""
    config = parse(EvaluateConfig, __doc__)
    bundle = load_bundle(config.model)
    size, names = bundle.unet.config.image_size, bundle.latents.names
    train = load_pictures(config.data, size)
    test = load_pictures(replace(config.data, split=config.test_split), size)
    squares = plain_squares(test, size)
    judge = train_classifier(plain_squares(train, size), _labels(train, names), config.classifier)
    judged = aurocs(judge, squares, _labels(test, names), names)
    figures = measure(config, judge, judged, test, squares[: config.limit])
    Path(config.out).mkdir(parents=True, exist_ok=True)
    text = json.dumps(figures, indent=2)
    (Path(config.out) / "figures.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    run_script(main)
