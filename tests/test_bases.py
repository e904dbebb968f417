"""Published layouts with random weights: what we make of them computes what diffusers computes."""

import json
import math
import shutil

import pytest
import torch

from pdae_app.bundle import load_bundle, save_bundle
from pdae_app.convert.__main__ import main
from pdae_app.convert.diffusers import unet_config
from pdae_app.convert.dpm import convert_dpm
from pdae_app.convert.errors import ConvertError
from pdae_app.convert.hints import Hints
from pdae_app.convert.samples import drawn_states
from pdae_app.models.pdae import PDAE, PDAEConfig
from pdae_app.models.published_stage import PublishedStage, PublishedStageConfig
from pdae_app.models.semantic import EncoderConfig
from pdae_app.models.unet import UNet

diffusers = pytest.importorskip("diffusers")

QUIET = Hints(say=lambda line: None)


def filled(network, seed=0):
    """Random weights of a size at which activations neither vanish nor grow."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        spread = 0.1 if parameter.ndim == 1 else 1 / math.sqrt(parameter[0].numel())
        drawn = torch.randn(parameter.shape, generator=generator) * spread
        scale = parameter.ndim == 1 and name.endswith("weight")
        parameter.data = 1 + drawn if scale else drawn
    return network.eval().requires_grad_(False)


# The layouts as they are published; `SMALL` is what changes where memory asks.
LDM_UNET = {
    "sample_size": 64,
    "block_out_channels": (224, 448, 672, 896),
    "down_block_types": ("DownBlock2D", *["AttnDownBlock2D"] * 3),
    "up_block_types": (*["AttnUpBlock2D"] * 3, "UpBlock2D"),
    "attention_head_dim": 32,
}
DDPM_256 = {
    "sample_size": 256,
    "block_out_channels": (128, 128, 256, 256, 512, 512),
    "down_block_types": (*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4),
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "attention_head_dim": None,
}
KL_CHURCH = {
    "sample_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (192, 384, 384, 768, 768),
    "down_block_types": ("DownBlock2D", *["AttnDownBlock2D"] * 4),
    "up_block_types": (*["AttnUpBlock2D"] * 4, "UpBlock2D"),
    "attention_head_dim": 24,
}
VQ_F4 = {
    "block_out_channels": (128, 256, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 2,
    "latent_channels": 3,
    "num_vq_embeddings": 8192,
    "vq_embed_dim": 3,
}
KL_F8 = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
LDM_SCHEDULE = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "clip_sample": False,
}
SMALL_LDM = {**LDM_UNET, "sample_size": 16, "block_out_channels": (32, 64, 96, 128)}
SMALL_DDPM = {**DDPM_256, "sample_size": 32, "block_out_channels": (32, 32, 64, 64, 128, 128)}
SMALL_KL = {
    **KL_CHURCH,
    "sample_size": 16,
    "block_out_channels": (48, 96, 96, 192, 192),
    "norm_num_groups": 16,
}
SMALL_VQ = {**VQ_F4, "block_out_channels": (32, 32, 64), "num_vq_embeddings": 64}
SMALL_KL_F8 = {**KL_F8, "block_out_channels": (32, 32, 64, 64), "layers_per_block": 1}
UNETS = {
    "CompVis/ldm-celebahq-256": SMALL_LDM,
    "google/ddpm-celebahq-256": SMALL_DDPM,
    "church on KL-f8": SMALL_KL,
    "attention on the way up alone": {
        "sample_size": 16,
        "block_out_channels": (32, 64),
        "down_block_types": ("DownBlock2D",) * 2,
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    },
    "attention that resamples by blocks, scale-shift": {
        "sample_size": 16,
        "block_out_channels": (32, 64),
        "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "resnet_time_scale_shift": "scale_shift",
        "attn_norm_num_groups": 32,
        "attention_head_dim": 16,
    },
    "widths that are no multiples of the first": {
        "sample_size": 16,
        "block_out_channels": (64, 96),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": None,
        "freq_shift": 1,
        "time_embedding_dim": 160,
    },
    "a learned variance": {
        "sample_size": 8,
        "out_channels": 6,
        "block_out_channels": (32,),
        "down_block_types": ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",),
    },
}


@pytest.mark.parametrize("settings", UNETS.values(), ids=UNETS)
def test_a_network_computes_what_diffusers_does(settings, tmp_path):
    theirs = filled(diffusers.UNet2DModel(**settings))
    theirs.save_pretrained(tmp_path)
    ours = convert_dpm(tmp_path, QUIET).unet
    size, channels = settings["sample_size"], settings.get("in_channels", 3)
    x, t = torch.randn(2, channels, size, size), torch.tensor([3, 700])
    expected = theirs(x, t).sample[:, :channels]
    torch.testing.assert_close(ours(x, t), expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("settings", UNETS.values(), ids=UNETS)
def test_the_estimator_has_every_block_of_the_frozen_half(settings):
    config = unet_config({"_class_name": "UNet2DModel", **settings}, QUIET)
    counted = ("ResBlock", "SelfAttention", "ConvResample")
    with torch.device("meta"):
        model = PDAE(PDAEConfig(config, EncoderConfig(16, z_dim=8, channels=(8,))))
        x = torch.empty(1, config.in_channels, config.image_size, config.image_size)
        shift = model(x, torch.zeros(1), torch.zeros(1, 8))[1]
    assert shift.shape == x.shape
    kinds = [
        [name for name in (type(m).__name__ for m in half.modules()) if name in counted]
        for half in (model.unet.decoder, model.shift)
    ]
    assert kinds[0] == kinds[1] and "ResBlock" in kinds[0]


def test_the_full_sizes_have_the_published_counts():
    for settings in (LDM_UNET, DDPM_256, KL_CHURCH):
        with torch.device("meta"):
            theirs = diffusers.UNet2DModel(**settings)
            ours = UNet(unet_config({"_class_name": "UNet2DModel", **settings}, QUIET))
        counts = [sum(p.numel() for p in network.parameters()) for network in (theirs, ours)]
        assert counts[0] == counts[1]


TINY = {"latent_channels": 4, "num_encoder_blocks": (1, 1, 1), "num_decoder_blocks": (1, 1, 1)}
TINY |= {"encoder_block_out_channels": (16,) * 3, "decoder_block_out_channels": (16,) * 3}
DC = {"latent_channels": 8, "attention_head_dim": 8}
for half in ("encoder", "decoder"):
    DC |= {
        f"{half}_block_types": ("ResBlock", "EfficientViTBlock"),
        f"{half}_block_out_channels": (16, 32),
        f"{half}_layers_per_block": (1, 1),
        f"{half}_qkv_multiscales": ((), (5,)),
    }


@pytest.mark.parametrize(
    ("kind", "settings", "unet", "millions"),
    [("VQModel", VQ_F4, LDM_UNET, 55.3), ("AutoencoderKL", KL_F8, KL_CHURCH, 83.65)],
    ids=["ldm-celebahq-256", "church on KL-f8"],
)
def test_first_stages_of_full_size_fit_their_diffusion_models(kind, settings, unet, millions):
    """On the meta device: 256-px pictures become the states that the U-Net takes, and come back."""
    with torch.device("meta"):
        stage = PublishedStage(PublishedStageConfig(kind, dict(settings)))
        pictures = torch.empty(2, 3, 256, 256)
        states = stage.encode(pictures)
        assert stage.decode(states).shape == pictures.shape
    assert states.shape == (2, unet.get("in_channels", 3), unet["sample_size"], unet["sample_size"])
    assert (stage.state_channels, 256 // stage.factor) == states.shape[1:3]
    count = sum(parameter.numel() for parameter in stage.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


STAGES = {
    "VQ-f4": ("VQModel", SMALL_VQ, 4),
    "KL-f8": ("AutoencoderKL", SMALL_KL_F8, 8),
    "tiny": ("AutoencoderTiny", TINY, 4),
    "deep compression": ("AutoencoderDC", DC, 2),
}


def there_and_back(kind, network, pictures, scaling, shift=0.0):
    """As diffusers' own pipelines do it."""
    encoded = network.encode(pictures)
    if kind == "AutoencoderKL":
        latents = encoded.latent_dist.mean
    else:
        latents = encoded.latent if kind == "AutoencoderDC" else encoded.latents
    states = (latents - shift) * scaling
    return states, network.decode(states / scaling + shift).sample


