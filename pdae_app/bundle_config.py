"""What a bundle's configuration describes: its networks, without memory for their weights."""

import dataclasses
import json
from pathlib import Path
from typing import TypeVar

import torch

from pdae_app.bundle_files import BundleError, check_depth
from pdae_app.diffusion.coupled import Repaint
from pdae_app.diffusion.grids import steppings
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.process import LinearLogSNR
from pdae_app.diffusion.schedule import Schedule
from pdae_app.diffusion.spacing import Spacing
from pdae_app.diffusion.variational import VariationalDiffusion
from pdae_app.drawing import Drawing
from pdae_app.faces.align import FRAMINGS
from pdae_app.families import Family, family, family_named
from pdae_app.latents.affine import AffineSide
from pdae_app.latents.clearing import Clearing, check_clearings
from pdae_app.latents.directions import Attribute
from pdae_app.latents.prior import Prior
from pdae_app.latents.sides import check_sides
from pdae_app.latents.typical import Typical
from pdae_app.models.diffenc import MeanEncoder
from pdae_app.models.first_stage import FirstStage, PatchAutoencoder, PatchAutoencoderConfig
from pdae_app.models.latent_mlp import LatentMLP, LatentMLPConfig
from pdae_app.models.published_stage import PublishedStage, PublishedStageConfig
from pdae_app.models.unet import UNet, UNetConfig
from pdae_app.models.vdm import VDMConfig
from pdae_app.typed_config import ConfigError, build, short

# Format 2 brought first stages, format 3 those of diffusers, and steppings of a model's own.
FORMAT = 3

LARGEST_CONFIG = 4 << 20

# What a configuration may list.
Listed = TypeVar("Listed", Attribute, AffineSide, Clearing)


