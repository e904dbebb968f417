"""The checkpoint folder: config.json and safetensors. Loading runs no code from a file.

config.json holds the architectures, the diffusion process, and provenance. Tensors lie in one
file a part: first_stage (of latent models), unet, encoder, shift (of PDAE), prior, latents.
Half-precision files are loaded as float32.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from pdae_app.bundle_config import (
    FORMAT,
    empty_first_stage,
    empty_parts,
    read_affine_sides,
    read_attributes,
    read_config,
)
from pdae_app.bundle_files import BundleError, changed, read_tensors, sha256, stored_dtype
from pdae_app.diffusion.coupled import Repaint
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.process import Process, Time
from pdae_app.diffusion.spacing import Spacing
from pdae_app.diffusion.variational import VariationalDiffusion
from pdae_app.drawing import Drawing
from pdae_app.faces.detect import ALIGNER
from pdae_app.families import Family, family
from pdae_app.latents.affine import AffineEdit, AffineSide
from pdae_app.latents.clearing import Clearing
from pdae_app.latents.directions import Attribute, LatentSpace
from pdae_app.latents.prior import Prior
from pdae_app.latents.typical import Typical
from pdae_app.models.first_stage import FirstStage, Pixels
from pdae_app.models.published_stage import PublishedStage
from pdae_app.models.unet import UNet
from pdae_app.typed_config import ConfigError, short
from pdae_app.whole import restored, whole_folder

# Of what is wrong with a bundle, so many things are told, each in so many characters.
MOST_SHOWN, LONGEST_SHOWN = 20, 600


@dataclass
class Bundle:
    """A model as it lies on disk.

    `model` is None for a U-Net alone; for Diff-AE, `unet` is its conditional one. `stepping` names
    the way of stepping that the model is used with by default (`steppings`), `spacing` holds the
    settings of one of its own; `framing` says how its training pictures were framed (`FRAMINGS`),
    `aligner` what found the eyes for that; `floor` is the time from which new pictures jump to
    x0_hat (`jumping`), 0 for networks that denoise at all levels. `coupled_from` is the time from
    which photographs are edited by `pdae_app.diffusion.coupled`; None edits through the inferred
    x_T, as the papers do. `repaint` says where such edits take the photograph's own detail away,
    `clearings` which sides of sliders do so more readily, `drawing` how new pictures are drawn.
    `typical` tells pictures like the training pictures from others. `first_stage` stands between
    pictures and the states that `unet` knows; None is `Pixels`.
    `classes` are the names of the classes that the U-Net, or PDAE in place of images, is told.
    `variational` is the model with a likelihood that `unet` is the score network of, if it is one.
    `dtypes` are those in which the networks lie on disk, by the names of their files.
    `info` is free: training data, licence, measured figures. `identity` names the exact files,
    `folder` is where they were read from.
    """

    unet: UNet
    diffusion: Diffusion
    model: nn.Module | None = None
    latents: LatentSpace | None = None
    prior: Prior | None = None
    stepping: str = "clean"
    spacing: Spacing | None = None
    framing: str = "face"
    aligner: str = ALIGNER
    floor: Time = 0
    coupled_from: Time | None = None
    repaint: Repaint | None = None
    clearings: tuple[Clearing, ...] = ()
    drawing: Drawing = field(default_factory=Drawing)
    classes: tuple[str, ...] = ()
    typical: Typical | None = None
    info: dict = field(default_factory=dict)
    first_stage: FirstStage | None = None
    variational: VariationalDiffusion | None = None
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    identity: str = "unsaved"
    folder: Path | None = None

    def __post_init__(self):
        if self.first_stage is None:
            self.first_stage = Pixels(self.unet.config.in_channels)

    @property
    def family(self) -> Family:
        """What the networks are, and can do."""
        neutral = None if self.latents is None else self.latents.mean[None]
        return family(self.model or self.unet, self.diffusion, neutral)

    @property
    def process(self) -> Process:
        """The noise levels that the networks know."""
        return self.diffusion.schedule

    @property
    def generates(self) -> bool:
        """Whether new pictures can be drawn: codes from a prior, or of classes."""
        return self.prior is not None or bool(self.classes)

    @property
    def picture_size(self) -> int:
        """Side in pixels of the pictures that go in and come out."""
        return self.first_stage.factor * self.unet.config.image_size

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """(C, S, S) of a state: what the U-Net denoises."""
        unet = self.unet.config
        return unet.in_channels, unet.image_size, unet.image_size

    def codes(self, pictures: Tensor) -> Tensor:
        """Codes z (N, D) of pictures (N, C, S, S) in [-1, 1] of the bundle's size."""
        return self.model.encoder(resized(pictures, self.model.encoder.config.image_size))

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The networks by the names of their files."""
        parts = self.family.parts
        if not isinstance(self.first_stage, Pixels):
            # Its place decides the order of `identity`.
            parts = {"unet": parts.pop("unet"), "first_stage": _weights(self.first_stage), **parts}
        if self.variational is not None and self.variational.networks.encoder is not None:
            parts["mean_encoder"] = self.variational.networks.encoder
        if self.prior is not None:
            parts["prior"] = self.prior.mlp
        return parts


def _weights(first_stage: FirstStage) -> nn.Module:
    """What is kept of it: a network of diffusers under its own names."""
    return first_stage.network if isinstance(first_stage, PublishedStage) else first_stage


def resized(pictures: Tensor, size: int) -> Tensor:
    """Pictures (N, C, S, S) reduced to `size` a side, by averages over areas."""
    return pictures if pictures.shape[-1] == size else F.adaptive_avg_pool2d(pictures, size)


def save_bundle(bundle: Bundle, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write `bundle` to `folder`, whole or not at all. Files of other names in it are kept.

    Args:
        dtype: of the weights; by default as they were read, new ones in float16.

    Raises:
        BundleError: a file could not be written, or what was written could not be loaded again;
            what was there before is untouched.
    """
    with _bundle_folder(folder) as partial:
        for name, module in bundle.parts.items():
            kind = dtype or bundle.dtypes.get(name, torch.float16)
            _save_network(module, partial / f"{name}.safetensors", kind)
        if bundle.latents is not None:
            _write_tensors(bundle.latents.tensors(), partial / "latents.safetensors")
        _write_config(_config(bundle), partial)
        check_bundle(partial)


