"""Peak memory and time of converting a full-size official PDAE autoencoder.

python benchmarks/convert_memory.py --preset ffhq128 --out runs/convert_memory
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from pdae_app.convert.names import official_shape, semantic_names, shift_names, unet_names
from pdae_app.models.pdae import PDAE
from pdae_app.models.presets import preset


def write_official(name: str, path: Path) -> None:
    """A file of the official layout with small random weights."""
    with torch.device("meta"):
        model = PDAE(preset(name))
    decoder = _random(model.unet, unet_names(model.unet))
    decoder |= _random(model.shift, shift_names(model.shift))
    encoder = _random(model.encoder, semantic_names(model.encoder))
    torch.save({"step": 1, "ema_encoder": encoder, "ema_decoder": decoder}, path)


def _random(module: torch.nn.Module, names: dict[str, str]) -> dict[str, torch.Tensor]:
    shapes = {names[n]: official_shape(n, t) for n, t in module.state_dict().items()}
    return {name: 0.01 * torch.randn(shape) for name, shape in shapes.items()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="ffhq128")
    parser.add_argument("--out", default="runs/convert_memory")
    arguments = parser.parse_args()
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    source = out / "checkpoint.pt"
    write_official(arguments.preset, source)
    start = time.perf_counter()
    command = [sys.executable, "-m", "pdae_app.convert", "pdae", "--autoencoder", str(source)]
    command += ["--preset", arguments.preset, "--out", str(out / "bundle")]
    subprocess.run(command, check=True)
    report = {
        "preset": arguments.preset,
        "file, MB": round(source.stat().st_size / 1e6),
        "seconds": round(time.perf_counter() - start, 1),
        # Linux counts in KiB; mapped pages of the file are included.
        "peak resident memory, MB": round(
            resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
        ),
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
