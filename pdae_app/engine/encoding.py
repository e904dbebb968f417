"""Photographs to codes: z, and the noise map x_T that leads back to the photograph."""

from collections.abc import Iterator

from PIL import Image
from torch import Tensor

from pdae_app.diffusion.solvers import State
from pdae_app.engine.code import Code, EditError, Inversion
from pdae_app.engine.pictures import plain, to_tensor
from pdae_app.engine.sampler import Sampler
from pdae_app.faces.align import Alignment

# Evaluations to solve each step of the inversion with, at most.
ITERATIONS = 5
MOST_ITERATIONS = 50


def square_steps(
    sampler: Sampler,
    square: Image.Image,
    alignment: Alignment | None,
    steps: int,
    iterations: int | None = None,
) -> Iterator[tuple[float, Code | None]]:
    """The code of a square, yielding (part done, None) after every step, at last (1, code)."""
    iterations = checked_iterations(sampler, iterations)
    picture = to_tensor(square, sampler.bundle.first_stage.picture_channels)
    z, x_0 = sampler.read(picture)
    for state in sampler.invert(z, x_0, steps, iterations):
        if not state.last:
            yield state.step / state.steps, None
    yield 1.0, _codes(sampler, z, x_0, state, alignment)[0]


def squares_to_codes(sampler: Sampler, squares: Tensor, steps: int) -> list[Code]:
    """The codes of aligned squares (N, C, S, S) in [-1, 1], found together."""
    z, x_0 = sampler.read(squares)
    *_, last = sampler.invert(z, x_0, steps, checked_iterations(sampler, None))
    return _codes(sampler, z, x_0, last, None)


def _codes(
    sampler: Sampler, z: Tensor, x_0: Tensor, last: State, alignment: Alignment | None
) -> list[Code]:
    """The codes of a finished inversion, one a picture."""
    codes = []
    for row in range(len(z)):
        residuals, error = None, None
        if last.residuals is not None:
            residuals = plain(last.residuals[:, row], last.residuals.dtype)
            error = float(residuals.square().mean().sqrt())
        inversion = Inversion(
            last.steps, sampler.stepping_name, last.evaluations, residuals=residuals, error=error
        )
        x_T, state, model = plain(last.x[row]), plain(x_0[row]), sampler.bundle.identity
        codes.append(Code(plain(z[row]), x_T, alignment, model, inversion=inversion, state=state))
    return codes


def checked_iterations(sampler: Sampler, asked: int | None) -> int:
    """The evaluations to solve a step with; by default none where a clamp forbids it.

    Raises:
        EditError: a number that cannot be.
    """
    clamped = sampler.stepping.clip_x0
    if asked is None:
        return 0 if clamped else ITERATIONS
    if not isinstance(asked, int) or not 0 <= asked <= MOST_ITERATIONS:
        raise EditError(
            f"The iterations of a step must be between 0 and {MOST_ITERATIONS}, got {asked!r}."
        )
    if asked and clamped:
        raise EditError(
            f"The stepping {sampler.stepping_name!r} clamps, which cannot be undone exactly: use "
            "iterations=0, or the stepping 'clean' or 'quick'."
        )
    return asked
