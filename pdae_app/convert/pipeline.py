"""Pipelines of diffusers: U-Net, scheduler and first stage, in folders or at the root."""

from pathlib import Path

from pdae_app.bundle import Bundle
from pdae_app.convert.diffusers import UNCONDITIONAL, read_unet
from pdae_app.convert.errors import ConvertError
from pdae_app.convert.first_stages import fitted, read_first_stage
from pdae_app.convert.hints import Hints
from pdae_app.convert.reading import read_settings
from pdae_app.convert.scheduler import Scheduled, read_scheduler
from pdae_app.diffusion.grids import SPACING
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.schedule import Schedule
from pdae_app.models.published_stage import PublishedStage
from pdae_app.models.unet import UNetConfig

INDEX, CONFIG, SCHEDULER = "model_index.json", "config.json", "scheduler_config.json"
STAGES = ("vqvae", "vae")
# Parts of pipelines that are told what to draw.
PROMPTED = ("text_encoder", "text_encoder_2", "tokenizer", "bert", "prior", "image_encoder")


def convert_pipeline(folder: Path, hints: Hints) -> Bundle:
    """A bundle of a pipeline's folder, or of the folder of a `UNet2DModel`.

    Raises:
        ConvertError: the folder cannot be used; the message says why.
    """
    index = read_index(folder)
    place = part_folder(folder, "unet", index)
    settings = read_settings(place / CONFIG)
    unet = read_unet(settings, place, hints)
    found = scheduled(folder, index, hints)
    stage = _first_stage(folder, index, hints)
    if stage is not None:
        stage = _agreeing(stage, unet.config, hints)
    return Bundle(
        unet,
        found.diffusion,
        stepping="clean" if found.spacing is None else SPACING,
        spacing=found.spacing,
        first_stage=stage,
        info={"converted_from": "diffusers", "files": [folder.name]},
    )


def read_index(folder: Path) -> dict:
    """The parts of a pipeline by name; nothing of a model that lies there alone.

    Raises:
        ConvertError: a pipeline that has no unconditional U-Net.
    """
    if not (folder / INDEX).is_file():
        return {}
    index = read_settings(folder / INDEX)
    parts = {name for name, value in index.items() if _is_part(value)}
    prompted = sorted(parts & set(PROMPTED))
    if prompted:
        raise ConvertError(
            f"this is a text-to-image pipeline (it has {', '.join(prompted)}): its U-Net wants a "
            f"prompt with every picture. PDAE adapts unconditional models, such as {UNCONDITIONAL}"
        )
    if "unet" not in parts:
        name = index.get("_class_name", "pipeline")
        raise ConvertError(
            f"this {name} has no unet; PDAE adapts unconditional U-Nets, such as {UNCONDITIONAL}"
        )
    return index


def _is_part(value) -> bool:
    return isinstance(value, list) and len(value) == 2 and value[0] is not None


def part_folder(folder: Path, name: str, index: dict) -> Path:
    """Where a part of a pipeline lies: in a folder of its name, or at the root.

    Raises:
        ConvertError: nowhere.
    """
    if (folder / name / CONFIG).is_file():
        return folder / name
    if name == "unet" and (folder / CONFIG).is_file():
        return folder
    reason = f"{INDEX} names the part {name}, but" if name in index else "there is no U-Net here:"
    raise ConvertError(f"{reason} {folder / name / CONFIG} is missing")


def scheduled(folder: Path, index: dict, hints: Hints) -> Scheduled:
    """Of the scheduler's configuration; of a model alone a guess.

    Raises:
        ConvertError: there is none where the pipeline names one, or it cannot be followed.
    """
    paths = (folder / "scheduler" / SCHEDULER, folder / SCHEDULER)
    for path in paths:
        if path.is_file():
            if hints.schedule is not None:
                raise ConvertError(f"{path} says the schedule; leave --schedule out")
            return read_scheduler(read_settings(path), hints.say)
    if "scheduler" in index:
        raise ConvertError(f"{INDEX} names the part scheduler, but {paths[0]} is missing")
    guess = hints.known("schedule", "linear", f"no {SCHEDULER}")
    return Scheduled(Diffusion(Schedule(guess)), None)


def _first_stage(folder: Path, index: dict, hints: Hints) -> PublishedStage | None:
    if hints.first_stage is not None:
        return read_first_stage(Path(hints.first_stage), hints)
    for name in STAGES:
        if name in index or (folder / name / CONFIG).is_file():
            return read_first_stage(part_folder(folder, name, index), hints)
    if index.get("_class_name") == "LDMPipeline":
        raise ConvertError(f"a latent pipeline needs the part vqvae; {INDEX} does not name it")
    return None


def _agreeing(stage: PublishedStage, unet: UNetConfig, hints: Hints) -> PublishedStage:
    if stage.state_channels != unet.in_channels:
        raise ConvertError(
            f"the first stage's latents have {stage.state_channels} channels, the U-Net takes "
            f"{unet.in_channels}: they do not belong together"
        )
    return fitted(stage, stage.factor * unet.image_size, hints)