def save_first_stage(first_stage: FirstStage, folder: str | Path) -> None:
    """Write a first stage alone, for `load_first_stage`, in float16."""
    with _bundle_folder(folder) as partial:
        _save_network(_weights(first_stage), partial / "first_stage.safetensors", torch.float16)
        config = {"format": FORMAT, "first_stage": dataclasses.asdict(first_stage.config)}
        _write_config(config, partial)
        load_first_stage(partial)


@contextmanager
def _bundle_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to write a bundle in, as `whole_folder`; the other files of `folder` come along."""
    folder = Path(folder)
    with whole_folder(folder) as partial:
        yield partial
        for path in folder.iterdir() if folder.exists() else ():
            ours = path.name == "config.json" or path.suffix == ".safetensors"
            if ours or (partial / path.name).exists():
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.copytree(path, partial / path.name, symlinks=True)
            else:
                shutil.copy2(path, partial / path.name, follow_symlinks=False)


def _save_network(module: nn.Module, path: Path, dtype: torch.dtype) -> None:
    tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in module.state_dict().items()}
    _write_tensors(tensors, path)


def _write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # a full disk, for one
        raise BundleError(f"{path.name} could not be written ({error})") from error


def _write_config(config: dict, folder: Path) -> None:
    sums = {path.name: sha256(path) for path in sorted(folder.glob("*.safetensors"))}
    text = json.dumps(config | {"sha256": sums}, indent=2)
    (folder / "config.json").write_text(text + "\n")


def _config(bundle: Bundle) -> dict:
    config = {
        "format": FORMAT,
        "kind": bundle.family.name,
        "diffusion": dataclasses.asdict(bundle.diffusion),
        "unet": dataclasses.asdict(bundle.unet.config),
        "stepping": bundle.stepping,
        "framing": bundle.framing,
        "aligner": bundle.aligner,
        "floor": bundle.floor,
        "coupled_from": bundle.coupled_from,
    }
    if bundle.drawing != Drawing():
        config["drawing"] = dataclasses.asdict(bundle.drawing)
    for name in ("repaint", "spacing", "typical"):
        if getattr(bundle, name) is not None:
            config[name] = dataclasses.asdict(getattr(bundle, name))
    if not isinstance(bundle.first_stage, Pixels):
        config["first_stage"] = dataclasses.asdict(bundle.first_stage.config)
    if bundle.variational is not None:
        config["variational"] = bundle.variational.settings
    if bundle.classes:
        config["classes"] = list(bundle.classes)
    config |= bundle.family.config
    if bundle.prior is not None:
        config["prior"] = {
            "mlp": dataclasses.asdict(bundle.prior.mlp.config),
            "schedule": dataclasses.asdict(bundle.prior.schedule),
            "clip": bundle.prior.clip,
        }
    if bundle.latents is not None:
        config["attributes"] = [a.facts() for a in bundle.latents.attributes]
        sides = {"affine": [e.side for e in bundle.latents.affine], "clearings": bundle.clearings}
        config |= {k: [dataclasses.asdict(s) for s in some] for k, some in sides.items() if some}
    return config | {"info": bundle.info}


def load_bundle(folder: str | Path, device: str | torch.device = "cpu") -> Bundle:
    """Read a bundle; networks in evaluation mode, float32.

    Raises:
        BundleError: a file or tensor is missing, misshapen, not finite or unknown; all are listed.
    """
    folder = restored(folder)
    config = read_config(folder)
    bundle = _with_weights(folder, config, _fill)
    for name in bundle.parts:
        bundle.dtypes[name] = stored_dtype(folder / f"{name}.safetensors")
    bundle.identity, bundle.folder = _identity(folder, bundle), folder
    networks = [bundle.model or bundle.unet] + ([bundle.prior.mlp] if bundle.prior else [])
    networks += [bundle.variational] if bundle.variational else []
    whole = nn.ModuleList([bundle.first_stage, *networks])
    whole.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    return bundle


def check_bundle(folder: Path) -> None:
    """Whether a folder could be loaded, without the memory that its weights take.

    Raises:
        BundleError: it could not.
    """
    _with_weights(folder, read_config(folder), _compared)


def _with_weights(folder: Path, config: dict, read: Callable) -> Bundle:
    """The bundle with what `read` makes of each part and its file; what is wrong is listed."""
    bundle = Bundle(**_built(empty_parts, config, folder))
    problems = changed(folder, config)
    for name, module in bundle.parts.items():
        problems += read(module, folder / f"{name}.safetensors")
    if "attributes" in config:
        attributes = _built(read_attributes, config, folder)
        sides = _built(read_affine_sides, config, folder)
        bundle.latents, found = _load_latents(folder, attributes, sides, bundle.model)
        problems += found
    if problems:
        raise _unloadable(folder, problems)
    return bundle


def check_config(folder: Path) -> None:
    """Whether a folder's `config.json` describes a bundle, whatever weights lie beside it.

    Raises:
        BundleError: it does not.
    """
    _built(empty_parts, read_config(folder), folder)


def load_first_stage(folder: str | Path, device: str | torch.device = "cpu") -> FirstStage:
    """The first stage of a bundle, or of a folder that holds nothing else.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    folder = Path(folder)
    config = read_config(folder, needed=("first_stage",))
    first_stage = _built(empty_first_stage, config, folder)
    path = folder / "first_stage.safetensors"
    problems = changed(folder, config) + _fill(_weights(first_stage), path)
    if problems:
        raise _unloadable(folder, problems)
    first_stage.eval().requires_grad_(False)
    return first_stage.to(device, memory_format=torch.channels_last)


