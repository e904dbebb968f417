"""Families of models: which networks they have, what they can do, and how codes become denoisers.

A bundle's configuration names its family ("kind"). Engine, training, evaluation and benchmarks ask
`Family.denoiser` for eps under codes, and compare no names. Another family is one more class here.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pdae_app.diffusion.denoisers import (
    ConditionedDenoiser,
    Mix,
    ShiftedDenoiser,
    Start,
    UNetDenoiser,
)
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.process import Time
from pdae_app.diffusion.solvers import Denoiser
from pdae_app.models.diffae import DiffAE, DiffAEConfig, PooledEncoderConfig
from pdae_app.models.pdae import PDAE, PDAEConfig
from pdae_app.models.precision import in_half
from pdae_app.models.semantic import ClassEncoderConfig, EncoderConfig
from pdae_app.models.unet import SketchConfig, UNet, UNetConfig
from pdae_app.typed_config import ConfigError, build, short


@dataclass(frozen=True)
class Family(ABC):
    """A family's networks and what they were trained for.

    They compute in `dtype`. `times` (T, E) are the time embeddings of all timesteps, where they are
    known beforehand; `neutral` (1, D) is the average code, where it is known.
    """

    name: ClassVar[str]
    model_type: ClassVar[type[nn.Module]]

    model: nn.Module
    diffusion: Diffusion
    dtype: torch.dtype = torch.float32
    times: Tensor | None = None
    neutral: Tensor | None = None

    @classmethod
    @abstractmethod
    def build(cls, unet: UNetConfig, config: dict[str, Any]) -> nn.Module:
        """The networks that a bundle's configuration describes.

        Raises:
            ConfigError: it describes none.
        """

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What a bundle's configuration says of the networks, the U-Net aside."""

    @property
    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """The networks by the names of their files."""

    @abstractmethod
    def denoiser(
        self,
        codes: Tensor | Mix,
        scale: float = 1.0,
        unguided_below: Time = 0,
        start: Start | None = None,
    ) -> Denoiser:
        """Eps under codes z (N, D), or under a mix of several.

        Args:
            scale: of the guidance: 0 is the unconditional model, 1 what was trained.
            unguided_below: the time below which codes have no say, where the family can.
            start: by `Family.start`, where it gives one.
        """

    @abstractmethod
    def unconditional(self, classes: Tensor | None = None) -> Denoiser:
        """Eps without a code; told `classes` (N,) where the U-Net knows some."""

    @property
    def unet(self) -> UNet:
        """The network that denoises."""
        return self.model.unet

    @property
    def has_codes(self) -> bool:
        """Whether pictures or classes become codes."""
        return True

    @property
    def reads_pictures(self) -> bool:
        """Whether codes are made of pictures."""
        return True

    @property
    def class_count(self) -> int:
        """So many classes does the model know."""
        return 0

    @property
    def guides(self) -> bool:
        """Whether guidance scales other than 1 are possible."""
        return True

    @property
    def z_dim(self) -> int | None:
        """Length of the codes."""
        return self.model.config.encoder.z_dim

    @property
    def steppers(self) -> list[nn.Module]:
        """The networks that every step runs."""
        return [self.unet.encoder, self.unet.decoder]

    def start(self, x: Tensor, t: Time) -> Start | None:
        """What all codes share of the step from x (1, C, S, S) at t; None where that is nothing."""
        return None

    def in_half(self, dtype: torch.dtype) -> "Family":
        """A copy of the networks in half precision."""
        return replace(self, model=in_half(self.model, dtype), dtype=dtype)

    def with_times(self, device: torch.device) -> "Family":
        """With the time embeddings made beforehand, where times can be counted."""
        times = self.diffusion.schedule.all_times(device)
        return self if times is None else replace(self, times=self.unet.encoder.embedded(times))


@dataclass(frozen=True)
class UnconditionalFamily(Family):
    """A U-Net alone, unconditional or told a class; it has no codes."""

    name = "dpm"
    model_type = UNet

    @classmethod
    def build(cls, unet: UNetConfig, config: dict[str, Any]) -> UNet:
        return UNet(unet)

    config: ClassVar[dict[str, Any]] = {}
    has_codes = reads_pictures = guides = False
    z_dim = None

    @property
    def parts(self) -> dict[str, nn.Module]:
        return {"unet": self.model}

    @property
    def unet(self) -> UNet:
        return self.model

    @property
    def class_count(self) -> int:
        return self.model.config.classes or 0

    def denoiser(self, codes, scale=1.0, unguided_below=0, start=None) -> Denoiser:
        raise ValueError("this model is unconditional, and has no codes")

    def unconditional(self, classes: Tensor | None = None) -> UNetDenoiser:
        return UNetDenoiser(self.model, self.diffusion, classes)