def read_config(folder: Path, needed: tuple[str, ...] = ("diffusion", "unet")) -> dict:
    """The parsed `config.json` of a bundle's folder.

    Raises:
        BundleError: there is none, or it lacks what is `needed`.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise BundleError(f"{folder} is not a bundle: it has no config.json")
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise ValueError(f"it is larger than {LARGEST_CONFIG} bytes")
        config = json.loads(path.read_text())
        check_depth(config)
        version = config["format"]
        missing = [key for key in needed if key not in config]
    except (ValueError, TypeError, KeyError, OSError, RecursionError) as error:
        reason = str(error)[:200] if isinstance(error, ValueError) else f"{error!r:.200}"
        raise BundleError(f"{path} is not a bundle's configuration: {reason}") from error
    if version not in range(1, FORMAT + 1):
        raise BundleError(
            f"{path} has format {short(version)}, this program reads up to {FORMAT}; update it"
        )
    if missing:
        raise BundleError(f"{path} lacks {', '.join(missing)}")
    return config


def empty_parts(config: dict) -> dict:
    """The fields of a `Bundle` by their names.

    Raises:
        ConfigError: a value that cannot be.
    """
    diffusion = build(Diffusion, config["diffusion"], "diffusion.")
    spacing = build(Spacing, config["spacing"], "spacing.") if "spacing" in config else None
    stepping = _one_of(steppings(spacing), config, "stepping", "clean")
    framing = _one_of(FRAMINGS, config, "framing", "face")
    first_stage = empty_first_stage(config)
    # Bundles before "kind" was written hold PDAE where they have an encoder.
    kind = family_named(config.get("kind", "pdae" if "encoder" in config else "dpm"))
    with torch.device("meta"):
        networks = family(kind.build(build(UNetConfig, config["unet"], "unet."), config), diffusion)
        prior = _empty_prior(config["prior"]) if "prior" in config else None
    variational = _empty_variational(config, networks.unet, diffusion)
    if prior is not None and ("attributes" not in config or prior.z_dim != networks.z_dim):
        raise ConfigError("the prior needs the statistics of the codes, of the encoder's z_dim")
    info = config.get("info", {})
    if not isinstance(info, dict):
        raise ConfigError(f"info must be a mapping, got {short(info)}")
    floor, coupled_from = config.get("floor", 0), config.get("coupled_from")
    _check_timestep(diffusion, "floor", floor)
    if coupled_from is not None:
        _check_timestep(diffusion, "coupled_from", coupled_from)
    if first_stage is not None and first_stage.state_channels != networks.unet.config.in_channels:
        raise ConfigError("the first stage and the U-Net have states of different channels")
    classes = _class_names(config, networks)
    typical = build(Typical, config["typical"], "typical.") if "typical" in config else None
    return {
        "unet": networks.unet,
        "diffusion": diffusion,
        "model": networks.model if networks.has_codes else None,
        "prior": prior,
        "stepping": stepping,
        "spacing": spacing,
        "framing": framing,
        "aligner": str(config.get("aligner", "haar")),
        "floor": floor,
        "coupled_from": coupled_from,
        "repaint": build(Repaint, config["repaint"], "repaint.") if "repaint" in config else None,
        "clearings": read_clearings(config, networks.unet.config.image_size),
        "drawing": build(Drawing, config.get("drawing", {}), "drawing."),
        "classes": classes,
        "typical": typical,
        "info": info,
        "first_stage": first_stage,
        "variational": variational,
    }


def _empty_variational(
    config: dict, unet: UNet, diffusion: Diffusion
) -> VariationalDiffusion | None:
    """The model around the score network, its encoder without memory for weights."""
    if "variational" not in config:
        return None
    if not isinstance(diffusion.schedule, LinearLogSNR):
        raise ConfigError("a variational model needs gamma_0 and gamma_1 in diffusion.schedule")
    known = config["variational"] | {"unet": dataclasses.asdict(unet.config)}
    settings = build(VDMConfig, known, "variational.")
    with torch.device("meta"):
        encoder = MeanEncoder(settings.encoder) if settings.encoder else None
    return VariationalDiffusion.around(settings, unet, encoder, diffusion.schedule)


def _check_timestep(diffusion: Diffusion, key: str, value: object) -> None:
    process = diffusion.schedule
    number = (int,) if isinstance(process.most, int) else (int, float)
    if type(value) not in number or not min(0, process.least) <= value <= process.most:
        raise ConfigError(f"{key} must be a timestep, got {short(value)}")


def _class_names(config: dict, networks: Family) -> tuple[str, ...]:
    """The names of the classes, as many as the networks know."""
    names, count = config.get("classes", []), networks.class_count
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"classes must be a list of names, got {short(names)}")
    if len(names) != count:
        raise ConfigError(f"the model knows {count} classes, but {len(names)} names are given")
    return tuple(names)


def _one_of(known: dict, config: dict, key: str, default: str) -> str:
    value = config.get(key, default)
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"unknown {key} {short(value)}; known: {', '.join(known)}")
    return value


def _empty_prior(values: dict) -> Prior:
    known = {"mlp", "schedule", "clip"}
    if not isinstance(values, dict) or "mlp" not in values or set(values) - known:
        raise ConfigError("prior takes mlp, schedule and clip")
    schedule = build(Schedule, values.get("schedule", {"kind": "constant"}), "prior.schedule.")
    mlp = LatentMLP(build(LatentMLPConfig, values["mlp"], "prior.mlp."))
    return Prior(mlp, schedule, values.get("clip") is True)


def empty_first_stage(config: dict) -> FirstStage | None:
    """Without memory for its weights; None where states are pixels."""
    if "first_stage" not in config:
        return None
    values = config["first_stage"]
    published = isinstance(values, dict) and "kind" in values
    kind = PublishedStageConfig if published else PatchAutoencoderConfig
    architecture = build(kind, values, "first_stage.")
    with torch.device("meta"):
        return (PublishedStage if published else PatchAutoencoder)(architecture)


def read_attributes(config: dict) -> tuple[Attribute, ...]:
    """The sliders that a configuration names.

    Raises:
        ConfigError: no list, or two of one name.
    """
    found = _read_list(config, "attributes", Attribute)
    if len({attribute.name for attribute in found}) < len(found):
        raise ConfigError("two attributes have the same name")
    return found


def read_affine_sides(config: dict) -> tuple[AffineSide, ...]:
    """The sides of sliders that affine edits stand for, in a configuration.

    Raises:
        ConfigError: no list, one side twice, or a slider that there is not, or has no medians.
    """
    found = _read_list(config, "affine", AffineSide)
    check_sides("affine", found, _with_medians(config))
    return found


def read_clearings(config: dict, size: int) -> tuple[Clearing, ...]:
    """The sides of sliders that clear the photograph's own detail away, in states of `size`.

    Raises:
        ConfigError: no list, or see `check_clearings`.
    """
    found = _read_list(config, "clearings", Clearing)
    check_clearings(found, _with_medians(config), size)
    return found


def _read_list(config: dict, key: str, kind: type[Listed]) -> tuple[Listed, ...]:
    rows = config.get(key, [])
    if not isinstance(rows, list):
        raise ConfigError(f"{key} must be a list, got {short(rows)}")
    return tuple(build(kind, row, f"{key}[{i}].") for i, row in enumerate(rows))


def _with_medians(config: dict) -> set[str]:
    """The attributes whose medians are known."""
    attributes = read_attributes(config) if "attributes" in config else ()
    return {a.name for a in attributes if a.unit is None}
