"""Convert foreign checkpoints into a bundle: `python -m pdae_app.convert SOURCE … --out DIR`."""

import argparse
import sys
from pathlib import Path

import torch

from pdae_app.bundle import Bundle, save_bundle
from pdae_app.convert.diffae import convert_diffae
from pdae_app.convert.diffenc import convert_diffenc
from pdae_app.convert.dpm import convert_dpm
from pdae_app.convert.hints import Hints, of_config, of_preset
from pdae_app.convert.pdae import convert_pdae
from pdae_app.convert.reading import read_settings
from pdae_app.convert.samples import write_samples
from pdae_app.diffusion.schedule import SCHEDULES
from pdae_app.faces.align import FRAMINGS
from pdae_app.models.presets import PRESETS
from pdae_app.models.vdm import KINDS


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m pdae_app.convert", description=__doc__)
    sources = parser.add_subparsers(dest="source", required=True)
    pdae = sources.add_parser("pdae", help="official PDAE files")
    pdae.add_argument("--autoencoder", required=True, help="autoencoder/…/checkpoint.pt")
    pdae.add_argument("--dpm", help="pre-trained-dpms/…/checkpoint.pt, the frozen model")
    pdae.add_argument("--latents", help="latents/….pt: mean and std of the codes")
    pdae.add_argument("--classifier", help="classifier/checkpoint.pt: the sliders")
    pdae.add_argument("--latent-dpm", help="latent_denoise_fn/…/checkpoint.pt: new pictures")
    diffae = sources.add_parser("diffae", help="official Diff-AE files")
    diffae.add_argument("--autoencoder", required=True, help="…_autoenc/last.ckpt")
    diffae.add_argument("--latent", help="…_autoenc_latent/last.ckpt: new pictures")
    diffae.add_argument("--classifier", help="…_cls/last.ckpt: the sliders")
    diffae.add_argument("--latents", help="latent.pkl: statistics of the codes")
    dpm = sources.add_parser("dpm", help="an unconditional U-Net, to train PDAE on")
    dpm.add_argument(
        "--checkpoint", required=True, help="file, diffusers folder, or owner/name on the Hub"
    )
    dpm.add_argument("--first-stage", help="folder of a first stage, if not the pipeline's own")
    dpm.add_argument("--scaling-factor", type=float, help="of the first stage's latents")
    dpm.add_argument(
        "--samples", metavar="PNG", help="draw four pictures with the model, in 50 steps"
    )
    dpm.add_argument("--class-label", help="of models that are told a class: a number, or null")
    diffenc = sources.add_parser("diffenc", help="an official DiffEnc or VDM checkpoint (Flax)")
    diffenc.add_argument("--checkpoint", required=True, help="checkpoint_… (msgpack)")
    diffenc.add_argument("--kind", choices=KINDS, help="where the configuration does not tell it")
    for source in (pdae, diffae, dpm, diffenc):
        _common(source)
    return parser.parse_args(arguments)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, help="folder of the bundle to write")
    parser.add_argument("--half", action="store_true", help="16-bit weights: half the size")
    parser.add_argument("--config", help="the model's official config.yml")
    parser.add_argument(
        "--preset", choices=PRESETS, help="the architecture, where it is one of ours"
    )
    parser.add_argument("--image-size", type=int, help="side in pixels")
    parser.add_argument("--heads", type=int, help="attention heads")
    parser.add_argument("--head-channels", type=int, help="channels of a head, in place of --heads")
    parser.add_argument(
        "--new-attention",
        action="store_true",
        default=None,
        help="the model was made with use_new_attention_order",
    )
    parser.add_argument("--dropout", type=float, help="of further training")
    parser.add_argument(
        "--framing", choices=FRAMINGS, help="how its training pictures were cropped"
    )
    parser.add_argument("--schedule", choices=SCHEDULES[:-1], help="the betas it was trained with")


def given_hints(arguments: argparse.Namespace) -> Hints:
    """What the flags say, else the configuration, else the preset."""
    flags = (
        "image_size",
        "heads",
        "head_channels",
        "dropout",
        "schedule",
        "framing",
        "new_attention",
        "first_stage",
        "scaling_factor",
        "class_label",
    )
    hints = Hints(**{name: getattr(arguments, name, None) for name in flags})
    if arguments.config:
        settings = read_settings(arguments.config)
        hints = hints.filled_from(of_config(settings)).filled_from(Hints(settings=settings))
    if arguments.preset:
        hints = hints.filled_from(of_preset(arguments.preset))
    return hints


def convert(arguments: argparse.Namespace) -> Bundle:
    """The bundle that the command line asks for."""
    a, hints = arguments, given_hints(arguments)
    if a.source == "pdae":
        bundle = convert_pdae(
            a.autoencoder, a.dpm, a.latents, a.classifier, latent_dpm=a.latent_dpm, hints=hints
        )
    elif a.source == "diffae":
        bundle = convert_diffae(a.autoencoder, a.latent, a.classifier, a.latents, hints)
    elif a.source == "diffenc":
        bundle = convert_diffenc(a.checkpoint, hints, a.kind, a.config)
    else:
        bundle = convert_dpm(a.checkpoint, hints)
    if bundle.family.has_codes:
        bundle.framing = hints.known("framing", "ffhq", "most official models are of FFHQ's faces")
    else:
        bundle.framing = hints.framing or bundle.framing
    return bundle


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit code."""
    parsed = parse(arguments)
    try:
        bundle = convert(parsed)
        print(f"writing {parsed.out}")
        save_bundle(bundle, parsed.out, torch.float16 if parsed.half else torch.float32)
        if getattr(parsed, "samples", None):
            print("drawing samples")
            write_samples(bundle, Path(parsed.samples))
    except (ValueError, OSError) as error:  # bundles' and converters' errors are ValueErrors
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in Path(parsed.out).glob("*.safetensors"))
    print(f"wrote {parsed.out}, {size / 1e6:.0f} MB, stepping {bundle.stepping!r}")
    follow = "app.py --model " if bundle.family.has_codes else "training/train_pdae.py with dpm="
    print(f"next: python {follow}{parsed.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
