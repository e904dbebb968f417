"""Make sliders as strong as they say, on pictures: edit, read the picture again, correct.

A picture follows its code only in part, and some attributes less than others. The gain of a slider
is what its steps are multiplied by, so that the code that is read from the edited picture has gone
as far as the slider asked.

python training/calibrate_sliders.py --config training/configs/faces128/calibrate.yaml
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm

from pdae_app.bundle import load_bundle, save_bundle
from pdae_app.engine import Editor
from pdae_app.engine.code import Code
from pdae_app.engine.pictures import to_tensor
from pdae_app.engine.quality import FAST
from pdae_app.latents.directions import LatentSpace
from training.config import ConfigError, parse
from training.data import DataConfig, load_pictures, plain_squares
from training.encode_latents import encode_squares
from training.evaluation.people import chosen_people
from training.loop import run_script


@dataclass(frozen=True)
class CalibrateConfig:
    """Everything that `calibrate_sliders.py` takes.

    `people` of `data` are edited in `steps`, as the app does, at -1 and +1; so often as `rounds`
    the gains are corrected. No gain leaves `least` to `most`.
    """

    bundle: str
    data: DataConfig
    people: int = 24
    steps: int = FAST
    rounds: int = 2
    least: float = 0.75
    most: float = 2.0


def reached(editor: Editor, codes: list[Code], name: str, steps: int) -> float:
    """How far edits of -1 to +1 carry the logit that is read from pictures, of what they ask."""
    space, row = editor.bundle.latents, editor.attributes.index(name)
    asked, found = [], []
    for code in codes:
        pictures = torch.cat([to_tensor(p, 3) for p in editor.strip(code, name, (-1, 1), steps)])
        found.append(_logit_span(space, encode_squares(editor.bundle, pictures), row))
        moved = torch.stack([editor.moved(code, {name: value}).z for value in (-1, 1)])
        asked.append(_logit_span(space, moved, row) / space.attributes[row].gain)
    return sum(found) / sum(asked)


def _logit_span(space: LatentSpace, z: Tensor, row: int) -> float:
    low, high = space.logits(z)[:, row].tolist()
    return high - low


def corrected(space: LatentSpace, shares: dict[str, float], config: CalibrateConfig) -> LatentSpace:
    """The space with gains by which each share becomes 1, if edits grow in proportion."""
    attributes = []
    for attribute in space.attributes:
        gain = attribute.gain / max(shares[attribute.name], 0.1)
        gain = round(min(max(gain, config.least), config.most), 3)
        attributes.append(replace(attribute, gain=gain))
    return replace(space, attributes=tuple(attributes))


def _codes(editor: Editor, config: CalibrateConfig) -> list[Code]:
    pictures = load_pictures(config.data, editor.image_size)
    channels = editor.bundle.first_stage.picture_channels
    squares = plain_squares(pictures, editor.image_size, channels=channels)
    squares = squares[chosen_people(pictures.rows, squares, config.people)]
    return [c for part in squares.split(8) for c in editor.encode_squares(part, config.steps)]


def main() -> None:
    """The command line."""
    config = parse(CalibrateConfig, __doc__)
    bundle = load_bundle(config.bundle)
    if bundle.latents is None or not bundle.latents.names or not bundle.family.reads_pictures:
        raise ConfigError(f"{config.bundle} has no sliders; run training/train_attributes.py")
    editor = Editor(bundle, config.bundle)
    codes = _codes(editor, config)
    for _ in range(config.rounds):
        names = tqdm(editor.attributes, "editing", leave=False)
        shares = {name: reached(editor, codes, name, config.steps) for name in names}
        bundle.latents = corrected(bundle.latents, shares, config)
    save_bundle(bundle, config.bundle)
    for attribute in bundle.latents.attributes:
        share = shares[attribute.name]
        print(f"{attribute.name:24} gain {attribute.gain:.2f}, reached {share:.2f} before the last")


if __name__ == "__main__":
    run_script(main)
