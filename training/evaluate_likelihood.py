"""Bits per dimension of held-out pictures under one or several variational models, side by side.

    python training/evaluate_likelihood.py --config training/configs/digits/likelihood.yaml

Writes `likelihood.json`, `likelihood.md` and `likelihood.svg` to `out`: the bound with its parts
and standard errors over pictures, and the diffusion loss as a function of t.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from pdae_app.bundle import Bundle, load_bundle
from pdae_app.diffusion.variational import VariationalDiffusion
from training.bits import PARTS, Bits, bits_of_pictures
from training.config import parse
from training.loop import run_script
from training.markdown import table
from training.pixels import PixelConfig, held_out_pixels


@dataclass(frozen=True)
class LikelihoodConfig:
    """Everything that `evaluate_likelihood.py` takes.

    `models` are bundles of `train_vdm.py` by the names that the table gives them; runs of several
    seeds are written "name: a,b,c". `data.held_out` is what is measured, `pictures` of it (null:
    all), each with `draws` of noise; noise follows from `seed`. `times` is the number of points at
    which the diffusion loss is drawn.
    """

    models: dict[str, str]
    data: PixelConfig
    out: str
    pictures: int | None = None
    draws: int = 8
    times: int = 11
    seed: int = 0
    batch_size: int = 128


def variational_model(bundle: Bundle) -> VariationalDiffusion:
    """The bundle's variational model.

    Raises:
        ValueError: it has none.
    """
    if bundle.variational is None:
        raise ValueError(
            f"{bundle.folder} has no likelihood: it was trained to denoise pixels in [-1, 1], not "
            "as a model of 256 grey levels; take a bundle of train_vdm.py"
        )
    return bundle.variational


def measure(config: LikelihoodConfig, folder: str, device: str) -> dict:
    """Bits per dimension of one bundle, and its diffusion loss by time."""
    model = variational_model(load_bundle(folder, device))
    unet = model.config.unet
    data = config.data
    if data.held_out is None:
        data = replace(data, held_out=data.split)
    pixels = held_out_pixels(data, unet.image_size, unet.in_channels, config.pictures)
    options = {"seed": config.seed, "batch_size": config.batch_size}
    bits = bits_of_pictures(model, pixels, config.draws, **options)
    curve = {}
    for i in range(config.times):
        t = i / max(1, config.times - 1)
        at_t = bits_of_pictures(model, pixels, draws=1, t=t, **options)
        curve[round(t, 4)] = float(at_t.diffusion.mean())
    return {"pictures": len(pixels), **figures(bits), "diffusion at t": curve}


def figures(bits: Bits) -> dict[str, list[float]]:
    """Mean and standard error over the pictures, of the total and of each part."""
    parts = {"bpd": bits.total} | {name: getattr(bits, name) for name in PARTS}
    return {name: [float(values.mean()), standard_error(values)] for name, values in parts.items()}


def standard_error(values: Tensor) -> float:
    """Of the mean of (N,)."""
    return float(values.std() / len(values) ** 0.5) if len(values) > 1 else 0.0


def over_seeds(runs: list[dict]) -> dict:
    """One row of a model: of several runs the mean and its standard error over the seeds."""
    if len(runs) == 1:
        return runs[0]
    row = {"pictures": runs[0]["pictures"], "seeds": len(runs)}
    for name in ("bpd", *PARTS):
        values = torch.tensor([run[name][0] for run in runs], dtype=torch.float64)
        row[name] = [float(values.mean()), standard_error(values)]
    curves = [run["diffusion at t"] for run in runs]
    row["diffusion at t"] = {t: sum(c[t] for c in curves) / len(curves) for t in curves[0]}
    return row | {"runs": runs}


def bits_table(rows: dict[str, dict]) -> str:
    """Markdown, a line a model."""
    names = ("bpd", *PARTS)
    cells = {
        name: [f"{row[n][0]:.4f} ± {row[n][1]:.4f}" for n in names] for name, row in rows.items()
    }
    return table(["model", *names], [[name, *values] for name, values in cells.items()])


def draw(rows: dict[str, dict], path: Path) -> None:
    """The diffusion loss of each model against t."""
    drawing, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for name, row in rows.items():
        curve = row["diffusion at t"]
        axes.plot(list(curve), list(curve.values()), marker=".", label=name)
    axes.set(xlabel="t", ylabel="diffusion loss, bits per dimension", yscale="log")
    axes.legend()
    drawing.savefig(path)
    plt.close(drawing)


def main() -> None:
    """The command line."""
    config = parse(LikelihoodConfig, __doc__)
    if not config.models:
        raise ValueError("name a bundle: models.NAME=FOLDER")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = {
        name: over_seeds([measure(config, folder, device) for folder in folders.split(",")])
        for name, folders in config.models.items()
    }
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "likelihood.json").write_text(json.dumps(rows, indent=2) + "\n")
    (out / "likelihood.md").write_text(bits_table(rows) + "\n")
    draw(rows, out / "likelihood.svg")
    print(bits_table(rows))


if __name__ == "__main__":
    run_script(main)
