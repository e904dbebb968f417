"""The files of a bundle, read with distrust: sizes, depth, checksums, shapes, NaN."""

import hashlib
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

DEEPEST = 32
PART = re.compile(r"\w+\.safetensors")


class BundleError(ValueError):
    """A bundle that cannot be loaded; the message lists what is wrong with which file."""


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def changed(folder: Path, config: dict) -> list[str]:
    """Which files are not those that `config.json` was written for; older ones do not say."""
    sums = config.get("sha256", {})
    if not isinstance(sums, dict):
        return ["config.json: sha256 must be a mapping of files"]
    present = [folder / name for name in sums if PART.fullmatch(name) and (folder / name).is_file()]
    return [
        f"{path.name} is damaged (its checksum is another)"
        for path in present
        if sha256(path) != sums[path.name]
    ]


def check_depth(config: object) -> None:
    """Raise ValueError where lists lie in lists beyond what any configuration needs."""
    level, depth = [config], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} times")
        nested = [part for part in level if isinstance(part, dict | list)]
        level = [x for part in nested for x in (part.values() if isinstance(part, dict) else part)]


def read_tensors(
    path: Path, expected: dict[str, tuple[int, ...]], keep: bool = True
) -> tuple[dict, list[str]]:
    """The tensors of a file as float32, and what is wrong with them.

    Without `keep` they are only looked at, one by one.
    """
    if not path.is_file():
        return {}, [f"{path.name} is missing"]
    try:
        with safe_open(path, "pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            problems = _compare(path.name, shapes, expected)
            if problems:
                return {}, problems
            tensors, bad = {}, []
            for key in shapes:
                tensor = file.get_tensor(key).float()
                bad += [] if tensor.isfinite().all() else [key]
                tensors |= {key: tensor} if keep else {}
    except (SafetensorError, OSError) as error:
        return {}, [f"{path.name} is damaged ({error})"]
    return tensors, [f"{path.name}: {key} holds NaN or infinity" for key in bad]


def stored_dtype(path: Path) -> torch.dtype:
    """The smallest one that holds all of a file's tensors to the bit, as far as float32 does."""
    with safe_open(path, "pt") as file:
        kinds = {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
    return {("F16",): torch.float16, ("BF16",): torch.bfloat16}.get(tuple(kinds), torch.float32)


def _compare(name: str, found: dict, expected: dict) -> list[str]:
    problems = [f"{name}: {key} is missing" for key in expected if key not in found]
    problems += [f"{name}: {key} is unknown" for key in found if key not in expected]
    return problems + [
        f"{name}: {key} has shape {found[key]}, expected {shape}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
