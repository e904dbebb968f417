"""The official DiffEnc networks of the reference outputs, every tensor filled from its name."""

import json
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from torch import Tensor

from pdae_app.convert.diffenc import load_official, official_names
from pdae_app.diffusion.variational import VariationalDiffusion
from tests.oracle import FIXTURES, fill

KINDS = {"VDM2": "vdm", "VDM2_V": "vdm_v", "S4V_NT": "diffenc_fixed", "S3VA": "diffenc"}


@cache
def facts() -> dict:
    """Settings, Flax names and shapes."""
    return json.loads((FIXTURES / "diffenc_tiny8.json").read_text())


@cache
def arrays() -> dict[str, Tensor]:
    with np.load(FIXTURES / "diffenc_tiny8.npz") as archive:
        return {key: torch.from_numpy(np.asarray(archive[key])) for key in archive.files}


def torch_name(flax_path: str) -> str:
    """The PyTorch-like name: joined by dots, kernels and scales called weights."""
    *parents, last = (part.replace(".", "_") for part in flax_path.split("/"))
    return ".".join([*parents, {"kernel": "weight", "scale": "weight"}.get(last, last)])


@dataclass(frozen=True)
class Case:
    """One case, kind and schedule of the reference outputs, e.g. "A.S3VA.fixed"."""

    name: str

    def __getitem__(self, quantity: str) -> Tensor:
        return arrays()[f"{self.name}.{quantity}"]

    def __contains__(self, quantity: str) -> bool:
        return f"{self.name}.{quantity}" in arrays()

    def given(self, quantity: str) -> Tensor:
        """An input."""
        return arrays()[f"{self.letter}.in.{quantity}"]

    @property
    def letter(self) -> str:
        return self.name[0]

    @property
    def kind(self) -> str:
        return KINDS[self.name.split(".")[1]]

    @property
    def learned(self) -> bool:
        return self.name.endswith("train_scalar")

    @property
    def settings(self) -> dict:
        """As `load_official` takes them."""
        case = facts()["cases"][self.letter]
        return {
            "shape": case["shape_hwc"],
            "score": case["score"],
            "encoder": case["encoder"],
            "learned_schedule": self.learned,
        }

    @property
    def flax_shapes(self) -> dict[str, list[int]]:
        """Flax path to the shape in PyTorch's layout."""
        return facts()["name_tables"][facts()["name_table_of"][self.name]]

    @property
    def state(self) -> dict[str, Tensor]:
        """The official state by PyTorch-like names."""
        state = {}
        for path, shape in self.flax_shapes.items():
            name = torch_name(path)
            learned = facts()["gamma_train"].get(name.removeprefix("gamma."))
            values = [learned] if name.startswith("gamma.") else fill(name, shape)
            state[name] = torch.as_tensor(values, dtype=torch.float32)
        return state

    def model(self, state: dict[str, Tensor] | None = None) -> VariationalDiffusion:
        return load_official(state or self.state, self.kind, self.settings)

    @cached_property
    def loaded(self) -> VariationalDiffusion:
        return self.model()

    def official(self, model: VariationalDiffusion, tensors: dict[str, Tensor]) -> dict:
        """Tensors by our names (weights, gradients) by official names and in official shapes."""
        official = {}
        numbered = self.settings["encoder"]["m_type"] == "unet_mult_res"
        for ours, theirs in official_names(model, numbered).items():
            official |= _official(theirs, tensors[ours])
        return official


def _official(name: str, tensor: Tensor) -> dict[str, Tensor]:
    if ".qkv." in name:
        return {
            name.replace(".qkv.", f".{letter}."): part
            for letter, part in zip("qkv", tensor.chunk(3), strict=True)
        }
    if name.endswith("dense0.weight"):
        cosines, sines = tensor.chunk(2, dim=1)
        return {name: torch.cat([sines, cosines, torch.zeros(len(tensor), 1)], dim=1)}
    if name.endswith("nin_shortcut.weight"):
        return {name: tensor[:, :, 0, 0]}
    return {name: tensor.reshape(1) if name.startswith("gamma.") else tensor}


CASES = [
    Case(f"{letter}.{kind}.{schedule}")
    for letter, kinds in (("A", KINDS), ("B", ["S3VA"]))
    for kind in kinds
    for schedule in ("fixed", "train_scalar")
]


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the largest reference value."""
    ours, theirs = ours.detach().double().reshape(-1), theirs.double().reshape(-1)
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-30))
