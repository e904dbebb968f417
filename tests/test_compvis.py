"""CompVis' single files with random weights; diffusers' converter says which tensor is which."""

import re

import pytest
import torch
import yaml

from pdae_app.bundle import load_bundle
from pdae_app.convert.__main__ import main
from pdae_app.convert.dpm import convert_dpm
from pdae_app.convert.errors import ConvertError
from pdae_app.convert.hints import Hints
from pdae_app.convert.names import official_shape, unet_names
from pdae_app.diffusion.schedule import Schedule
from pdae_app.models.unet import UNet, UNetConfig
from tests.test_bases import SMALL_KL_F8, SMALL_VQ, filled

diffusers = pytest.importorskip("diffusers")
converter = pytest.importorskip("diffusers.loaders.single_file_utils")

UNET = UNetConfig(
    image_size=16,
    base_channels=32,
    multipliers=(1, 2),
    attention_resolutions=(8,),
    head_channels=32,
    dropout=0.0,
    time_scale=False,
    resampling="conv",
)
# Theirs for diffusers' names, written down apart from the converter's own table.
PARTS = (
    ("mid_block.attentions.0", "mid.attn_1"),
    ("mid_block.resnets.0", "mid.block_1"),
    ("mid_block.resnets.1", "mid.block_2"),
    ("conv_shortcut", "nin_shortcut"),
    ("conv_norm_out", "norm_out"),
    ("downsamplers.0", "downsample"),
    ("upsamplers.0", "upsample"),
    ("group_norm", "norm"),
    ("to_out.0", "proj_out"),
    ("to_", ""),
)


def theirs(name, levels):
    """CompVis' name of a tensor of diffusers' first stage."""
    for ours, other in PARTS:
        name = name.replace(ours, other)
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)", r"down.\1", name)
    up = re.compile(r"up_blocks\.(\d)(\.resnets\.(\d))?")

    def turned(match):
        block = f".block.{match[3]}" if match[3] else ""
        return f"up.{levels - 1 - int(match[1])}{block}"

    return up.sub(turned, name)


def first_stage_tensors(network, levels):
    """Its state dict as CompVis writes it, attention as 1x1 convolutions."""
    tensors = {theirs(name, levels): t for name, t in network.state_dict().items()}
    attention = re.compile(r"attn_1\.(q|k|v|proj_out)\.weight")
    return {n: t[:, :, None, None] if attention.search(n) else t for n, t in tensors.items()}


def write(path, kind, settings, unet=UNET, average=True, **more):
    """A checkpoint; returns the U-Net of its averaged weights and the first stage."""
    network = filled(getattr(diffusers, kind)(**settings), seed=1)
    latents = settings["latent_channels"]
    config = UNetConfig(**{**vars(unet), "in_channels": latents})
    good, other = (filled(UNet(config), seed) for seed in (2, 3))
    state = {}
    for weights, place in ((other if average else good, "model."), (good, "model_ema.")):
        names = unet_names(weights)
        for ours, tensor in weights.state_dict().items():
            name = f"diffusion_model.{names[ours]}"
            name = name if place == "model." else name.replace(".", "")
            if place == "model." or average:
                state[place + name] = tensor.reshape(official_shape(ours, tensor))
    tensors = first_stage_tensors(network, len(settings["block_out_channels"]))
    state |= {f"first_stage_model.{name}": tensor for name, tensor in tensors.items()}
    state["betas"] = Schedule("scaled_linear", 1000, 0.0015, 0.0195).betas.float()
    state["model_ema.decay"] = torch.tensor(0.9999)
    torch.save({"epoch": 3, "state_dict": state | more}, path)
    return good, network


