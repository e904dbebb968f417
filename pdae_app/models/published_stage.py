"""First stages that others trained, run by `diffusers`: VQ, KL, tiny and deep-compression ones.

The library is needed for these alone, and is imported when one is built.
"""

import inspect
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdae_app.typed_config import ConfigError, check_sizes, short

# How each kind's `encode` hands over what the diffusion model learned: of a VQ model what is not
# yet quantised, of a KL model the posterior's mean.
ENCODED = {
    "VQModel": lambda output: output.latents,
    "AutoencoderKL": lambda output: output.latent_dist.mode(),
    "AutoencoderTiny": lambda output: output.latents,
    "AutoencoderDC": lambda output: output.latent,
}
# A number of a configuration, and one of layers, at most.
LARGEST, MOST_LAYERS = 1 << 20, 32


@dataclass(frozen=True)
class PublishedStageConfig:
    """A first stage of diffusers: the class, and its own config.json.

    A state is scaling (encoded - shift). `preview` are the rows of a linear map from a state's
    channels, and a constant, to the colours of a rough picture; without it the decoder draws.
    """

    kind: str
    settings: dict = field(default_factory=dict)
    scaling: float = 1.0
    shift: float = 0.0
    preview: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self):
        if self.kind not in ENCODED:
            raise ValueError(f"unknown first stage {self.kind!r}; known: {', '.join(ENCODED)}")
        if not self.scaling:
            raise ValueError("scaling must not be 0")
        for name, value in self.settings.items():
            _check_setting(str(name), value)
        check_sizes(self, least=-1e6, scaling=1e6, shift=1e6)


def _check_setting(name: str, value: Any) -> None:
    """Raise ValueError where a network would never be built."""
    layers = "layers" in name or "num_encoder_blocks" in name or "num_decoder_blocks" in name
    most = MOST_LAYERS if layers else LARGEST
    entries = value if isinstance(value, list | tuple) else [value]
    numbers = [x for x in entries if isinstance(x, int | float) and not isinstance(x, bool)]
    if len(entries) > MOST_LAYERS or not all(abs(number) <= most for number in numbers):
        raise ValueError(f"{name} of the first stage may be {most} at most, got {short(value)}")


class PublishedStage(nn.Module):
    """Pictures (N, C, S, S) in [-1, 1] to states and back by a network of diffusers.

    `network` is made of the configuration where it is not given.
    """

    clamped = False

    def __init__(self, config: PublishedStageConfig, network: nn.Module | None = None):
        super().__init__()
        self.config = config
        self.network = _network(config.kind, config.settings) if network is None else network
        known = self.network.config
        self.picture_channels = known.in_channels
        self.state_channels = known.get("vq_embed_dim") or known.latent_channels
        levels = known.get("encoder_block_out_channels") or known.block_out_channels
        self.factor = 2 ** (len(levels) - 1)
        rows = config.preview
        if rows and (len(rows), {len(row) for row in rows}) != (
            self.picture_channels,
            {self.state_channels + 1},
        ):
            raise ConfigError("the first stage's preview must map its channels to colours")
        preview = torch.tensor(rows, dtype=torch.float32, device="cpu") if rows else None
        self.register_buffer("colours", preview, persistent=False)

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (N, C, S, S) in [-1, 1] -> states (N, C', S / f, S / f).

        Raises:
            ValueError: the pictures' side is no multiple of the factor.
        """
        if pictures.shape[-1] % self.factor or pictures.shape[-2] % self.factor:
            raise ValueError(
                f"the first stage takes pictures whose sides are multiples of {self.factor}, "
                f"got {tuple(pictures.shape[-2:])}"
            )
        encoded = ENCODED[self.config.kind](self.network.encode(pictures))
        return (encoded - self.config.shift) * self.config.scaling

    def decode(self, states: Tensor) -> Tensor:
        """States (N, C', H, W) -> pictures (N, C, f H, f W) in about [-1, 1].

        A VQ model quantises first.
        """
        return self.network.decode(states / self.config.scaling + self.config.shift).sample

    def preview(self, states: Tensor) -> Tensor:
        """As `decode`, roughly and at next to no cost."""
        if self.colours is None:
            return self.decode(states)
        colours = self.colours.to(states.device, states.dtype)
        drawn = F.conv2d(states, colours[:, :-1, None, None], colours[:, -1])
        return F.interpolate(drawn, scale_factor=self.factor, mode="bilinear")


def _network(kind: str, settings: dict) -> nn.Module:
    """The network of diffusers that a configuration describes.

    Raises:
        ConfigError: diffusers is not installed, or knows no such network or setting.
    """
    try:
        import diffusers
    except ImportError as error:
        raise ConfigError(
            f"this model's first stage is a {kind} of diffusers, which is not installed: "
            "pip install diffusers"
        ) from error
    cls = getattr(diffusers, kind)
    known = inspect.signature(cls.__init__).parameters
    given = {name: value for name, value in settings.items() if name in known}
    unknown = sorted(
        name
        for name, value in settings.items()
        if name not in known and name != "block_out_channels" and not name.startswith("_")
        if value not in (None, False)
    )
    if unknown:
        raise ConfigError(f"{kind} has no {', '.join(unknown[:8])}; a newer diffusers may know it")
    try:
        return cls(**given)
    except Exception as error:  # whatever diffusers makes of settings that do not fit together
        raise ConfigError(f"the settings make no {kind}: {short(str(error))}") from error
