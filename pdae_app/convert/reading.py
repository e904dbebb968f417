"""Foreign files to plain tensors, without running anything that a file says.

`torch.load(weights_only=True)` refuses code; on top of it, before anything is read, the names that
the pickle mentions are compared with a short list of harmless ones, and the sizes that the archive
claims with the file's own. Zip archives are mapped, not read, so memory is spent on what is used.
"""

import json
import pickle
import pickletools
import zipfile
from pathlib import Path

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pdae_app.convert.errors import ConvertError

# The pickled names that files of weights need.
HARMLESS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch Size",
    "torch device",
    *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int")),
    *(f"torch {kind}Storage" for kind in ("Short", "Char", "Byte", "Bool")),
    *(f"torch float{bits}" for bits in (16, 32, 64)),
    *(f"torch int{bits}" for bits in (8, 16, 32, 64)),
    "torch bfloat16",
}
# Lightning 1.4 keys its callbacks by this class; an empty one stands in for it.
LIGHTNING_CALLBACK = "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"
LARGEST_PICKLE = 64 << 20
LARGEST_TEXT = 1 << 20


class _CallbackStandIn:
    """Takes the place of a class that a checkpoint names and nobody needs."""


def read_checkpoint(path: str | Path) -> dict:
    """The mapping that a .pt, .ckpt, .pkl or .safetensors file holds.

    Raises:
        ConvertError: no such file, damaged, or more in it than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise ConvertError(f"there is no file {path}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    archive = zipfile.is_zipfile(path)
    try:
        (_check_archive if archive else _check_old_format)(path)
        stand_in = [(_CallbackStandIn, LIGHTNING_CALLBACK)]
        with torch.serialization.safe_globals(stand_in):
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except ConvertError:
        raise
    except pickle.UnpicklingError as error:
        raise ConvertError(
            f"{path} holds more than weights, and was refused; nothing of it was run"
        ) from error
    except Exception as error:  # torch raises what it happens upon in a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConvertError(f"{path} is damaged, or no torch file ({reason})") from error
    if not isinstance(data, dict):
        raise ConvertError(f"{path} holds a {type(data).__name__}, not a mapping of tensors")
    return data


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConvertError(f"{path} is damaged, or no safetensors file ({error})") from error


def _check_archive(path: Path) -> None:
    """A torch archive stores its entries as they are, so none can be larger than the file."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ConvertError(f"{path} claims more than it holds, and was refused (a zip bomb?)")
        pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > LARGEST_PICKLE:
            raise ConvertError(f"{path} is no torch file: it has no data.pkl of a usual size")
        _check_names(path, archive.read(pickles[0]))


def _check_old_format(path: Path) -> None:
    """Torch's format before 1.6: five pickles in a row, then the storages."""
    most = max(path.stat().st_size, 1 << 20)
    with open(path, "rb") as file:
        for _ in range(5):
            try:
                numbers = _check_names(path, file)
            except ValueError as error:
                raise ConvertError(f"{path} is damaged, or no torch file ({error})") from error
            # Storages say their lengths; the format's own magic number is longer than any.
            if any(most < number < 1 << 60 for number in numbers):
                raise ConvertError(f"{path} claims more than it holds, and was refused")


def _check_names(path: Path, stream) -> list[int]:
    """Refuse a pickle that names anything unusual, without running it; its whole numbers."""
    numbers = []
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
            raise ConvertError(f"{path} was not written by torch.save, and was refused")
        callback = LIGHTNING_CALLBACK.rpartition(".")[::2]
        if operation.name == "GLOBAL" and argument not in HARMLESS | {" ".join(callback)}:
            name = argument.replace(" ", ".")
            raise ConvertError(
                f"{path} holds more than weights ({name}), and was refused; nothing of it was run"
            )
        if isinstance(argument, int):
            numbers.append(argument)
    return numbers


def read_settings(path: str | Path) -> dict:
    """A YAML or JSON mapping.

    Raises:
        ConvertError: no such file, or no mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise ConvertError(f"there is no file {path}")
    if path.stat().st_size > LARGEST_TEXT:
        raise ConvertError(f"{path} is too large for a configuration")
    try:
        text = path.read_text()
        settings = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConvertError(f"{path} cannot be read: {error}") from error
    if not isinstance(settings, dict):
        raise ConvertError(f"{path} is no mapping of settings")
    return settings


def part(data: dict, names: tuple[str, ...], path: str | Path) -> dict:
    """The first of the entries `names` that `data` has.

    Raises:
        ConvertError: it has none of them; those that it has are listed.
    """
    for name in names:
        if isinstance(data.get(name), dict):
            return data[name]
    held = ", ".join(map(str, list(data)[:8])) or "nothing"
    raise ConvertError(f"{path} has no {' or '.join(names)}; it holds {held}")


def only_tensors(entries: dict, path: str | Path) -> dict[str, Tensor]:
    """The tensors of a state dict, each backed by as many numbers as it claims.

    Raises:
        ConvertError: an entry is no such tensor.
    """
    bad = [str(name) for name, value in entries.items() if not _honest(name, value)]
    if bad:
        raise ConvertError(f"{path}: no plain tensors: {', '.join(bad[:8])}")
    return entries


def _honest(name, value) -> bool:
    if not isinstance(name, str) or not isinstance(value, Tensor) or value.is_sparse:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose names begin with `prefix`, without it."""
    start = len(prefix)
    return {name[start:]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