@pytest.mark.parametrize(("kind", "settings", "factor"), STAGES.values(), ids=STAGES)
def test_a_first_stage_computes_what_diffusers_does(kind, settings, factor, tmp_path):
    given = {**settings, "scaling_factor": 0.7}
    theirs = filled(getattr(diffusers, kind)(**given))
    theirs.save_pretrained(tmp_path / "vae")
    channels = settings["latent_channels"]
    unet = filled(
        diffusers.UNet2DModel(
            **{
                **UNETS["a learned variance"],
                "in_channels": channels,
                "out_channels": channels,
                "sample_size": 16,
            }
        )
    )
    unet.save_pretrained(tmp_path)
    save_bundle(convert_dpm(tmp_path, QUIET), tmp_path / "b", torch.float32)
    ours = load_bundle(tmp_path / "b").first_stage
    assert (ours.factor, ours.state_channels) == (factor, channels)
    size = 16 * factor
    pictures = torch.rand(2, 3, size, size) * 2 - 1
    states, back = there_and_back(kind, theirs, pictures, 0.7)
    torch.testing.assert_close(ours.encode(pictures), states, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.decode(states), back, atol=1e-5, rtol=1e-5)
    preview = ours.preview(states)
    assert preview.shape == pictures.shape and preview.isfinite().all()


