"""Measure what is typical of pictures like a bundle's own, and write it into the bundle.

The app then says when an upload is not: python training/measure_typical.py --config
training/configs/faces128/typical.yaml
"""

from dataclasses import dataclass, replace

import numpy as np

from pdae_app.bundle import load_bundle, save_bundle
from pdae_app.engine import Editor
from pdae_app.engine.quality import FAST
from pdae_app.latents.typical import Typical, code_distance, noise_structure
from training.config import ConfigError, parse
from training.data import DataConfig, load_pictures, plain_squares
from training.loop import run_script


@dataclass(frozen=True)
class TypicalConfig:
    """Everything that `measure_typical.py` takes.

    `count` pictures of `data`, best ones that the bundle was not trained on, are encoded in `steps`
    as the app does; what only the part `rare` of them exceeds is not typical.
    """

    bundle: str
    data: DataConfig
    count: int = 200
    steps: int = FAST
    rare: float = 0.01


def measured(editor: Editor, squares, steps: int, rare: float) -> Typical:
    """The typical values over squares (N, C, S, S) in [-1, 1]."""
    distances, structures = [], []
    for square in squares.split(8):
        codes = editor.encode_squares(square, steps)
        distances += [code_distance(editor.bundle.latents, code.z) for code in codes]
        structures += [noise_structure(code.x_T) for code in codes]
    limits = (float(np.quantile(values, 1 - rare)) for values in (distances, structures))
    return Typical(*(round(limit, 3) for limit in limits))


def main() -> None:
    """The command line."""
    config = parse(TypicalConfig, __doc__)
    bundle = load_bundle(config.bundle)
    if bundle.latents is None or not bundle.family.reads_pictures:
        raise ConfigError(f"{config.bundle} has no codes of pictures; run train_attributes.py")
    editor = Editor(bundle, config.bundle)
    pictures = load_pictures(config.data, editor.image_size)
    channels = bundle.first_stage.picture_channels
    squares = plain_squares(pictures, editor.image_size, slice(config.count), channels)
    typical = measured(editor, squares, config.steps, config.rare)
    save_bundle(replace(bundle, typical=typical), config.bundle)
    print(f"wrote {config.bundle}: {typical}")


if __name__ == "__main__":
    run_script(main)
