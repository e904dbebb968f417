"""Flax checkpoints (msgpack) to tensors in PyTorch's names and layouts, without running anything.

Flax writes nested mappings; an array is an extension of type 1 that holds (shape, dtype, bytes).
Very large arrays come in pieces, marked by "__msgpack_chunked_array__".
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import torch
from torch import Tensor

from pdae_app.convert.errors import ConvertError

ARRAY = 1
SCALAR = 3
CHUNKED = "__msgpack_chunked_array__"
NUMBERS = ("float16", "float32", "float64", "int32", "int64", "uint8", "uint32", "bool")
# Averaged weights are those that the official code samples and measures with.
PARAMETERS = ("ema_params", "params")
# The last names of a tensor, there and in PyTorch.
LAST = {"kernel": "weight", "scale": "weight", "bias": "bias"}
DEEPEST = 64


def read_flax(path: str | Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint by PyTorch-like names, in PyTorch's layout.

    Raises:
        ConvertError: no such file, damaged, or no checkpoint of weights.
    """
    path = Path(path)
    if not path.is_file():
        raise ConvertError(f"there is no file {path}")
    try:
        data = msgpack.unpackb(
            path.read_bytes(), ext_hook=_extension, strict_map_key=False, raw=False
        )
    except ConvertError as error:
        raise ConvertError(f"{path}: {error}") from error
    except Exception as error:  # msgpack raises what it happens upon in a damaged file
        raise ConvertError(f"{path} is damaged, or no Flax checkpoint ({error})") from error
    arrays = dict(_leaves(_parameters(data, path)))
    if not arrays:
        raise ConvertError(f"{path} holds no weights")
    return {torch_name(names): torch_layout(names, array) for names, array in arrays.items()}


def _extension(kind: int, payload: bytes) -> Any:
    if kind not in (ARRAY, SCALAR):
        raise ConvertError(f"it holds more than arrays (extension {kind}), and was refused")
    shape, dtype, content = msgpack.unpackb(payload, raw=False)
    if dtype not in NUMBERS:
        raise ConvertError(f"it holds an array of {dtype!r}, and was refused")
    if math.prod(shape) * np.dtype(dtype).itemsize != len(content):
        raise ConvertError("an array claims another size than it has")
    return np.frombuffer(content, dtype).reshape(shape)


def _parameters(data: Any, path: Path) -> dict:
    """The mapping of weights, wherever the checkpoint keeps it."""
    while isinstance(data, dict):
        inner = next((data[name] for name in PARAMETERS if isinstance(data.get(name), dict)), None)
        if inner is None:
            return data
        data = inner
    raise ConvertError(f"{path} holds a {type(data).__name__}, not a mapping of weights")


def _leaves(
    tree: dict, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    if len(above) > DEEPEST:
        raise ConvertError("the checkpoint is nested too deeply")
    for name, value in tree.items():
        names = (*above, str(name))
        if isinstance(value, dict) and value.get(CHUNKED):
            yield names, _joined(value)
        elif isinstance(value, dict):
            yield from _leaves(value, names)
        elif isinstance(value, np.ndarray):
            yield names, value


def _joined(pieces: dict) -> np.ndarray:
    """A large array of its pieces; lists are written as mappings of numbers."""
    try:
        shape = [int(pieces["shape"][str(i)]) for i in range(len(pieces["shape"]))]
        chunks = [pieces["chunks"][str(i)] for i in range(len(pieces["chunks"]))]
        return np.concatenate(chunks).reshape(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise ConvertError(f"a large array is not whole ({error})") from error


def torch_name(names: tuple[str, ...]) -> str:
    """Names joined by dots; a dot in one becomes "_", and kernels and scales are weights."""
    *above, last = (name.replace(".", "_") for name in names)
    return ".".join([*above, LAST.get(last, last)])


def torch_layout(names: tuple[str, ...], array: np.ndarray) -> Tensor:
    """Convolutions (kh, kw, in, out) -> (out, in, kh, kw), dense layers (in, out) -> (out, in).

    Transposed convolutions become (in, out, kh, kw), and turned about in both directions: there
    out[2 i + a] = x[i] K[1 - a].
    """
    tensor = torch.from_numpy(np.array(array))
    if names[-1] != "kernel":
        return tensor
    if tensor.ndim == 2:
        return tensor.T.contiguous()
    if tensor.ndim != 4:
        raise ConvertError(f"{torch_name(names)} has {tensor.ndim} axes; 2 or 4 are known")
    if "conv_trans" in names:
        return tensor.permute(2, 3, 0, 1).flip(2, 3).contiguous()
    return tensor.permute(3, 2, 0, 1).contiguous()