def write_pipeline(folder, unet, scheduler, stage=None, root=False):
    """A pipeline's folder of random weights, with the U-Net's files in it or at the root."""
    folder.mkdir(exist_ok=True)
    unet = filled(diffusers.UNet2DModel(**unet))
    # A random network does not denoise: with a large output twenty steps of diffusers itself, from
    # noise that differs by 1e-6, end 0.03 apart.
    unet.conv_out.weight.data *= 0.01
    unet.save_pretrained(folder if root else folder / "unet")
    scheduler.save_pretrained(folder if root else folder / "scheduler")
    index = {
        "_class_name": "LDMPipeline" if stage else "DDPMPipeline",
        "scheduler": ["diffusers", type(scheduler).__name__],
        "unet": ["diffusers", "UNet2DModel"],
    }
    network = None
    if stage:
        kind, settings = stage
        network = filled(getattr(diffusers, kind)(**settings), seed=1)
        network.save_pretrained(folder / "vqvae")
        index["vqvae"] = ["diffusers", kind]
    (folder / "model_index.json").write_text(json.dumps(index))
    return unet, network


def edit_json(path, **values):
    """Set keys of a JSON file, or with None take them out."""
    data = json.loads(path.read_text())
    data |= values
    path.write_text(json.dumps({key: v for key, v in data.items() if v is not None}))


PIPELINES = {
    "DDPM, files at the root": (SMALL_DDPM, diffusers.DDPMScheduler(), None, True),
    "DDIM": (SMALL_DDPM, diffusers.DDIMScheduler(timestep_spacing="linspace"), None, False),
    "LDM, VQ": (SMALL_LDM, diffusers.DDIMScheduler(**LDM_SCHEDULE), ("VQModel", SMALL_VQ), False),
    "LDM, KL": (
        SMALL_KL,
        diffusers.DDIMScheduler(**LDM_SCHEDULE, steps_offset=1, set_alpha_to_one=False),
        ("AutoencoderKL", SMALL_KL_F8),
        False,
    ),
}


