"""Tiny real networks for the tests, built in milliseconds."""

from dataclasses import replace

import torch

from pdae_app.bundle import Bundle
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.diffusion.schedule import Schedule
from pdae_app.diffusion.variational import VariationalDiffusion
from pdae_app.latents.directions import Attribute, LatentSpace
from pdae_app.latents.prior import Prior
from pdae_app.models.diffenc import MeanEncoderConfig
from pdae_app.models.first_stage import PatchAutoencoder, PatchAutoencoderConfig
from pdae_app.models.latent_mlp import LatentMLP, LatentMLPConfig
from pdae_app.models.pdae import PDAE, PDAEConfig
from pdae_app.models.semantic import ClassEncoderConfig, EncoderConfig
from pdae_app.models.unet import UNetConfig
from pdae_app.models.vdm import VDMConfig, initialise, score_config

UNET = UNetConfig(
    image_size=16,
    base_channels=8,
    multipliers=(1, 2),
    res_blocks=1,
    attention_resolutions=(8,),
    heads=2,
    dropout=0.0,
)
ENCODER = EncoderConfig(image_size=16, z_dim=8, channels=(8, 8), attention_resolution=8, heads=2)


def tiny_pdae(seed: int = 0, spread: float = 0.02) -> PDAE:
    """A PDAE whose zero-initialised layers were moved off zero, so that every input matters."""
    torch.manual_seed(seed)
    model = PDAE(PDAEConfig(UNET, ENCODER)).eval().requires_grad_(False)
    for parameter in model.parameters():
        if not parameter.any():
            parameter.normal_(std=spread)
    return model


def tiny_latents(names: tuple[str, ...] = ("Smiling", "Male"), dim: int = 8) -> LatentSpace:
    """Random directions with weights . direction = 1."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(len(names), dim, generator=generator)
    directions = weights / weights.square().sum(dim=1, keepdim=True)
    attributes = tuple(Attribute(name, 0.1, 2.0, -1.0, 0.9, 10, 12) for name in names)
    mean, std = torch.randn(dim, generator=generator), torch.ones(dim)
    return LatentSpace(mean, std, weights, directions, attributes)


def tiny_prior(dim: int = 8) -> Prior:
    """A latent diffusion model over 200 steps."""
    torch.manual_seed(2)
    mlp = LatentMLP(LatentMLPConfig(z_dim=dim, width=16, layers=3)).eval().requires_grad_(False)
    return Prior(mlp, Schedule("constant", 200))


def tiny_bundle(seed: int = 0, prediction: str = "v", shift: str = "v") -> Bundle:
    """A complete bundle at 16x16 with two sliders and a latent diffusion model."""
    diffusion = Diffusion(Schedule("linear", 100), prediction, shift)
    model = tiny_pdae(seed)
    return Bundle(model.unet, diffusion, model, tiny_latents(), tiny_prior())


def tiny_class_bundle() -> Bundle:
    """A bundle whose codes are made of two classes."""
    torch.manual_seed(3)
    model = PDAE(PDAEConfig(UNET, ClassEncoderConfig(classes=2, z_dim=8))).eval()
    diffusion = Diffusion(Schedule("linear", 100))
    return Bundle(model.unet, diffusion, model.requires_grad_(False), classes=("cat", "dog"))


def tiny_latent_bundle() -> Bundle:
    """A latent bundle: pictures of 32 px, states of 4 x 16 x 16, an encoder that reads 16 px."""
    bundle = tiny_bundle()
    torch.manual_seed(4)
    first_stage = PatchAutoencoder(PatchAutoencoderConfig(patch_size=2, channels=8))
    model = PDAE(PDAEConfig(replace(UNET, in_channels=4), ENCODER))
    for network in (first_stage, model):
        network.eval().requires_grad_(False)
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)
    return replace(bundle, unet=model.unet, model=model, first_stage=first_stage)


def tiny_vdm(kind: str = "diffenc", size: int = 8, learned: bool = False) -> VariationalDiffusion:
    """A variational diffusion model whose zero-initialised layers were moved off zero."""
    torch.manual_seed(5)
    encoder = MeanEncoderConfig(size, base_channels=16, levels=1, groups=4, middle_groups=4)
    unet = score_config(size, 1, base_channels=16, dropout=0.0, norm_groups=4)
    config = VDMConfig(kind, unet, encoder if kind == "diffenc" else None, learned)
    model = initialise(VariationalDiffusion(config)).eval()
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def tiny_pdae_on_vdm(kind: str = "diffenc") -> Bundle:
    """PDAE on the score network of a variational model, at 16x16 with two sliders."""
    frozen = tiny_vdm(kind, size=16)
    # With the paper's frequencies random weights turn rounding into noise, and a network that
    # returns its input predicts pictures far out of range at low SNR.
    unet = replace(frozen.config.unet, add_input=False, fourier=(-2, -1))
    model = PDAE(PDAEConfig(unet, ENCODER))
    model.unet.load_state_dict(frozen.networks.unet.state_dict())
    model.unet.decoder.conv_out.weight.data *= 1e-3
    for parameter in model.shift.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    diffusion = Diffusion(frozen.sampling_process, frozen.config.prediction, shift="v")
    model.eval().requires_grad_(False)
    return Bundle(model.unet, diffusion, model, tiny_latents(), stepping="quick")
