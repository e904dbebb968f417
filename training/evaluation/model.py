"""A loaded bundle under measurement: batches of tensors through its family's one door."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from pdae_app.bundle import Bundle, load_bundle
from pdae_app.diffusion.denoisers import Mix
from pdae_app.diffusion.grids import Stepping, jumping, steppings
from pdae_app.diffusion.inversion import exact_states
from pdae_app.diffusion.process import Process, Time
from pdae_app.diffusion.schedule import Schedule
from pdae_app.diffusion.solvers import Denoiser, ddim_states, dpm_solver_states, last_x
from pdae_app.diffusion.spacing import Spacing
from pdae_app.diffusion.variational import noised_with_truth
from pdae_app.families import Family
from pdae_app.hub import local_folder
from training.evaluation.albums import Album, pieces

# Evaluations with which a step of exact inversion is solved, as the app has it.
ITERATIONS = 5


@dataclass(frozen=True)
class Decoding:
    """How noise becomes pictures: `steps` of a stepping, so strongly guided, the last part not.

    `drawn` noise is decoded by the multistep solver where the stepping has it.
    """

    stepping: Stepping
    steps: int
    scale: float = 1.0
    unguided: float = 0.0
    drawn: bool = False


@dataclass(frozen=True)
class Model:
    """A bundle by a name, on a device; everything comes and goes as float32 on the CPU."""

    name: str
    bundle: Bundle
    device: torch.device
    batch_size: int = 48

    @cached_property
    def family(self) -> Family:
        """The networks, as everybody asks for them."""
        with torch.inference_mode():
            return self.bundle.family.with_times(self.device)

    @property
    def process(self) -> Process:
        """The noise levels."""
        return self.bundle.process

    @property
    def latent(self) -> bool:
        """Whether states are other than pictures."""
        return self.bundle.first_stage.factor > 1

    @property
    def channels(self) -> int:
        """Of pictures."""
        return self.bundle.first_stage.picture_channels

    def stepping(self, name: str) -> Stepping | Spacing:
        """A known stepping, or the bundle's own spacing.

        Of the known ones, x0_hat is clamped to [-1, 1] only where states may be.

        Raises:
            ValueError: an official grid, of a process without whole timesteps.
        """
        stepping = steppings(self.bundle.spacing)[name]
        if isinstance(stepping, Spacing):
            return stepping
        if name in ("pdae", "diffae") and not isinstance(self.process, Schedule):
            raise ValueError(f"the grid {name!r} is of whole timesteps, which {self.name} has not")
        return replace(stepping, clip_x0=stepping.clip_x0 and self.bundle.first_stage.clamped)

    @property
    def own_stepping(self) -> Stepping | Spacing:
        """As the bundle is used by default."""
        return self.stepping(self.bundle.stepping)

    @torch.inference_mode()
    def batched(self, what: str, run: Callable[..., Tensor], *parts: Album | Tensor) -> Tensor:
        """What `run` makes of pictures and tensors (N, ...), piece by piece."""
        batches = zip(*(pieces(part, self.batch_size) for part in parts), strict=True)
        count = max(1, math.ceil(len(parts[0]) / self.batch_size))
        bar = tqdm(batches, f"{self.name}: {what}", count, leave=False, disable=None)
        return torch.cat([run(*(t.to(self.device) for t in batch)).cpu() for batch in bar])

    def codes(self, pictures: Album | Tensor) -> Tensor:
        """Z (N, D) of pictures (N, C, S, S) in [-1, 1]."""
        return self.batched("reading", self.bundle.codes, pictures)

    def class_codes(self, classes: Tensor) -> Tensor:
        """Z (N, D) of classes (N,), where the model's codes are made of them."""
        return self.batched("classes", self.bundle.model.encoder, classes)

    def states(self, pictures: Album | Tensor) -> Tensor:
        """States (N, C', S', S') of pictures."""
        return self.batched("states", self.bundle.first_stage.encode, pictures)

    def pictures(self, states: Tensor) -> Tensor:
        """Pictures (N, C, S, S) of states, clamped to [-1, 1]."""
        decode = self.bundle.first_stage.decode
        return self.batched("pictures", lambda x: decode(x).clamp(-1, 1), states)

    def denoiser(self, z: Tensor | Mix | None, scale: float = 1.0, **options) -> Denoiser:
        """Eps under codes; the unconditional model's where there are none."""
        if z is None:
            return self.family.unconditional()
        return self.family.denoiser(z, scale, **options)

    def noise(self, places: range | int, seed: int) -> Tensor:
        """x_T (N, C', S', S'), each following from the seed and its place alone."""
        places = range(places) if isinstance(places, int) else places
        draws = (torch.Generator().manual_seed(seed * 1_000_003 + i) for i in places)
        return torch.stack([torch.randn(self.bundle.state_shape, generator=g) for g in draws])

    @torch.inference_mode()
    def noised(self, states: Tensor, noise: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """What the frozen model was trained on at t, and the x0_hat there that has no gap."""
        variational, found = self.bundle.variational, []
        for some in zip(*(x.split(self.batch_size) for x in (states, noise)), strict=True):
            x_0, eps = (x.to(self.device) for x in some)
            found.append(noised_with_truth(self.process, x_0, eps, t, variational))
        x_t, truth = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
        return x_t, truth

    def inverted(self, states: Tensor, z: Tensor, stepping: Stepping, steps: int) -> Tensor:
        """x_T by plain DDIM inversion (PDAE, Eq. 8)."""
        levels = stepping.levels(self.process, steps, inverting=True)
        ends = stepping.ends(self.process, steps, inverting=True)
        options = {"clip_x0": stepping.clip_x0, "ends": ends}

        def run(x: Tensor, z: Tensor) -> Tensor:
            return last_x(ddim_states(self.denoiser(z), x, self.process, levels, **options))

        return self.batched(f"inverting in {steps}", run, states, z)

    @torch.inference_mode()
    def there_and_back(self, states: Tensor, z: Tensor, stepping: Stepping, steps: int) -> Tensor:
        """States after exact inversion and decoding with its residuals (the app's stepping)."""
        rising, found = stepping.levels(self.process, steps, inverting=True), []
        for x, code in zip(states.split(self.batch_size), z.split(self.batch_size), strict=True):
            denoiser = self.denoiser(code.to(self.device))
            x = x.to(self.device)
            there = {"iterations": ITERATIONS, "ends": stepping.ends(self.process, steps, True)}
            *_, end = exact_states(denoiser, x, self.process, rising, **there)
            falling = stepping.levels(self.process, steps)
            back = {"residuals": end.residuals, "ends": stepping.ends(self.process, steps)}
            back = ddim_states(denoiser, end.x, self.process, falling, **back)
            found.append(last_x(back).cpu())
        return torch.cat(found)

    def decoded(self, z: Tensor | Mix | None, x_T: Tensor, how: Decoding) -> Tensor:
        """Pictures (N, C, S, S) in [-1, 1] of codes (N, D) and noise (N, C', S', S')."""
        codes = torch.zeros(len(x_T), 0) if z is None else z
        states = self.batched(
            f"decoding in {how.steps}",
            lambda x, z: self._run(z if z.shape[1] else None, x, how),
            x_T,
            codes,
        )
        return self.pictures(states)

    def decoded_classes(self, classes: Tensor, x_T: Tensor, how: Decoding) -> Tensor:
        """Pictures of a U-Net that is told classes (N,)."""
        levels = how.stepping.levels(self.process, how.steps)
        ends = how.stepping.ends(self.process, how.steps)
        options = {"clip_x0": how.stepping.clip_x0, "ends": ends}

        def run(x: Tensor, classes: Tensor) -> Tensor:
            denoiser = self.family.unconditional(classes)
            return last_x(ddim_states(denoiser, x, self.process, levels, **options))

        return self.pictures(self.batched("drawing classes", run, x_T, classes))

    def decoded_mix(self, mix: Mix, x_T: Tensor, how: Decoding) -> Tensor:
        """As `decoded`, of one batch under several codes at once."""
        with torch.inference_mode():
            states = self._run(mix.to(self.device), x_T.to(self.device), how)
        return self.pictures(states.cpu())

    def _run(self, z: Tensor | Mix | None, x: Tensor, how: Decoding) -> Tensor:
        stepping, process = how.stepping, self.process
        levels = stepping.levels(process, how.steps)
        tail = stepping.tail(process, how.steps, how.unguided)
        options = {} if z is None else {"unguided_below": tail}
        denoiser = self.denoiser(z, how.scale, **options)
        if how.drawn:
            levels = jumping(levels, self.bundle.floor)
        clip = stepping.clip_x0
        if how.drawn and stepping.multistep:
            return last_x(dpm_solver_states(denoiser, x, process, levels, clip_x0=clip))
        ends = None if how.drawn and self.bundle.floor else stepping.ends(process, how.steps)
        return last_x(ddim_states(denoiser, x, process, levels, clip_x0=clip, ends=ends))


def load_model(name: str, device: str) -> Model:
    """A bundle from a folder, or from the Hub by owner/name.

    Raises:
        BundleError: it cannot be loaded; every problem is listed.
    """
    title = Path(name).resolve().name if Path(name).is_dir() else name.replace("/", "-")
    return Model(title, load_bundle(local_folder(name), device), torch.device(device))
