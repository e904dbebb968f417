"""Hashes of the pictures that a model was trained on, beside its bundle, and what they tell.

    python training/evaluation/overlap.py --config training/configs/faces128/overlap.yaml

writes them for a bundle that was trained before they were kept.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from accelerate import PartialState
from tqdm import tqdm

from pdae_app.faces.photo import PhotoError
from pdae_app.hub import TRAINING_PICTURES
from pdae_app.whole import whole_file
from training.config import parse
from training.data import DataConfig, SourceConfig, open_source
from training.loop import run_script
from training.sources import Source

DIGITS = 12


@dataclass(frozen=True)
class OverlapConfig:
    """The bundle, and the pictures that it was trained on."""

    bundle: str
    data: SourceConfig


@dataclass(frozen=True)
class Seen:
    """A source's pictures: their hashes, None where they are broken, and their shorter sides."""

    hashes: list[str | None]
    sides: list[int]


def looked_at(source: Source) -> Seen:
    """Hash of the pixels, and shorter side, of every picture."""

    def look(index: int) -> tuple[str | None, int]:
        try:
            picture = source.open(index)
        except PhotoError:
            return None, 0
        data = str(picture.size).encode() + picture.tobytes()
        return hashlib.sha256(data).hexdigest()[:DIGITS], min(picture.size)

    with ThreadPoolExecutor(2) as pool:
        count = len(source.rows)
        bar = tqdm(pool.map(look, range(count)), "hashing", count, leave=False, disable=None)
        hashes, sides = zip(*bar, strict=True)
    return Seen(list(hashes), list(sides))


def write_hashes(known: set[str], bundle: str | Path) -> None:
    """Keep hashes beside a bundle."""
    with whole_file(Path(bundle) / TRAINING_PICTURES) as partial:
        partial.write_text("\n".join(sorted(known)) + "\n")


def keep_hashes(data: DataConfig, bundle: str, before: str | None = None) -> None:
    """After training: keep the hashes of its pictures, with those of the bundle `before`.

    Sets that are not cached are too large to be gone through.
    """
    if PartialState().is_main_process and data.cache is not None:
        earlier = kept_hashes(Path(before)) if before else None
        write_hashes(hashes(open_source(data)) | (earlier or set()), bundle)


def pass_on_hashes(before: Path | None, bundle: str) -> None:
    """Beside a bundle that was made of another one, the hashes of that one."""
    known = kept_hashes(before)
    if known is not None:
        write_hashes(known, bundle)


def hashes(source: Source) -> set[str]:
    """Of all pictures that are not broken."""
    return set(filter(None, looked_at(source).hashes))


def kept_hashes(bundle: Path | None) -> set[str] | None:
    """The hashes that lie beside a bundle; None where there are none."""
    path = None if bundle is None else bundle / TRAINING_PICTURES
    return set(path.read_text().split()) if path and path.is_file() else None


def main() -> None:
    """The command line."""
    config = parse(OverlapConfig, __doc__)
    if not (Path(config.bundle) / "config.json").is_file():
        raise ValueError(f"{config.bundle} is not a bundle: it has no config.json")
    known = hashes(open_source(config.data))
    write_hashes(known, config.bundle)
    print(f"{config.bundle}: {len(known)} pictures")


if __name__ == "__main__":
    run_script(main)
