"""Codes to pictures: reconstructions, edits of one photograph, and the frames between two."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pdae_app.diffusion.coupled import Coupling
from pdae_app.diffusion.denoisers import Mix, Start, slerp
from pdae_app.diffusion.solvers import State
from pdae_app.engine.code import Code, EditError, Progress
from pdae_app.engine.sampler import Decoding, Sampler, Sampling

MODES = ("latent", "trajectory")
MOST_FRAMES = 100

# What the edits of one photograph share.
Shared = Start | Coupling


def shared_start(sampler: Sampler, code: Code, steps: int) -> Shared | None:
    """What every edit of this code shares; None where there is nothing."""
    if is_coupled(sampler, code):
        return sampler.coupling(code.z, code.state, steps)
    return sampler.start(code.x_T, steps)


def is_coupled(sampler: Sampler, code: Code) -> bool:
    """Whether edits of this code need no x_T."""
    return sampler.bundle.coupled_from is not None and code.state is not None


def decode_states(
    sampler: Sampler, code: Code, sampling: Sampling, start: Start | None = None
) -> Iterator[State]:
    """The states of a code's own picture."""
    return sampler.decode(
        Decoding(
            code.z[None].to(sampler.device),
            code.x_T[None],
            sampling,
            residuals=_residuals(sampler, sampling, [(code, 1.0)]),
            drawn=code.drawn,
            start=start,
        )
    )


def edit_states(
    sampler: Sampler,
    code: Code,
    z: Tensor,
    sampling: Sampling,
    *,
    start: Shared | None = None,
    keep: Tensor | None = None,
) -> Iterator[State]:
    """The states of edits of one picture, whose codes z (N, D) are changed ones.

    Args:
        start: by `shared_start`; needed where edits are coupled.
        keep: (S, S) in [0, 1]: where it is 1, the unchanged picture stays; N is then 1, and the
            states are those of the unchanged picture and of the edit.
    """
    if is_coupled(sampler, code):
        start = (start or shared_start(sampler, code, sampling.steps)).to(sampler.device)
        return sampler.edit_coupled(start, z, sampling.scale, keep, own=code.z)
    if start is not None and _elsewhere(start.device, sampler.device):
        start = None
    if keep is not None:
        z, start = torch.cat([code.z[None], z]), None
    return sampler.decode(
        Decoding(
            z.to(sampler.device),
            code.x_T.expand(len(z), -1, -1, -1),
            sampling,
            residuals=_residuals(sampler, sampling, [(code, 1.0)]),
            drawn=code.drawn,
            start=start,
            keep=keep,
        )
    )


def _elsewhere(made: torch.device, device: torch.device) -> bool:
    """Whether what was made on one device lies on another GPU; "cuda" alone is any of them."""
    return made.type != device.type or (device.index is not None and made != device)


def edited_pictures(
    sampler: Sampler, code: Code, z: Tensor, sampling: Sampling
) -> Iterator[Image.Image]:
    """One picture a changed code z (N, D), each when it is finished."""
    coupled = is_coupled(sampler, code)
    start = shared_start(sampler, code, sampling.steps) if coupled else None
    for part in z.split(sampler.at_once):
        *_, last = edit_states(sampler, code, part, sampling, start=start)
        yield from sampler.pictures(last.x)


def frames_between(
    sampler: Sampler, ends: tuple[Code, Code], count: int, mode: str, sampling: Sampling
) -> Iterator[Image.Image]:
    """`count` pictures from one code to another, each when it is finished.

    Raises:
        EditError: an unknown mode, or too many frames.
    """
    if mode not in MODES:
        raise EditError(f"There is no mode {mode!r}. Known: {', '.join(MODES)}.")
    if not 2 <= count <= MOST_FRAMES:
        raise EditError(f"The number of frames must be between 2 and {MOST_FRAMES}, got {count}.")
    between = [i / (count - 1) for i in range(1, count - 1)]
    size = sampler.at_once
    pieces = [between[first : first + size] for first in range(0, len(between), size)]
    # The ends alone: to the bit, they are the reconstructions.
    for weights in ([0.0], *pieces, [1.0]):
        *_, last = sampler.decode(_between(sampler, ends, weights, mode, sampling))
        yield from sampler.pictures(last.x)


def _between(
    sampler: Sampler, ends: tuple[Code, Code], weights: list[float], mode: str, sampling: Sampling
) -> Decoding:
    """The frames at these weights of the second end."""
    a, b = ends
    left = [_residuals(sampler, sampling, [(a, 1 - weight), (b, weight)]) for weight in weights]
    return Decoding(
        _blend(a.z, b.z, torch.tensor(weights)[:, None], mode).to(sampler.device),
        torch.stack([slerp(a.x_T, b.x_T, weight) for weight in weights]),
        sampling,
        residuals=None if left[0] is None else torch.stack(left, dim=1),
    )


def _blend(z_a: Tensor, z_b: Tensor, weights: Tensor, mode: str) -> Mix:
    """Codes at `weights` (N, 1): straight between the two, or both, with their shifts weighted."""
    if mode == "latent":
        return Mix.of(torch.lerp(z_a[None], z_b[None], weights))
    ends = ((z_a, 1 - weights), (z_b, weights))
    parts = ((z.expand(len(part), -1), part[:, :, None, None]) for z, part in ends if part.any())
    return Mix(tuple(parts))


def _residuals(
    sampler: Sampler, sampling: Sampling, parts: Sequence[tuple[Code, float]]
) -> Tensor | None:
    """What the inversions left, weighted, where decoding takes the steps that it was made for."""
    if sampling.floor:
        return None
    left = [
        (code.residuals_for(sampling.steps, sampler.stepping_name), weight)
        for code, weight in parts
        if weight > 0
    ]
    if any(residuals is None for residuals, _ in left):
        return None
    if len(left) > 1 or sampler.device.type == "mps":
        # Between two photographs nothing is exact, and MPS has no float64.
        left = [(residuals.float(), weight) for residuals, weight in left]
    return sum(weight * residuals for residuals, weight in left).to(sampler.device)


def previews(sampler: Sampler, states: Iterator[State]) -> Iterator[Progress]:
    """The last picture of each batch of states: its x0_hat on the way, and the result.

    On the way pictures are as rough as the first stage's previews are.
    """
    for state in states:
        (picture,) = (
            sampler.pictures(state.x[-1:]) if state.last else sampler.previews(state.x0_hat[-1:])
        )
        yield Progress(state.step, state.steps, picture)


def result(steps: Iterator[Progress]) -> Image.Image:
    """The finished picture."""
    *_, last = steps
    return last.image


def checked_keep(keep: np.ndarray | None, size: int) -> Tensor | None:
    """The part to keep as a tensor (S, S).

    Raises:
        EditError: of another shape, or not in [0, 1].
    """
    if keep is None:
        return None
    keep = torch.from_numpy(np.asarray(keep, np.float32))
    if keep.shape != (size, size) or not ((keep >= 0) & (keep <= 1)).all():
        raise EditError(
            f"The part to keep must be {size} x {size} numbers from 0 to 1, got the shape "
            f"{tuple(keep.shape)}."
        )
    return keep