@dataclass(frozen=True)
class PdaeFamily(Family):
    """PDAE: a frozen unconditional U-Net, and the shift that a code gives to its eps."""

    name = "pdae"
    model_type = PDAE

    @classmethod
    def build(cls, unet: UNetConfig, config: dict[str, Any]) -> PDAE:
        values = config.get("encoder")
        by_class = isinstance(values, dict) and "classes" in values
        encoder = build(ClassEncoderConfig if by_class else EncoderConfig, values, "encoder.")
        return PDAE(_agreeing(PDAEConfig, unet, encoder, _sketch(config.get("sketch"))))

    @property
    def config(self) -> dict[str, Any]:
        own = self.model.config
        sketch = asdict(own.sketch) if own.sketch else None
        return {"encoder": asdict(own.encoder), "sketch": sketch}

    @property
    def parts(self) -> dict[str, nn.Module]:
        model = self.model
        return {"unet": model.unet, "encoder": model.encoder, "shift": model.shift}

    @property
    def reads_pictures(self) -> bool:
        return not self.model.config.by_class

    @property
    def class_count(self) -> int:
        return 0 if self.reads_pictures else self.model.config.encoder.classes

    @property
    def steppers(self) -> list[nn.Module]:
        return [*super().steppers, self.model.shift]

    def denoiser(self, codes, scale=1.0, unguided_below=0, start=None) -> ShiftedDenoiser:
        return ShiftedDenoiser(
            self.model,
            self.diffusion,
            Mix.of(codes),
            scale,
            unguided_below=unguided_below,
            dtype=self.dtype,
            start=start,
            times=self.times,
        )

    def unconditional(self, classes: Tensor | None = None) -> UNetDenoiser:
        return UNetDenoiser(self.model.unet, self.diffusion, classes)

    def start(self, x: Tensor, t: Time) -> Start | None:
        times = self.diffusion.schedule.asked(t, x)
        return Start(float(times[0]), *self.denoiser(Mix(())).frozen(x, times))


@dataclass(frozen=True)
class DiffAEFamily(Family):
    """Diff-AE: a U-Net that is told the code; the average code stands for none."""

    name = "diffae"
    model_type = DiffAE

    @classmethod
    def build(cls, unet: UNetConfig, config: dict[str, Any]) -> DiffAE:
        encoder = build(PooledEncoderConfig, config.get("encoder"), "encoder.")
        return DiffAE(_agreeing(DiffAEConfig, unet, encoder))

    @property
    def config(self) -> dict[str, Any]:
        return {"encoder": asdict(self.model.config.encoder)}

    @property
    def parts(self) -> dict[str, nn.Module]:
        return {"unet": self.model.unet, "encoder": self.model.encoder}

    @property
    def guides(self) -> bool:
        return self.neutral is not None

    def denoiser(self, codes, scale=1.0, unguided_below=0, start=None) -> ConditionedDenoiser:
        if scale != 1 and not self.guides:
            raise ValueError("a guidance scale other than 1 needs the average code")
        return ConditionedDenoiser(
            self.model,
            self.diffusion,
            Mix.of(codes),
            scale,
            neutral=self.neutral,
            dtype=self.dtype,
            times=self.times,
        )

    def unconditional(self, classes: Tensor | None = None) -> ConditionedDenoiser:
        if self.neutral is None:
            raise ValueError("Diff-AE without a code needs the average code")
        return self.denoiser(self.neutral)


FAMILIES: dict[str, type[Family]] = {
    family.name: family for family in (UnconditionalFamily, PdaeFamily, DiffAEFamily)
}


def family(model: nn.Module, diffusion: Diffusion, neutral: Tensor | None = None) -> Family:
    """The networks `model` as one of their family.

    Raises:
        TypeError: no family has such networks.
    """
    for kind in FAMILIES.values():
        if isinstance(model, kind.model_type):
            return kind(model, diffusion, neutral=neutral)
    raise TypeError(f"no family has the networks {type(model).__name__}")


def family_named(name: object) -> type[Family]:
    """The family that a configuration names.

    Raises:
        ConfigError: there is none of this name.
    """
    if not isinstance(name, str) or name not in FAMILIES:
        raise ConfigError(f"unknown kind {short(name)}; known: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def _sketch(values: dict | bool | None) -> SketchConfig | None:
    """Format 1 says true or false."""
    if isinstance(values, bool) or values is None:
        return SketchConfig() if values else None
    return build(SketchConfig, values, "sketch.")


def _agreeing(kind: type, *parts):
    try:
        return kind(*parts)
    except ValueError as error:
        raise ConfigError(str(error)) from error
