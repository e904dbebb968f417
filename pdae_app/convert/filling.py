"""Foreign tensors into one of our networks: all of them fit, or none is taken."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from pdae_app.convert.errors import ConvertError
from pdae_app.convert.names import from_official, official_shape
from pdae_app.typed_config import build, short

MOST_LISTED = 40

Config = TypeVar("Config")
Network = TypeVar("Network", bound=nn.Module)


def typed(config: Config) -> Config:
    """The same configuration, whose numbers a stranger's file gave; its types are checked now.

    Raises:
        ConfigError: a value is of another type than its name has.
    """
    return build(type(config), dataclasses.asdict(config))


def without_memory(make: Callable[..., Network], *arguments) -> Network:
    """A network on the meta device, for `fill`.

    Raises:
        ConvertError: nothing can be made of these arguments.
    """
    try:
        with torch.device("meta"):
            return make(*arguments)
    except Exception as error:  # whatever torch makes of numbers that do not fit together
        reason = short(str(error) or type(error).__name__)
        raise ConvertError(f"the configuration describes no network ({reason})") from error


def fill(
    module: nn.Module,
    names: dict[str, str],
    tensors: dict[str, Tensor],
    where: str,
    ignored: tuple[str, ...] = (),
) -> None:
    """Give `module` (on the meta device) the tensors of a foreign state dict.

    Args:
        names: our name to the foreign one, for every parameter.
        where: what the tensors are, for messages.
        ignored: foreign names that may be left over, or beginnings of such.

    Raises:
        ConvertError: lists every missing, unknown, misshapen or not finite tensor.
    """
    state = module.state_dict()
    problems = [
        found
        for ours, theirs in names.items()
        if (found := _problem(theirs, tensors.get(theirs), ours, state[ours]))
    ]
    extra = tensors.keys() - set(names.values())
    problems += [f"{name} is unknown" for name in sorted(extra) if not name.startswith(ignored)]
    if problems:
        raise ConvertError(_listed(where, problems))
    module.load_state_dict(
        {
            ours: from_official(tensors[theirs].float(), state[ours])
            for ours, theirs in names.items()
        },
        assign=True,
    )


def _problem(theirs: str, tensor: Tensor | None, ours: str, like: Tensor) -> str | None:
    """What is wrong with a foreign tensor that is to become our parameter `ours`, shaped `like`."""
    if tensor is None:
        return f"{theirs} is missing"
    # Attention is stored as 1x1 convolutions or as plain matrices.
    shape, expected = tuple(tensor.shape), official_shape(ours, like)
    if shape not in (expected, tuple(like.shape)):
        turned = " (transposed?)" if shape[1::-1] == expected[:2] else ""
        return f"{theirs} has shape {shape}, expected {expected}{turned}"
    if not tensor.is_floating_point():
        return f"{theirs} holds {tensor.dtype}, no floating-point numbers"
    return None if tensor.isfinite().all() else f"{theirs} holds NaN or infinity"


def _listed(where: str, problems: list[str]) -> str:
    more = len(problems) - MOST_LISTED
    shown = problems[:MOST_LISTED] + ([f"and {more} more"] if more > 0 else [])
    return f"{where} cannot be converted:\n  " + "\n  ".join(shown)