def settings_file(path, **parameters):
    """As `configs/latent-diffusion/celebahq-ldm-vq-4.yaml` of CompVis, in what matters here."""
    unet = {"image_size": 16, "in_channels": 3, "model_channels": 32, "num_head_channels": 32}
    known = {"linear_start": 0.0015, "linear_end": 0.0195, "timesteps": 1000, "image_size": 16}
    known |= {
        "unet_config": {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel"},
        "first_stage_config": {"target": "ldm.models.autoencoder.VQModelInterface"},
        "cond_stage_config": "__is_unconditional__",
    }
    known["unet_config"]["params"] = unet
    model = {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": known | parameters}
    path.write_text(yaml.safe_dump({"model": model}))
    return path


KINDS = {"VQ-f4": ("VQModel", SMALL_VQ), "KL-f8": ("AutoencoderKL", SMALL_KL_F8)}


@pytest.mark.parametrize(("kind", "settings"), KINDS.values(), ids=KINDS)
def test_a_single_file_becomes_both_networks(kind, settings, tmp_path):
    unet, stage = write(tmp_path / "model.ckpt", kind, settings, scale_factor=torch.tensor(0.4))
    config = settings_file(tmp_path / "config.yaml")
    given = ["--checkpoint", str(tmp_path / "model.ckpt"), "--config", str(config)]
    assert main(["dpm", *given, "--out", str(tmp_path / "b")]) == 0
    bundle = load_bundle(tmp_path / "b")
    x, t = torch.randn(1, *bundle.state_shape), torch.tensor([500])
    torch.testing.assert_close(bundle.unet(x, t), unet(x, t), atol=2e-5, rtol=2e-5)
    assert bundle.process == Schedule("scaled_linear", 1000, 0.0015, 0.0195)
    assert (bundle.spacing.offset, bundle.spacing.to_clean, bundle.spacing.clip) == (1, False, 0)
    ours, size = bundle.first_stage, 32
    pictures = torch.rand(1, 3, size, size) * 2 - 1
    encoded = stage.encode(pictures)
    latents = encoded.latents if kind == "VQModel" else encoded.latent_dist.mean
    torch.testing.assert_close(ours.encode(pictures), 0.4 * latents, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        ours.decode(0.4 * latents), stage.decode(latents).sample, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(("kind", "settings"), KINDS.values(), ids=KINDS)
def test_diffusers_own_converter_agrees_on_the_names(kind, settings):
    network = filled(getattr(diffusers, kind)(**settings))
    tensors = first_stage_tensors(network, len(settings["block_out_channels"]))
    checkpoint = {f"first_stage_model.{name}": tensor for name, tensor in tensors.items()}
    back = converter.convert_ldm_vae_checkpoint(checkpoint, network.config)
    for name, tensor in network.state_dict().items():
        if not name.startswith("quantize"):
            assert torch.equal(back[name].reshape(tensor.shape), tensor), name


def test_without_an_average_and_without_yaml(tmp_path):
    unet, _ = write(tmp_path / "a.ckpt", "VQModel", SMALL_VQ, average=False)
    said = []
    hints = Hints(image_size=16, head_channels=32, dropout=0.0, say=said.append)
    bundle = convert_dpm(tmp_path / "a.ckpt", hints)
    x, t = torch.randn(1, 3, 16, 16), torch.tensor([1])
    torch.testing.assert_close(bundle.unet(x, t), unet(x, t), atol=2e-5, rtol=2e-5)
    # The betas of the file tell the schedule.
    assert bundle.process.kind == "scaled_linear" and bundle.first_stage.config.scaling == 1.0
    assert any("no averaged weights" in line for line in said)


HINTS = Hints(image_size=16, head_channels=32, dropout=0.0, say=lambda line: None)
BAD = {
    "a prompt": ({"cond_stage_model.x": torch.ones(1)}, "wants a prompt"),
    "attention to a prompt": (
        {"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.x": torch.ones(1)},
        "wants a prompt",
    ),
    "half an average": ({"drop": "model_ema.diffusion_modelout2bias"}, "are averaged"),
    "several scales": ({"scale_factor": torch.ones(2)}, "scale_factor must be one number"),
    "a scale of zero": ({"scale_factor": torch.zeros(1)}, "must be a number above 0, got 0.0"),
    "no first stage": ({"drop": "first_stage_model."}, "holds no first stage"),
    "a broken first stage": ({"drop": "first_stage_model.encoder.conv_in.weight"}, "conv_in"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_used_is_refused(change, message, tmp_path):
    write(tmp_path / "m.ckpt", "VQModel", SMALL_VQ)
    data = torch.load(tmp_path / "m.ckpt", weights_only=True)
    more = {name: tensor for name, tensor in change.items() if name != "drop"}
    dropped = change.get("drop", "nothing")
    state = {n: t for n, t in data["state_dict"].items() if not n.startswith(dropped)}
    torch.save({"state_dict": state | more}, tmp_path / "m.ckpt")
    with pytest.raises(ConvertError, match=message):
        convert_dpm(tmp_path / "m.ckpt", HINTS)


def test_another_models_yaml_is_noticed(tmp_path):
    write(tmp_path / "m.ckpt", "VQModel", SMALL_VQ)
    for parameters, message in (
        ({"linear_end": 0.0155}, "is it another model's"),
        ({"parameterization": "flow"}, "parameterization 'flow' is not known"),
        ({"scale_factor": "wide"}, "scale_factor must be one number, got 'wide'"),
        ({"cond_stage_config": {"target": "BERT"}}, "wants a prompt"),
    ):
        path = settings_file(tmp_path / "c.yaml", **parameters)
        hints = HINTS.filled_from(Hints(settings=yaml.safe_load(path.read_text())))
        with pytest.raises(ConvertError, match=message):
            convert_dpm(tmp_path / "m.ckpt", hints)


def test_a_file_with_code_in_it_is_refused(tmp_path):
    torch.save({"state_dict": {"model.diffusion_model.x": print}}, tmp_path / "m.ckpt")
    with pytest.raises(ConvertError, match="holds more than weights"):
        convert_dpm(tmp_path / "m.ckpt", HINTS)
