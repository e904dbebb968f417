"""Published bases at full size, with random weights: what they cost.

python -m benchmarks.bases convert   # ldm-celebahq-256's layout: peak memory and time
python -m benchmarks.bases step      # one training step of PDAE on it: predicted and measured
python -m benchmarks.bases speed     # latent against pixel base at 256 px: a step and an edit
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

from benchmarks.tables import publish
from pdae_app.bundle import Bundle, load_bundle
from pdae_app.convert.scheduler import read_scheduler
from pdae_app.diffusion.grids import spaced_levels
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.solvers import ddim_states, last_x
from pdae_app.families import family
from pdae_app.models.first_stage import Pixels
from pdae_app.models.published_stage import PublishedStage, PublishedStageConfig
from pdae_app.models.unet import UNet, UNetConfig
from training.config import load
from training.dry_run import count_activations
from training.loop import Run
from training.train_pdae import PdaeObjective, PdaeTrainConfig

CONFIGS = Path("training/configs")
LDM = {
    "_class_name": "UNet2DModel",
    "sample_size": 64,
    "block_out_channels": [224, 448, 672, 896],
    "down_block_types": ["DownBlock2D", *["AttnDownBlock2D"] * 3],
    "up_block_types": [*["AttnUpBlock2D"] * 3, "UpBlock2D"],
    "attention_head_dim": 32,
}
VQ_F4 = {
    "block_out_channels": [128, 256, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 2,
    "latent_channels": 3,
    "num_vq_embeddings": 8192,
    "vq_embed_dim": 3,
}
SCHEDULER = {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear"}
SCHEDULER |= {"beta_start": 0.0015, "beta_end": 0.0195, "clip_sample": False}
# For `speed`: both of this depth, on 3 x 64 x 64 states or 3 x 256 x 256 pixels.
MULTIPLIERS = (1, 2, 3, 4)


def write_pipeline(folder: Path) -> None:
    """A pipeline of ldm-celebahq-256's layout with small random weights."""
    import diffusers

    networks = {"unet": diffusers.UNet2DModel, "vqvae": diffusers.VQModel}
    for name, settings in (("unet", LDM), ("vqvae", VQ_F4)):
        known = {key: value for key, value in settings.items() if not key.startswith("_")}
        networks[name](**known).save_pretrained(folder / name)
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    index = {"_class_name": "LDMPipeline", "scheduler": ["diffusers", "DDIMScheduler"]}
    index |= {"unet": ["diffusers", "UNet2DModel"], "vqvae": ["diffusers", "VQModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))


def convert(out: Path) -> list[dict]:
    """Peak memory and time of a conversion, which runs in a process of its own."""
    if not (out / "pipeline").exists():
        command = "from pathlib import Path; from benchmarks.bases import write_pipeline as write; "
        (out / "pipeline").mkdir(parents=True)
        command += f"write(Path({str(out / 'pipeline')!r}))"
        subprocess.run([sys.executable, "-c", command], check=True)
    start = time.perf_counter()
    code = (
        "import resource, sys; from pdae_app.convert.__main__ import main; "
        "code = main(sys.argv[1:]); "
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    )
    given = ["dpm", "--checkpoint", str(out / "pipeline"), "--out", str(out / "bundle"), "--half"]
    done = subprocess.run(
        [sys.executable, "-c", code, *given], check=True, stdout=subprocess.PIPE, text=True
    )
    print(done.stdout)
    peak = int(done.stdout.split("peak")[-1]) * 1024  # Linux counts in KiB
    seconds = time.perf_counter() - start
    return [{"what": "conversion", "peak, MB": round(peak / 1e6), "seconds": round(seconds)}]


def step(out: Path) -> list[dict]:
    """One optimiser step of two pictures: what `--dry-run` predicts, and the process's peak."""
    frozen = load_bundle(out / "bundle")
    loop = {"batch_size": 2, "accumulate": 2, "pictures": 2, "mixed_precision": '"no"'}
    overrides = [f"loop.{name}={value}" for name, value in loop.items()]
    overrides += [f"loop.out={out / 'run'}", "data.folder=x"]
    config = load(PdaeTrainConfig, CONFIGS / "ldm256" / "pdae.yaml", overrides)
    before = _resident() - _bytes(frozen.unet) - _bytes(frozen.first_stage)
    objective = PdaeObjective(config, frozen, torch.empty(0)).train()
    trained = sum(_bytes(module) for module in objective.trained().values())
    one = [torch.empty(1, *shape, device="meta") for shape in (frozen.state_shape, config.read)]
    predicted = _bytes(objective) + 4 * trained + count_activations(objective, *one).all
    run = Run(config.loop, objective)
    batch = [torch.randn(2, *shape) for shape in (frozen.state_shape, config.read)]
    start = time.perf_counter()
    run.step(objective, *batch)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    row = {"what": "training step of 2 pictures", "predicted, MB": round(predicted / 1e6)}
    row |= {"measured, MB": round(peak / 1e6), "measured / predicted": round(peak / predicted, 2)}
    return [row | {"seconds": round(seconds, 1)}]


def _bytes(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def speed(out: Path, width: int, rounds: int) -> list[dict]:
    """A training step and an edit (10 steps), in turn; medians, and the ratio."""
    bundles = {name: _base(width, latent=name == "latent") for name in ("latent", "pixels")}
    times: dict = {name: {"step": [], "edit": []} for name in bundles}
    runs = {name: _run(bundle, out / name) for name, bundle in bundles.items()}
    for _ in range(rounds):
        for name, bundle in bundles.items():
            times[name]["step"].append(_seconds(lambda name=name: runs[name]()))
            times[name]["edit"].append(_seconds(lambda bundle=bundle: _edit(bundle)))
    rows = []
    for what in ("step", "edit"):
        latent, pixels = (sorted(times[name][what])[rounds // 2] for name in bundles)
        row = {"what": what, "latent, s": round(latent, 2), "pixels, s": round(pixels, 2)}
        rows.append(row | {"pixels / latent": round(pixels / latent, 1)})
    return rows


def _base(width: int, latent: bool) -> Bundle:
    size = 64 if latent else 256
    config = UNetConfig(
        size, width, MULTIPLIERS, attention_resolutions=(16,), head_channels=32, dropout=0.0
    )
    torch.manual_seed(0)
    stage = PublishedStage(PublishedStageConfig("VQModel", VQ_F4)) if latent else Pixels()
    diffusion = read_scheduler(SCHEDULER, print).diffusion if latent else Diffusion()
    return Bundle(UNet(config).eval(), diffusion, first_stage=stage.eval())


def _run(bundle: Bundle, out: Path):
    overrides = ["encoder.image_size=128", "loop.batch_size=1", "loop.accumulate=1"]
    overrides += ["data.folder=x", f"loop.out={out}", 'loop.mixed_precision="no"']
    config = load(PdaeTrainConfig, CONFIGS / "ldm256" / "pdae.yaml", overrides)
    objective = PdaeObjective(config, bundle, torch.empty(0)).train()
    bundle.model = objective.model
    run, read = Run(config.loop, objective), torch.randn(1, *config.read)
    return lambda: run.step(objective, torch.randn(1, *bundle.state_shape), read)


@torch.inference_mode()
def _edit(bundle: Bundle, steps: int = 10) -> None:
    """The picture of a changed code, through the decoder."""
    bundle.model.eval()
    denoiser = family(bundle.model, bundle.diffusion).denoiser(torch.randn(1, 512))
    levels = spaced_levels(bundle.process, steps)[::-1]
    x = torch.randn(1, *bundle.state_shape)
    bundle.first_stage.decode(last_x(ddim_states(denoiser, x, bundle.process, levels)))
    bundle.model.train()


def _seconds(work) -> float:
    """Of processor time: what else the machine does is not counted."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("convert", "step", "speed"))
    parser.add_argument("--out", default="runs/bases", type=Path)
    parser.add_argument("--width", type=int, default=64, help="of speed's networks")
    parser.add_argument("--rounds", type=int, default=3, help="of speed")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    out = arguments.out
    if arguments.what == "speed":
        rows = speed(out, arguments.width, arguments.rounds)
        notes = f"Medians of {arguments.rounds}; batch 1, an edit of ten steps with the decoder."
        publish("latent_base", rows, notes)
    else:
        rows = {"convert": convert, "step": step}[arguments.what](out)
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
