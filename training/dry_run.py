"""What a training will take, told before it begins."""

import copy
import math

import torch
from torch import Tensor, nn

from training.loop import LoopConfig
from training.objective import Objective


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
    kept = activation_bytes(objective, *batch)
    lines = [f"{name}: {count:,} parameters, trained" for name, count in rows.items()]
    lines += [f"frozen: {whole - trained:,} parameters"] if whole > trained else []
    lines.append(
        f"memory: about {(weights + kept) / 1e6:,.0f} MB a process ({weights / 1e6:,.0f} for "
        f"weights and optimiser, {kept / 1e6:,.0f} kept for the backward pass in float32)"
    )
    batches = math.ceil(config.pictures / config.batch_size)
    lines.append(f"{batches:,} steps of {config.batch_size} pictures on one process")
    return "\n".join(lines)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def activation_bytes(objective: Objective, x_0: Tensor, *labels: Tensor) -> int:
    """What a forward pass keeps for the backward pass, counted on tensors without memory.

    Args:
        x_0: a batch on the meta device; `labels` what comes with it.
    """
    ghost, kept = copy.deepcopy(objective).to("meta").train(), {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss = ghost(x_0, *ghost.draw(tuple(x_0.shape), x_0.device), *labels)
    weights = {tensor.untyped_storage()._cdata for tensor in ghost.parameters()}
    # The graph, which holds what was counted, must live till here.
    return sum(size for key, size in kept.items() if key not in weights) if loss.ndim == 0 else 0