def _unloadable(folder: Path, problems: list[str]) -> BundleError:
    """Of what is wrong, as much as somebody reads."""
    shown = [problem[:LONGEST_SHOWN] for problem in problems[:MOST_SHOWN]]
    if len(problems) > MOST_SHOWN:
        shown.append(f"and {len(problems) - MOST_SHOWN} more of such")
    return BundleError(f"{folder} cannot be loaded:\n  " + "\n  ".join(shown))


def _built(make, config: dict, folder: Path):
    """What a configuration describes, made by `make`, or a sentence about what is wrong."""
    try:
        return make(config)
    except ConfigError as error:
        raise BundleError(f"{folder / 'config.json'}: {error}"[:LONGEST_SHOWN]) from error
    except Exception as error:  # whatever torch makes of parts that do not fit together
        reason = short(str(error) or type(error).__name__)
        raise BundleError(f"{folder / 'config.json'} describes no network ({reason})") from error


def bundle_files(bundle: Bundle) -> list[str]:
    """The names of the files that the bundle consists of, its model card aside."""
    latents = ["latents"] if bundle.latents is not None else []
    return ["config.json", *(f"{name}.safetensors" for name in [*bundle.parts, *latents])]


def _identity(folder: Path, bundle: Bundle) -> str:
    sums = [sha256(folder / name) for name in bundle_files(bundle)]
    return hashlib.sha256("".join(sums).encode()).hexdigest()[:16]


def network_identity(network: nn.Module) -> str:
    """A hash of a network's weights, whatever lies beside it in a bundle."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def _compared(module: nn.Module, path: Path) -> list[str]:
    return read_tensors(path, _shapes(module), keep=False)[1]


def _fill(module: nn.Module, path: Path) -> list[str]:
    tensors, problems = read_tensors(path, _shapes(module))
    if not problems:
        module.load_state_dict(tensors, assign=True)
    return problems


def _load_latents(
    folder: Path,
    attributes: tuple[Attribute, ...],
    sides: tuple[AffineSide, ...],
    model: nn.Module | None,
) -> tuple[LatentSpace | None, list[str]]:
    if model is None:
        return None, ["config.json lists attributes, but the bundle has no encoder"]
    count, dim = len(attributes), model.config.encoder.z_dim
    expected = {"mean": (dim,), "std": (dim,), "weights": (count, dim), "directions": (count, dim)}
    for side in sides:
        expected |= side.shapes(dim)
    tensors, problems = read_tensors(folder / "latents.safetensors", expected)
    if problems:
        return None, problems
    if not (tensors["std"] > 0).all():
        return None, ["latents.safetensors: std holds a number that is not above 0"]
    affine = tuple(AffineEdit.of_tensors(side, tensors) for side in sides)
    return LatentSpace(**tensors, attributes=attributes, affine=affine), []
