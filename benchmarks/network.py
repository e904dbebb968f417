"""One guided evaluation of the published architectures, against the same networks written plainly.

python -m benchmarks.network --presets celeba64 ffhq128

Plain: contiguous tensors (NCHW), attention by einsum, and two full passes: the frozen U-Net, then
the encoder half again for the gradient estimator. Trajectory interpolation: two shifts on one pass
of the frozen U-Net, against two guided passes of the same precision. Random weights; ours in
float32 and in half precision (bfloat16 on CPUs, float16 on GPUs).
"""

import argparse
import statistics
import time

import torch
from torch import Tensor, nn

from benchmarks.tables import publish
from pdae_app.diffusion.denoisers import Mix
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.families import Family, family
from pdae_app.models.layers import SelfAttention
from pdae_app.models.pdae import PDAE
from pdae_app.models.precision import half_dtype
from pdae_app.models.presets import preset


class EinsumAttention(nn.Module):
    """Self-attention as papers write it."""

    def __init__(self, given: SelfAttention):
        super().__init__()
        self.given = given

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        n, c, height, width = x.shape
        given, heads = self.given, self.given.heads
        tokens = given.norm(x).reshape(n, c, -1)
        qkv = torch.einsum("oc,ncl->nol", given.qkv.weight, tokens) + given.qkv.bias[:, None]
        q, k, v = qkv.reshape(n * heads, 3 * c // heads, -1).chunk(3, dim=1)
        weights = torch.einsum("bct,bcs->bts", q, k) * (c // heads) ** -0.5
        h = torch.einsum("bts,bcs->bct", weights.softmax(dim=-1), v).reshape(n, c, -1)
        h = torch.einsum("oc,ncl->nol", given.proj.weight, h) + given.proj.bias[:, None]
        return x + h.reshape(n, c, height, width)


def plainly(model: PDAE) -> PDAE:
    """The same weights, contiguous, with einsum attention."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, SelfAttention):
                setattr(module, name, EinsumAttention(child))
    return model.to(memory_format=torch.contiguous_format)


class TwoPasses:
    """Eps from one full pass, each code's shift from another."""

    def __init__(self, model: PDAE, codes: Mix):
        self.model, self.diffusion, self.codes = model, Diffusion(), codes

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        eps = self.model.unet(x, t)
        shifts = (self.model.shift(self.model.unet.encoder(x, t), z) for z in self.codes.codes)
        return self.diffusion.shifted_eps(eps, self.codes.blended(shifts), t)


def guided_twice(networks: Family, codes: Mix):
    """Trajectory interpolation as two guided evaluations, their results blended."""
    denoisers = [networks.denoiser(z) for z in codes.codes]
    return lambda x, t: codes.blended(denoiser(x, t) for denoiser in denoisers)


def medians(ways: dict, repeats: int) -> dict[str, float]:
    """Median seconds of each, in turn, after one round that warms up."""
    times = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def rows_of(name: str, batch: int, repeats: int, device: str) -> list[dict]:
    """Both comparisons for one architecture."""
    config = preset(name)
    torch.manual_seed(0)
    ours = PDAE(config).eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    torch.manual_seed(0)
    plain = plainly(PDAE(config).eval().requires_grad_(False).to(device))
    size, dim = config.unet.image_size, config.encoder.z_dim
    x, t = (
        torch.randn(batch, config.unet.in_channels, size, size, device=device),
        torch.full((batch,), 500, device=device),
    )
    z_a, z_b = (torch.randn(batch, dim, device=device) for _ in range(2))
    one, both = Mix.of(z_a), Mix(((z_a, 0.5), (z_b, 0.5)))
    last = x.to(memory_format=torch.channels_last)
    exact = family(ours, Diffusion())
    half = exact.in_half(half_dtype("half", torch.device(device)))
    ways = {
        "plain": lambda: TwoPasses(plain, one)(x, t),
        "float32": lambda: exact.denoiser(one)(last, t),
        "half": lambda: half.denoiser(one)(last, t),
        "interpolation, two passes": lambda: guided_twice(exact, both)(last, t),
        "interpolation, one pass": lambda: exact.denoiser(both)(last, t),
        "half interpolation, two passes": lambda: guided_twice(half, both)(last, t),
        "half interpolation, one pass": lambda: half.denoiser(both)(last, t),
    }
    assert torch.allclose(ways["plain"](), ways["float32"](), atol=1e-3)
    seconds = medians(ways, repeats)
    return [
        {
            "architecture": name,
            "what": what,
            "plain (ms)": 1e3 * seconds[slow],
            "ours (ms)": 1e3 * seconds[fast],
            "ratio": seconds[slow] / seconds[fast],
        }
        for what, slow, fast in (
            ("one evaluation, float32", "plain", "float32"),
            ("one evaluation, half precision", "plain", "half"),
            ("trajectory interpolation", "interpolation, two passes", "interpolation, one pass"),
            (
                "trajectory interpolation, both in half precision",
                "half interpolation, two passes",
                "half interpolation, one pass",
            ),
        )
    ]


@torch.inference_mode()
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="+", default=["faces128", "celeba64", "ffhq128"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for name in arguments.presets:
        rows += rows_of(name, arguments.batch, arguments.repeats, device)
    publish(
        "network", rows, f"Batch of {arguments.batch}, medians of {arguments.repeats}, {device}."
    )


if __name__ == "__main__":
    main()
