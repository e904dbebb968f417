"""Unconditional models into a bundle that `training/train_pdae.py` adapts.

From diffusers' pipelines and `UNet2DModel`s (folders, files, names on the Hub), CompVis' latent
diffusion checkpoints, official PDAE and Diff-AE files, and the state dicts of OpenAI's
guided-diffusion and improved-diffusion.
"""

from pathlib import Path

from pdae_app.bundle import Bundle
from pdae_app.convert.compvis import convert_compvis, is_compvis
from pdae_app.convert.diffusers import WEIGHTS
from pdae_app.convert.fetching import fetched, is_repository
from pdae_app.convert.guided_diffusion import convert_guided_diffusion
from pdae_app.convert.hints import Hints
from pdae_app.convert.pipeline import convert_pipeline
from pdae_app.convert.reading import read_checkpoint


def convert_dpm(checkpoint: str | Path, hints: Hints | None = None) -> Bundle:
    """A bundle of an unconditional model; folders and names on the Hub are taken for diffusers'.

    Raises:
        ConvertError: the file cannot be used; the message says why.
        BundleError: the Hub cannot be reached.
    """
    hints = hints or Hints()
    name = str(checkpoint)
    path = fetched(name, hints) if is_repository(name) else Path(checkpoint)
    hints.say(f"reading {name}")
    if path.is_dir():
        return convert_pipeline(path, hints)
    if path.name in WEIGHTS and (path.parent / "config.json").is_file():
        return convert_pipeline(path.parent, hints)
    data = read_checkpoint(path)
    if is_compvis(data):
        return convert_compvis(data, path, hints)
    return convert_guided_diffusion(data, path, hints)
