"""Encode a data set once: codes, statistics and labels in one file that everything later reads.

python training/encode_latents.py --config training/configs/faces128/latents.yaml
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from pdae_app.bundle import Bundle, load_bundle, network_identity
from pdae_app.whole import whole_file
from training.config import ConfigError, parse
from training.data import DataConfig, Pictures, in_split, load_pictures, plain_squares
from training.loop import run_script


@dataclass(frozen=True)
class LatentsConfig:
    """Everything that `encode_latents.py` takes.

    `mirrored` adds every picture's mirror image; `data.split` is best left out, so that training
    and held-out pictures lie in one file, told apart by their rows.
    """

    model: str
    data: DataConfig
    out: str
    mirrored: bool = True
    batch_size: int = 64


@dataclass(frozen=True)
class Latents:
    """Codes z (N, D), their label rows, which of them are mirror images (N,), and whose they are.

    `identity` names the exact encoder that made them.
    """

    z: Tensor
    rows: list[dict[str, str]]
    mirrored: Tensor
    identity: str

    def of_split(self, split: str | None, mirrored: bool = True) -> "Latents":
        """The part whose rows say `split`; None takes all."""
        keep = torch.tensor([in_split(row, split) for row in self.rows])
        keep &= ~self.mirrored if not mirrored else True
        if not keep.any():
            raise ConfigError(f"the latents hold no pictures of split {split!r}")
        index = keep.nonzero().flatten().tolist()
        rows = [self.rows[i] for i in index]
        return Latents(self.z[keep], rows, self.mirrored[keep], self.identity)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (D,) of the codes."""
        return self.z.mean(dim=0), self.z.std(dim=0).clamp(min=1e-6)


def save_latents(latents: Latents, path: str | Path) -> None:
    """Write one safetensors file, the rows in its metadata."""
    tensors = {"z": latents.z.contiguous(), "mirrored": latents.mirrored}
    facts = {"rows": json.dumps(latents.rows), "identity": latents.identity}
    with whole_file(path) as partial:
        save_file(tensors, partial, facts)


def load_latents(path: str | Path, encoder: nn.Module) -> Latents:
    """Read a file of `encode_latents.py`.

    Raises:
        ConfigError: no such file, or another encoder than this one made it.
    """
    if not Path(path).is_file():
        raise ConfigError(f"there is no file {path}; make it with training/encode_latents.py")
    with safe_open(path, "pt") as file:
        facts = file.metadata()
        latents = Latents(
            file.get_tensor("z"),
            json.loads(facts["rows"]),
            file.get_tensor("mirrored"),
            facts["identity"],
        )
    if latents.identity != network_identity(encoder):
        raise ConfigError(f"{path} was made by another model; run training/encode_latents.py again")
    return latents


def encode_squares(bundle: Bundle, squares: Tensor, batch_size: int = 64) -> Tensor:
    """Codes z (N, D) of squares (N, C, S, S) in [-1, 1] of the bundle's size, on the CPU."""
    device = next(bundle.model.encoder.parameters()).device
    with torch.inference_mode():
        batches = squares.split(batch_size)
        return torch.cat([bundle.codes(batch.to(device)).cpu() for batch in batches])


def encode_pictures(
    bundle: Bundle, pictures: Pictures, mirrored: bool, batch_size: int = 64
) -> Latents:
    """The codes of a data set."""
    size, channels = bundle.picture_size, bundle.first_stage.picture_channels
    count, codes = len(pictures.rows), []
    for start in tqdm(range(0, count, batch_size), desc="encoding"):
        part = slice(start, start + batch_size)
        squares = plain_squares(pictures, size, part, channels)
        views = (squares, squares.flip(-1)) if mirrored else (squares,)
        codes.append([encode_squares(bundle, view, batch_size) for view in views])
    z = torch.cat([torch.cat(view) for view in zip(*codes, strict=True)])
    flags, identity = torch.arange(len(z)) >= count, network_identity(bundle.model.encoder)
    return Latents(z, pictures.rows * (len(z) // count), flags, identity)


def main() -> None:
    """The command line."""
    config = parse(LatentsConfig, __doc__)
    bundle = load_bundle(config.model)
    if not bundle.family.reads_pictures:
        raise ConfigError(f"{config.model} has no encoder of pictures")
    pictures = load_pictures(config.data, bundle.picture_size)
    latents = encode_pictures(bundle, pictures, config.mirrored, config.batch_size)
    save_latents(latents, config.out)
    print(f"wrote {config.out}: {len(latents.z)} codes of {latents.z.shape[1]} numbers")


if __name__ == "__main__":
    run_script(main)
