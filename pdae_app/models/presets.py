"""Named architectures: the rows of PDAE's Table 1, DiffEnc's models, and ours for CPUs."""

from typing import Any

from pdae_app.models.diffenc import multi_resolution, one_block_a_level
from pdae_app.models.pdae import PDAEConfig
from pdae_app.models.semantic import EncoderConfig
from pdae_app.models.unet import SketchConfig, UNetConfig
from pdae_app.models.vdm import VDMConfig, score_config


def _adm(image_size: int, base: int, multipliers: tuple[int, ...], heads: int) -> PDAEConfig:
    unet = UNetConfig(image_size, base, multipliers, attention_resolutions=(16,), heads=heads)
    return PDAEConfig(unet, EncoderConfig(image_size, z_dim=512))


_AT_128 = _adm(128, 128, (1, 1, 2, 3, 4), heads=1)

PRESETS: dict[str, PDAEConfig] = {
    "celeba64": _adm(64, 64, (1, 2, 4, 8), heads=4),
    "ffhq128": _AT_128,
    "celebahq128": _AT_128,
    "horse128": _AT_128,
    "bedroom128": _AT_128,
    # Ours: states of 4 x 32 x 32, folded 2x2, so that two CPU cores train and run it.
    "faces128": PDAEConfig(
        UNetConfig(
            image_size=32,
            in_channels=4,
            base_channels=96,
            multipliers=(1, 2),
            res_blocks=1,
            attention_resolutions=(8,),
            heads=4,
            dropout=0.0,
            patch_size=2,
        ),
        EncoderConfig(image_size=64, z_dim=512),
        sketch=SketchConfig(width=192, blocks=1),
    ),
}


def preset(name: str) -> PDAEConfig:
    """The architecture called `name`.

    Raises:
        ValueError: there is none of that name; the known ones are listed.
    """
    return _named(PRESETS, name)


def _paper_vdms() -> dict[str, VDMConfig]:
    """The models of DiffEnc's tables, "data-kind-blocks", and with an encoder "-layers"."""
    models = {}
    for data, size, channels, width, depths in (
        ("mnist", 28, 1, 128, {8: (2,)}),
        ("cifar10", 32, 3, 128, {8: (2, 4), 32: (2, 4)}),
        ("imagenet32", 32, 3, 256, {32: (8,)}),
    ):
        for blocks, encoders in depths.items():
            unet = score_config(size, blocks, width, channels)
            for kind in ("vdm", "vdm_v", "diffenc_fixed"):
                models[f"{data}-{kind}-{blocks}"] = VDMConfig(kind, unet)
            for layers in encoders:
                make = one_block_a_level if layers == 2 else multi_resolution
                encoder = make(size, layers, in_channels=channels)
                models[f"{data}-diffenc-{blocks}-{layers}"] = VDMConfig("diffenc", unet, encoder)
    return models


VDM_PRESETS = _paper_vdms()


def vdm_preset(name: str) -> VDMConfig:
    """The variational model called `name`.

    Raises:
        ValueError: there is none of that name; the known ones are listed.
    """
    return _named(VDM_PRESETS, name)


def _named(presets: dict[str, Any], name: str) -> Any:
    if name not in presets:
        raise ValueError(f"there is no preset {name!r}; known: {', '.join(presets)}")
    return presets[name]
