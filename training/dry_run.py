"""What a training will take, told before it begins."""

import copy
import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from pdae_app.models.unet import Block, set_checkpointed
from training.loop import LoopConfig
from training.objective import Objective
from training.states import own_device

# Of a device, in TFLOP/s: what speed is told by.
SUSTAINED = 100

# What is kept, by accelerate's mixed precision.
PRECISIONS = {"no": "float32", "bf16": "half precision", "fp16": "half precision"}

# What autocast computes in half precision, and on GPUs in float32.
PRODUCTS = (F.conv1d, F.conv2d, F.linear, torch.matmul, torch.bmm, torch.baddbmm, torch.einsum)
PRODUCTS += (torch.Tensor.__matmul__, F.scaled_dot_product_attention)
NORMALISATIONS = (F.group_norm, F.layer_norm, F.softmax, torch.softmax, torch.Tensor.softmax)


def describe_run(config: LoopConfig, objective: Objective, *shapes: tuple[int, ...]) -> str:
    """What `--dry-run` prints: parameters and the memory that training takes.

    Args:
        shapes: of what an item of a batch holds: a picture or a state, and what comes with it;
            () is a class.
    """
    rows = {name: _parameters(module) for name, module in objective.trained().items()}
    trained, whole = sum(rows.values()), _parameters(objective)
    # Of every parameter its value; of a trained one also gradient, Adam's two moments and EMA.
    copies = 3 if config.ema_device == "cpu" else 4
    weights = 4 * (whole + copies * trained)
    n = config.batch_size // config.accumulate
    batch = [
        torch.empty(n, *shape, device="meta", dtype=torch.float if shape else torch.long)
        for shape in shapes
    ]
    precision = config.mixed_precision or "no"
    activations = count_activations(objective, *batch, precision=precision)
    kept = activations.checkpointed if config.gradient_checkpointing else activations.all
    lines = [f"{name}: {count:,} parameters, trained" for name, count in rows.items()]
    lines += [f"frozen: {whole - trained:,} parameters"] if whole > trained else []
    lines.append(
        f"memory: about {(weights + kept) / 1e6:,.0f} MB a process ({weights / 1e6:,.0f} for "
        f"weights and optimiser, {kept / 1e6:,.0f} kept for the backward pass in "
        f"{PRECISIONS[precision]})"
    )
    if not config.gradient_checkpointing and activations.checkpointed < kept:
        less = (weights + activations.checkpointed) / 1e6
        lines.append(f"with loop.gradient_checkpointing=true: about {less:,.0f} MB, and slower")
    batches = math.ceil(config.pictures / config.batch_size)
    lines.append(f"{batches:,} steps of {config.batch_size} pictures on one process")
    lines.append(_speed(config.accumulate * count_operations(objective, *batch), batches))
    return "\n".join(lines)


def _speed(operations: int, steps: int) -> str:
    """How long `steps` of so many operations take, for a device of known speed."""
    seconds = operations / (SUSTAINED * 1e12)
    return (
        f"work: about {operations / 1e12:,.3g} TFLOP a step; at {SUSTAINED} TFLOP/s, kept up, "
        f"{1 / seconds:,.3g} steps a second and {steps * seconds / 3600:,.3g} hours"
    )


def count_operations(objective: Objective, x_0: Tensor, *labels: Tensor) -> int:
    """Floating-point operations of a step's forward and backward pass, on tensors without memory.

    A multiplication and an addition are two. For the arguments see `count_activations`.
    """
    ghost = copy.deepcopy(objective).to("meta").train()
    set_checkpointed(ghost, False)
    with FlopCounterMode(display=False) as counter:
        ghost(x_0, *ghost.draw(tuple(x_0.shape), x_0.device), *labels).mean().backward()
    return counter.get_total_flops()


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class MetaAutocast(TorchFunctionMode):
    """What `torch.autocast` does, for tensors on the meta device, which it leaves alone.

    The products are in half precision; on a GPU the normalisations are in float32, on a CPU in
    what they are given.
    """

    def __init__(self, on_gpu: bool):
        super().__init__()
        self.kinds = dict.fromkeys(PRODUCTS, torch.bfloat16)
        self.kinds |= dict.fromkeys(NORMALISATIONS, torch.float32) if on_gpu else {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kind = self.kinds.get(func)
        if kind is not None:
            args = [_cast(value, kind) for value in args]
            kwargs = {name: _cast(value, kind) for name, value in (kwargs or {}).items()}
        return func(*args, **(kwargs or {}))


def _cast(value: object, kind: torch.dtype) -> object:
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return value.to(kind) if floating else value


@dataclass(frozen=True)
class Activations:
    """Bytes that a forward pass keeps for the backward pass: usually, and with checkpointing."""

    all: int
    checkpointed: int


def count_activations(
    objective: Objective, x_0: Tensor, *labels: Tensor, precision: str = "no"
) -> Activations:
    """What a forward pass keeps, counted on tensors without memory.

    Args:
        x_0: a batch on the meta device; `labels` what comes with it.
        precision: of accelerate's mixed precision, a key of `PRECISIONS`.
    """
    ghost, kept = copy.deepcopy(objective).to("meta").train(), {}
    set_checkpointed(ghost, False)
    weights = {tensor.untyped_storage()._cdata for tensor in ghost.parameters()}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    blocks = _watched_blocks(ghost, kept)
    autocast = nullcontext() if precision == "no" else MetaAutocast(own_device() != "cpu")
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), autocast:
        loss = ghost(x_0, *ghost.draw(tuple(x_0.shape), x_0.device), *labels)
    # The graph, which holds what was counted, must live till here.
    whole = sum(kept.values()) if loss.ndim == 0 else 0
    # A checkpointed block keeps its input; one at a time is computed again.
    saved = sum(inside - given for given, inside in blocks)
    return Activations(whole, whole - saved + max((inside for _, inside in blocks), default=0))


def _watched_blocks(network: nn.Module, kept: dict[int, int]) -> list[tuple[int, int]]:
    """Of every block that a forward pass goes through: bytes of its input, and of what it keeps."""
    before, blocks = [], []

    def begin(*_) -> None:
        before.append(sum(kept.values()))

    def end(block: Block, inputs: tuple, _) -> None:
        inside = sum(kept.values()) - before.pop()
        if inside:  # a frozen one keeps nothing
            blocks.append((inputs[0].nbytes, inside))

    for module in network.modules():
        if isinstance(module, Block):
            module.register_forward_pre_hook(begin)
            module.register_forward_hook(end)
    return blocks