@pytest.mark.parametrize(("unet", "scheduler", "stage", "root"), PIPELINES.values(), ids=PIPELINES)
def test_twenty_steps_are_those_of_the_pipeline(unet, scheduler, stage, root, tmp_path):
    theirs, network = write_pipeline(tmp_path / "p", unet, scheduler, stage, root)
    bundle = convert_dpm(tmp_path / "p", QUIET)
    save_bundle(bundle, tmp_path / "b", torch.float32)
    bundle = load_bundle(tmp_path / "b")
    drawn = torch.randn(1, *bundle.state_shape, generator=torch.Generator().manual_seed(5))
    expected, own = drawn, diffusers.DDIMScheduler.from_config(scheduler.config)
    own.set_timesteps(20)
    for t in own.timesteps:
        expected = own.step(theirs(expected, t).sample, t, expected).prev_sample
    states = drawn_states(bundle, drawn, steps=20)
    torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-4)
    if network is not None:
        pictures = network.decode(expected / network.config.scaling_factor).sample
        ours = bundle.first_stage.decode(states)
        # A vector that lies between two of the code book may fall to the other one.
        close = torch.isclose(ours, pictures, atol=1e-3).float().mean()
        assert close > 0.99


def test_an_old_vq_model_without_a_scaling_factor_is_not_scaled(tmp_path):
    stage = ("VQModel", SMALL_VQ)
    write_pipeline(tmp_path / "p", SMALL_LDM, diffusers.DDIMScheduler(**LDM_SCHEDULE), stage)
    config = tmp_path / "p" / "vqvae" / "config.json"
    assert convert_dpm(tmp_path / "p", QUIET).first_stage.config.scaling == 0.18215
    edit_json(config, scaling_factor=None)
    said = []
    bundle = convert_dpm(tmp_path / "p", Hints(say=said.append))
    assert bundle.first_stage.config.scaling == 1.0
    assert any("scaling-factor = 1.0" in line or "scaling_factor = 1.0" in line for line in said)
    forced = convert_dpm(tmp_path / "p", Hints(scaling_factor=0.5, say=said.append))
    assert forced.first_stage.config.scaling == 0.5
    by_flag = ["dpm", "--checkpoint", str(tmp_path / "p"), "--scaling-factor", "0.25"]
    assert main([*by_flag, "--out", str(tmp_path / "b")]) == 0
    assert load_bundle(tmp_path / "b").first_stage.config.scaling == 0.25


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ldm") / "p"
    stage = ("VQModel", SMALL_VQ)
    write_pipeline(folder, SMALL_LDM, diffusers.DDIMScheduler(**LDM_SCHEDULE), stage)
    return folder


def without(name):
    return lambda folder: shutil.rmtree(folder / name)


def with_index(**values):
    return lambda folder: edit_json(folder / "model_index.json", **values)


def with_json(name, **values):
    return lambda folder: edit_json(folder / name, **values)


def with_hostile_weights(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"a": print}, folder / "unet" / "diffusion_pytorch_model.bin")


