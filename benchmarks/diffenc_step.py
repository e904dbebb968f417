"""One training step of DiffEnc against plain VDM, and what the encoder's derivative costs.

python -m benchmarks.diffenc_step
python -m benchmarks.diffenc_step cifar10 8 --batch 128

The derivative by lambda is a Jacobian-vector product; beside it stands the other exact way, two
reverse passes.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.tables import publish
from pdae_app.diffusion.encoding import LearnedEncoding
from pdae_app.diffusion.likelihood import scaled
from pdae_app.diffusion.variational import VariationalDiffusion
from pdae_app.models.presets import vdm_preset
from pdae_app.models.vdm import initialise

ROUNDS = 7


def step(model: VariationalDiffusion, x: Tensor, t: Tensor) -> None:
    """Loss and gradients."""
    eps_0, eps = torch.randn(2, *x.shape, device=x.device)
    sum(model.losses(x, t, eps_0, eps).values()).mean().backward()
    model.zero_grad(set_to_none=True)


def by_two_reverse_passes(encoding: LearnedEncoding, X: Tensor, log_snr: Tensor) -> Tensor:
    """Dy / dlambda as the derivative of u^T dy / dlambda by u, exact like the product."""
    levels = log_snr.clone().requires_grad_()
    # The fused attention kernels have no second derivative.
    with sdpa_kernel(SDPBackend.MATH):
        y = encoding.y(X, levels)
        u = torch.zeros_like(y, requires_grad=True)
        product = torch.autograd.grad(y, levels, u, create_graph=True)[0]
        return torch.autograd.grad(product.sum(), u)[0]


def seconds(ways: dict[str, Callable[[], object]], device: str) -> dict[str, float]:
    """Medians, the ways' turns interleaved; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if device == "cuda":
                torch.cuda.synchronize()
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def peak_megabytes(way: Callable[[], object], device: str) -> float:
    """The most memory while it runs: of the GPU, else of the process so far."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        way()
        return torch.cuda.max_memory_allocated() / 1e6
    way()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", default="mnist", help="of the presets")
    parser.add_argument("blocks", nargs="?", default="8", help="of the score network")
    parser.add_argument("--encoder", default="2", help="layers of the encoder")
    parser.add_argument("--batch", type=int, default=4)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    stem, torch_device = f"{arguments.data}-%s-{arguments.blocks}", torch.device(device)
    torch.manual_seed(0)
    names = {"VDM-v": stem % "vdm_v", "DiffEnc": f"{stem % 'diffenc'}-{arguments.encoder}"}
    models = {
        name: initialise(VariationalDiffusion(vdm_preset(preset))).to(torch_device)
        for name, preset in names.items()
    }
    unet = models["VDM-v"].config.unet
    shape = (arguments.batch, unet.in_channels, unet.image_size, unet.image_size)
    x = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    t = torch.rand(arguments.batch, device=device)
    ways = {
        f"{name}: training step": lambda model=model: step(model, x, t)
        for name, model in models.items()
    }
    memory = {name: peak_megabytes(way, device) for name, way in ways.items()}
    encoder = models["DiffEnc"]
    X, log_snr = scaled(x), encoder.log_snr(t, x.float()).float()
    encoding = LearnedEncoding(encoder.networks.y)
    forward = {
        "encoder: y": lambda: encoding.y(X, log_snr),
        "encoder: y and its derivative": lambda: encoding.y_and_slope(X, log_snr),
    }
    reverse = {
        "encoder: two reverse passes": lambda: by_two_reverse_passes(encoding, X, log_snr),
    }
    with torch.no_grad():
        rates = seconds(forward, device)
    rates |= seconds(reverse, device) | seconds(ways, device)
    report(rates, memory, arguments)


def report(rates: dict[str, float], memory: dict[str, float], arguments) -> None:
    """The table, and the ratios below it."""
    rows = [
        {"what": name, "ms": 1000 * value, "peak MB": memory.get(name, "")}
        for name, value in rates.items()
    ]
    y, both = rates["encoder: y"], rates["encoder: y and its derivative"]
    first, second = (rates[f"{name}: training step"] for name in ("VDM-v", "DiffEnc"))
    notes = (
        f"Batch {arguments.batch}. DiffEnc : VDM-v = {second / first:.2f} in time. The derivative "
        f"costs {(both - y) / y:.2f} forward passes of the encoder beside the one that gives y."
    )
    publish("diffenc_step", rows, notes)


if __name__ == "__main__":
    main()
