"""Models on the Hub: only the files that a conversion needs, configurations before weights."""

import re
from pathlib import Path

from pdae_app.convert.diffusers import WEIGHTS, unet_config
from pdae_app.convert.hints import Hints
from pdae_app.convert.pipeline import CONFIG, INDEX, SCHEDULER, STAGES, part_folder, read_index
from pdae_app.convert.reading import read_settings
from pdae_app.hub import fetch

NAME = re.compile(r"[\w.-]+/[\w.-]+")
# A name that ends so is a file's.
FILES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".safetensors")


def is_repository(checkpoint: str | Path) -> bool:
    """Whether this names a repository "owner/name", and no file or folder."""
    name, path = str(checkpoint), Path(checkpoint)
    is_name = NAME.fullmatch(name) and ".." not in name and path.suffix not in FILES
    return bool(is_name) and not path.exists()


def fetched(repo: str, hints: Hints) -> Path:
    """The folder of a diffusers model on the Hub, with the weights that a conversion needs.

    What cannot be used is refused before weights are fetched; what was fetched is kept, and found
    without a network.

    Raises:
        ConvertError: it has no unconditional U-Net.
        BundleError: it cannot be reached.
    """
    hints.say(f"looking at {repo} on the Hub")
    texts = [INDEX, CONFIG, SCHEDULER, f"*/{CONFIG}", f"*/{SCHEDULER}"]
    folder = fetch(repo, texts)
    index = read_index(folder)
    places = [part_folder(folder, "unet", index)]
    unet_config(read_settings(places[0] / CONFIG), hints)
    stages = [folder / name for name in STAGES if (folder / name / CONFIG).is_file()]
    places += [] if hints.first_stage else stages[:1]
    for place in places:
        _fetch_weights(repo, folder, place, hints)
    return folder


def _fetch_weights(repo: str, folder: Path, place: Path, hints: Hints) -> None:
    """The best file of weights for `place`, of the same commit, which names the folder."""
    for name in WEIGHTS:
        path = (place.relative_to(folder) / name).as_posix()
        hints.say(f"fetching {path}")
        fetch(repo, [path], revision=folder.name)
        if (place / name).is_file():
            return