BAD = {
    "a prompt": (with_index(text_encoder=["transformers", "CLIP"]), "text-to-image pipeline"),
    "a prompted U-Net": (
        with_json("unet/config.json", _class_name="UNet2DConditionModel"),
        "its U-Net wants a prompt.*such as google/ddpm",
    ),
    "another network": (
        with_json("unet/config.json", _class_name="DiTTransformer2DModel"),
        "this is a 'DiTTransformer2DModel'; only an unconditional",
    ),
    "a language model": (
        lambda folder: (folder / "unet" / "config.json").write_text('{"model_type": "bert"}'),
        "says no block_out_channels, .*no UNet2DModel's of diffusers",
    ),
    "no U-Net": (without("unet"), "names the part unet, but .* is missing"),
    "no U-Net named": (with_index(unet=None), "this LDMPipeline has no unet"),
    "no scheduler": (without("scheduler"), "names the part scheduler, but .* is missing"),
    "no first stage": (without("vqvae"), "names the part vqvae, but .* is missing"),
    "no first stage named": (
        lambda folder: (without("vqvae")(folder), with_index(vqvae=None)(folder)),
        "a latent pipeline needs the part vqvae",
    ),
    "code in the weights": (with_hostile_weights, "holds more than weights .*refused"),
    "another latent count": (
        with_json("unet/config.json", in_channels=4, out_channels=4),
        "conv_in.weight has shape",
    ),
    "an unknown first stage": (
        with_json("vqvae/config.json", _class_name="AutoencoderOobleck"),
        "is a AutoencoderOobleck; known are VQModel",
    ),
    "an unknown setting of it": (
        with_json("vqvae/config.json", patch_size=4),
        "VQModel has no patch_size",
    ),
    "a first stage without end": (
        with_json("vqvae/config.json", layers_per_block=10**9),
        "layers_per_block of the first stage may be 32 at most",
    ),
    "an unknown switch": (
        with_json("scheduler/scheduler_config.json", use_beta_sigmas=True),
        "may change results: use_beta_sigmas",
    ),
    "no settings": (
        lambda folder: (folder / "unet" / "config.json").write_text("[1]"),
        "is no mapping of settings",
    ),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_used_is_refused_in_a_sentence(change, message, pipeline, tmp_path, capsys):
    shutil.copytree(pipeline, tmp_path / "p")
    change(tmp_path / "p")
    given = ["--checkpoint", str(tmp_path / "p"), "--out", str(tmp_path / "b")]
    assert main(["dpm", *given]) == 1
    said = capsys.readouterr().err
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(said)
    assert "Traceback" not in said and not (tmp_path / "b").exists()


def test_a_first_stage_of_other_latents_is_refused(tmp_path):
    stage = ("VQModel", {**SMALL_VQ, "latent_channels": 4, "vq_embed_dim": 4})
    write_pipeline(tmp_path / "p", SMALL_LDM, diffusers.DDIMScheduler(**LDM_SCHEDULE), stage)
    with pytest.raises(ConvertError, match="latents have 4 channels, the U-Net takes 3"):
        convert_dpm(tmp_path / "p", QUIET)


def test_a_class_is_folded_into_the_time(tmp_path):
    settings = {**UNETS["attention on the way up alone"], "num_class_embeds": 3}
    theirs = filled(diffusers.UNet2DModel(**settings))
    theirs.save_pretrained(tmp_path)
    x, t = torch.randn(1, 3, 16, 16), torch.tensor([40])
    for label, number in (("1", 1), ("null", 2)):
        hints = Hints(class_label=label, say=lambda line: None)
        expected = theirs(x, t, class_labels=torch.tensor([number])).sample
        ours = convert_dpm(tmp_path, hints).unet(x, t)
        torch.testing.assert_close(ours, expected, atol=2e-5, rtol=2e-5)
    for label, message in ((None, "Choose the one"), ("3", "no class 3"), ("x", "no class x")):
        with pytest.raises(ConvertError, match=message):
            convert_dpm(tmp_path, Hints(class_label=label, say=lambda line: None))


def test_a_single_file_is_read_with_the_configuration_beside_it(pipeline, tmp_path):
    file = pipeline / "unet" / "diffusion_pytorch_model.safetensors"
    bundle = convert_dpm(file, QUIET)
    assert bundle.unet.config.image_size == 16 and bundle.stepping == "clean"


def test_without_diffusers_a_sentence_says_what_to_install(pipeline, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ConvertError, match="pip install diffusers"):
        convert_dpm(pipeline, QUIET)


def test_the_preview_is_the_best_linear_map():
    """Of a first stage that is linear itself, the preview leaves next to nothing."""
    from pdae_app.convert.previews import example_squares, with_preview

    network = filled(diffusers.VQModel(**SMALL_VQ))
    network.encode = lambda x: type(
        "Encoded", (), {"latents": torch.nn.functional.avg_pool2d(x, 4).flip(1) * 3 + 1}
    )
    stage = PublishedStage(PublishedStageConfig("VQModel", SMALL_VQ), network)
    fitted = with_preview(stage, 64)
    pictures = example_squares(64, 3)
    small = torch.nn.functional.avg_pool2d(fitted.preview(fitted.encode(pictures)), 4)
    wanted = torch.nn.functional.avg_pool2d(pictures, 4)
    assert (small - wanted).square().mean() < 0.03 * wanted.var()
