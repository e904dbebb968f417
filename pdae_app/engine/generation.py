"""New codes: from the prior, with wanted attributes or without, or of a class."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from pdae_app.drawing import Drawing
from pdae_app.engine.checks import check_known, is_number
from pdae_app.engine.code import Code, EditError
from pdae_app.engine.pictures import plain
from pdae_app.engine.sampler import Sampler
from pdae_app.latents.directions import LatentSpace
from pdae_app.typed_config import short

# Candidates that are drawn together when attributes are wanted.
TOGETHER = 16
MOST_TRIES = 320
# Seeds above this are not all distinct to torch's generator on every platform.
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Drawn:
    """A new picture's code, and how many candidates were looked at until it was accepted."""

    code: Code
    tries: int


def draw_code(
    sampler: Sampler,
    seed: int,
    steps: int,
    wanted: Mapping[str, bool] | None,
    drawing: Drawing,
) -> Drawn:
    """A code from the prior, by the few-shot rule where attributes are wanted.

    The rule (Diff-AE, Appendix A.2; PDAE, Section 4.7): a candidate with p < 0.5 is rejected, any
    other accepted with probability p, for every wanted attribute.

    Raises:
        EditError: an unknown attribute, or `MOST_TRIES` candidates and none accepted.
    """
    generator = _seeded(seed)
    if not wanted:
        z, tries = _candidates(sampler, 1, steps, generator, drawing.variety)[0], 1
    else:
        z, tries = _accepted(sampler, wanted, steps, generator, drawing.variety)
    x_T = drawing.temperature * torch.randn(sampler.shape, generator=generator)
    return Drawn(Code(plain(z), x_T, None, sampler.bundle.identity), tries)


def drawing_with(default: Drawing, settings: Mapping[str, float | None]) -> Drawing:
    """The default, but for some settings; one that is None is the default's.

    Raises:
        EditError: an unknown one, or a value that cannot be.
    """
    known = [field.name for field in fields(Drawing)]
    for name, value in settings.items():
        if name not in known:
            raise EditError(
                f"New pictures have no setting {short(name)}. Known: {', '.join(known)}."
            )
        if value is not None and not is_number(value):
            raise EditError(f"{name} must be a number, got {short(value)}.")
    try:
        given = {name: value for name, value in settings.items() if value is not None}
        return replace(default, **given)
    except ValueError as error:
        raise EditError(f"{error}.") from error


def _accepted(
    sampler: Sampler,
    wanted: Mapping[str, bool],
    steps: int,
    generator: torch.Generator,
    variety: float,
) -> tuple[Tensor, int]:
    """The first candidate that is accepted, and how many were looked at."""
    for first in range(0, MOST_TRIES, TOGETHER):
        candidates = _candidates(sampler, TOGETHER, steps, generator, variety)
        good = accepts(sampler.bundle.latents, candidates, wanted, generator).nonzero()
        if len(good):
            number = int(good[0])
            return candidates[number], first + number + 1
    names = ", ".join(name if yes else f"not {name}" for name, yes in wanted.items())
    raise EditError(
        f"None of {MOST_TRIES} candidates was accepted as {names}. Ask for fewer attributes."
    )


def accepts(
    space: LatentSpace, z: Tensor, wanted: Mapping[str, bool], generator: torch.Generator
) -> Tensor:
    """Which codes z (N, D) the few-shot rule accepts: bool (N,)."""
    check_known(wanted, space.names)
    columns = [space.names.index(name) for name in wanted]
    p = space.logits(z)[:, columns].sigmoid()
    p = torch.where(torch.tensor(list(wanted.values())), p, 1 - p)
    drawn = torch.rand(p.shape, generator=generator)
    return ((p >= 0.5) & (drawn < p)).all(dim=1)


def unlabelled_codes(sampler: Sampler, count: int = 512, steps: int = 20, seed: int = 0) -> Tensor:
    """Codes (N, D) of people who do not exist, as the unlabelled ones of positive-unlabelled."""
    return _candidates(sampler, count, steps, _seeded(seed))


def draw_class(sampler: Sampler, seed: int, label: str | None, drawing: Drawing) -> Drawn:
    """The code of a class, with noise drawn from the seed."""
    classes = sampler.bundle.classes
    if label not in classes:
        shown = ", ".join(classes[:20]) + (" …" if len(classes) > 20 else "")
        raise EditError(f"There is no class {label!r}. Known: {shown}.")
    number = torch.tensor([classes.index(label)], device=sampler.device)
    with torch.inference_mode():
        z = sampler.bundle.model.encoder(number)[0]
    x_T = drawing.temperature * torch.randn(sampler.shape, generator=_seeded(seed))
    return Drawn(Code(plain(z), x_T, None, sampler.bundle.identity), 1)


def check_seed(seed: object) -> None:
    """Whether pictures can be drawn by a seed.

    Raises:
        EditError: it is no whole number from 0 to `LARGEST_SEED`.
    """
    if not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
        raise EditError(f"A seed must be a whole number from 0 to {LARGEST_SEED}, got {seed!r}.")


def _seeded(seed: int) -> torch.Generator:
    check_seed(seed)
    return torch.Generator().manual_seed(seed)


def _candidates(
    sampler: Sampler, count: int, steps: int, generator: torch.Generator, variety: float = 1.0
) -> Tensor:
    """Codes (N, D) on the CPU."""
    prior, space = sampler.bundle.prior, sampler.bundle.latents
    if prior is None:
        raise EditError("This model has no latent diffusion model, so it cannot make new codes.")
    noise = torch.randn(count, prior.z_dim, generator=generator)
    try:
        z_n = prior.sample(noise.to(sampler.device), steps, sampler.stepping)
    except ValueError as error:
        raise EditError(f"The number of latent steps cannot be used: {error}.") from error
    return variety * plain(z_n) * space.std + space.mean
