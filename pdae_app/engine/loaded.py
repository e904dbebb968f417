"""A bundle ready to work: loaded, on a device, and what can be asked of it."""

from copy import copy
from pathlib import Path
from typing import TypeVar

import torch

from pdae_app.bundle import Bundle, load_bundle
from pdae_app.engine.code import EditError
from pdae_app.engine.sampler import Sampler
from pdae_app.engine.sliders import with_sliders
from pdae_app.faces.align import FRAMINGS
from pdae_app.hub import local_folder, push
from pdae_app.latents.few_shot import FewShot

Loaded = TypeVar("Loaded", bound="LoadedModel")


class LoadedModel:
    """A bundle with its sampler; PDAE and Diff-AE look alike in it.

    `stepping` is how it steps: "clean" or "quick" (ours), "pdae" or "diffae" (as the official code
    does). `precision` is "float32", "half", or "auto": half on GPUs; where half precision
    overflows, the step is computed again in float32.
    """

    def __init__(
        self,
        bundle: Bundle,
        name: str,
        device: str | torch.device = "cpu",
        stepping: str | None = None,
        precision: str = "auto",
    ):
        if not bundle.family.has_codes:
            raise EditError(
                f"{name} holds only an unconditional model; train PDAE on it first "
                "(training/train_pdae.py)"
            )
        self.name, self.precision = name, precision
        stepping = stepping or bundle.stepping
        self.sampler = Sampler(bundle, torch.device(device), stepping, precision)

    @classmethod
    def from_pretrained(
        cls: type[Loaded],
        path_or_repo: str | Path,
        revision: str | None = None,
        token: str | None = None,
        device: str | torch.device | None = None,
        stepping: str | None = None,
        precision: str = "auto",
    ) -> Loaded:
        """Load a bundle from a folder, or from the Hub by "owner/name".

        Args:
            revision: branch, tag or commit on the Hub.
            token: of the Hub, for private and gated repositories; by default the saved one.
            device: "cpu", "cuda", "mps"; by default the best that this machine has.
            stepping: "clean", "quick", "pdae" or "diffae"; by default the bundle's own.
            precision: "float32", "half", or "auto": half on GPUs.

        Raises:
            BundleError: the bundle is incomplete or damaged; the message lists every problem.
        """
        device = device or best_device()
        folder = local_folder(path_or_repo, revision, token)
        return cls(load_bundle(folder, device), str(path_or_repo), device, stepping, precision)

    def compile(self: Loaded, backend: str = "inductor") -> Loaded:
        """Compile the networks (torch.compile); the first pictures of each size then take longer.

        On two CPU cores faces128 evaluates about 1.5 times as fast. Needs a C++ compiler on CPUs.

        Raises:
            EditError: this machine cannot compile.
        """
        try:
            self.sampler.compile(backend)
        except Exception as error:  # whatever the compiler's chain of tools raises
            raise EditError(
                f"The networks cannot be compiled on this machine: {str(error)[:200]}. Install a "
                "C++ compiler (g++), or leave compilation out."
            ) from error
        return self

    def with_stepping(self: Loaded, stepping: str) -> Loaded:
        """An editor of the same weights that steps as `stepping` says."""
        return type(self)(self.bundle, self.name, self.device, stepping, self.precision)

    def with_attributes(self: Loaded, *fitted: FewShot) -> Loaded:
        """An editor of the same networks that has these sliders too."""
        return self.with_bundle(with_sliders(self.bundle, fitted))

    def with_bundle(self: Loaded, bundle: Bundle) -> Loaded:
        """An editor of the same networks with what else this bundle says of them."""
        other = copy(self)
        other.sampler = copy(self.sampler)
        other.sampler.bundle = bundle
        return other

    def push_to_hub(
        self, repo_id: str, private: bool | None = None, token: str | None = None
    ) -> str:
        """Upload the bundle that was loaded to the Hub, with its model card; the commit's address.

        Raises:
            BundleError: the Hub cannot be reached, or refuses.
        """
        return push(self.bundle, repo_id, private, token)

    @property
    def bundle(self) -> Bundle:
        """The model."""
        return self.sampler.bundle

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.sampler.device

    @property
    def stepping(self) -> str:
        """How it steps (see `pdae_app.diffusion.grids.STEPPINGS`)."""
        return self.sampler.stepping_name

    @property
    def title(self) -> str:
        """The model's name for people: the Hub's, or that of the folder, without its path."""
        return Path(self.name).name if Path(self.name).is_dir() else self.name

    @property
    def image_size(self) -> int:
        """Side of the model's square in pixels."""
        return self.bundle.picture_size

    @property
    def framing(self) -> str:
        """How the model's training pictures were framed (see `pdae_app.faces.align.FRAMINGS`)."""
        return self.bundle.framing

    @property
    def of_faces(self) -> bool:
        """Whether the model's squares are faces, which have to be found."""
        return FRAMINGS[self.framing] is not None

    @property
    def attributes(self) -> list[str]:
        """The names of the bundle's sliders."""
        return self.bundle.latents.names if self.bundle.latents else []

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the model's codes are made of; none where it takes pictures."""
        return self.bundle.classes


def best_device() -> str:
    """The fastest device of this machine."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
