"""New codes: from the latent diffusion model, with wanted attributes or without, or of a class."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pdae_app.engine.checks import check_known
from pdae_app.engine.code import Code, EditError
from pdae_app.engine.decoder import Decoder
from pdae_app.engine.pictures import plain
from pdae_app.latents.directions import LatentSpace

# Candidates that are drawn together when attributes are wanted.
TOGETHER = 16
# Seeds above this are not all distinct to torch's generator on every platform.
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Drawn:
    """A new picture's code, and how many candidates were looked at until it was accepted."""

    code: Code
    tries: int


def draw_code(
    decoder: Decoder,
    space: LatentSpace | None,
    seed: int,
    steps: int,
    wanted: Mapping[str, bool] | None = None,
    most_tries: int = 320,
) -> Drawn:
    """A code from the latent diffusion model, by the few-shot rule where attributes are wanted.

    The rule (Diff-AE, Section 5.3; PDAE, Section 4.5): a candidate with p < 0.5 is rejected, any
    other accepted with probability p, for every wanted attribute of `space`.

    Raises:
        EditError: an unknown attribute, or `most_tries` candidates and none accepted.
    """
    generator = _seeded(seed)
    if not wanted:
        z, tries = _candidates(decoder, 1, steps, generator)[0], 1
    else:
        z, tries = _accepted(decoder, space, wanted, steps, generator, most_tries)
    x_T = torch.randn(decoder.shape, generator=generator)
    return Drawn(Code(plain(z), x_T, None, decoder.bundle.identity), tries)


def _accepted(decoder, space, wanted, steps, generator, most_tries) -> tuple[Tensor, int]:
    for first in range(0, most_tries, TOGETHER):
        candidates = _candidates(decoder, TOGETHER, steps, generator)
        good = accepts(space, candidates, wanted, generator).nonzero()
        if len(good):
            number = int(good[0])
            return candidates[number], first + number + 1
    names = ", ".join(name if yes else f"not {name}" for name, yes in wanted.items())
    raise EditError(
        f"None of {most_tries} candidates was accepted as {names}. Ask for fewer attributes."
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


def unlabelled_codes(decoder: Decoder, count: int = 512, steps: int = 20, seed: int = 0) -> Tensor:
    """Codes (N, D) of people who do not exist, as the unlabelled ones of positive-unlabelled."""
    return _candidates(decoder, count, steps, _seeded(seed))


def draw_class(decoder: Decoder, seed: int, label: str | None) -> Drawn:
    """The code of a class, with noise drawn from the seed."""
    classes = decoder.bundle.classes
    if label not in classes:
        shown = ", ".join(classes[:20]) + (" …" if len(classes) > 20 else "")
        raise EditError(f"There is no class {label!r}. Known: {shown}.")
    number = torch.tensor([classes.index(label)], device=decoder.device)
    with torch.inference_mode():
        z = decoder.bundle.model.encoder(number)[0]
    x_T = torch.randn(decoder.shape, generator=_seeded(seed))
    return Drawn(Code(plain(z), x_T, None, decoder.bundle.identity), 1)


def _seeded(seed: int) -> torch.Generator:
    if not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
        raise EditError(f"A seed must be a whole number from 0 to {LARGEST_SEED}, got {seed!r}.")
    return torch.Generator().manual_seed(seed)


def _candidates(decoder: Decoder, count: int, steps: int, generator: torch.Generator) -> Tensor:
    """Codes (N, D) on the CPU."""
    prior, space = decoder.bundle.prior, decoder.bundle.latents
    if prior is None:
        raise EditError("This model has no latent diffusion model, so it cannot make new codes.")
    noise = torch.randn(count, prior.z_dim, generator=generator)
    try:
        z_n = prior.sample(noise.to(decoder.device), steps, decoder.way)
    except ValueError as error:
        raise EditError(f"The number of latent steps cannot be used: {error}.") from error
    return plain(z_n) * space.std + space.mean
