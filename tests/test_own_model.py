"""A newcomer's way on a tiny latent diffusion model: convert, train, sliders, edit."""

import csv
import sys
from pathlib import Path

import gradio as gr
import pytest
import torch
from PIL import Image, ImageChops

from pdae_app.bundle import load_bundle
from pdae_app.convert.__main__ import main as convert
from pdae_app.engine import Editor
from pdae_app.engine.pictures import to_tensor
from pdae_app.engine.sampler import Sampler
from pdae_app.engine.waiting import opening_seconds, waiting_sentence
from pdae_app.ui.app import build
from pdae_app.ui.events import ModelWorkers
from pdae_app.ui.models import Models
from tests.test_bases import LDM_SCHEDULE, SMALL_LDM, SMALL_VQ, write_pipeline
from training import encode_latents, train_attributes, train_pdae

diffusers = pytest.importorskip("diffusers")
CONFIGS = Path(__file__).parent.parent / "training" / "configs" / "ldm256"
PICTURES = 8


def run(script, monkeypatch, config, *overrides):
    """As `python training/SCRIPT.py --config …`, without another process."""
    monkeypatch.setattr(sys, "argv", ["script", "--config", str(CONFIGS / config), *overrides])
    script.main()


def pictures(folder):
    """Stripes, upright or lying, with labels."""
    folder.mkdir()
    rows = []
    for i in range(PICTURES):
        lying = i % 2
        colours = torch.rand(4, 3, generator=torch.Generator().manual_seed(i))
        stripes = colours.repeat_interleave(16, dim=0)[None].expand(64, 64, 3)
        stripes = stripes.transpose(0, 1) if lying else stripes
        Image.fromarray((stripes * 255).byte().numpy()).save(folder / f"{i}.png")
        rows.append({"file": f"{i}.png", "Lying": lying})
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The folder of everything: `bundle` is the finished model."""
    out = tmp_path_factory.mktemp("own")
    unet = {**SMALL_LDM, "block_out_channels": (16, 32), "norm_num_groups": 16}
    unet |= {name: (SMALL_LDM[name][0], SMALL_LDM[name][-1]) for name in ("down_block_types",)}
    unet |= {"up_block_types": ("AttnUpBlock2D", "UpBlock2D"), "layers_per_block": 1}
    unet |= {"attention_head_dim": 16}
    scheduler = diffusers.DDIMScheduler(**LDM_SCHEDULE)
    write_pipeline(out / "published", unet, scheduler, ("VQModel", SMALL_VQ))
    given = ["dpm", "--checkpoint", str(out / "published"), "--out", str(out / "base")]
    assert convert([*given, "--samples", str(out / "samples.png")]) == 0
    folder = pictures(out / "pictures")
    data = [f"data.folder={folder}", f"data.labels={folder / 'labels.csv'}"]
    data += [f"data.cache={out / 'cache'}"]
    small = ["encoder.image_size=32", "encoder.z_dim=16", "encoder.channels=[16,16,16]"]
    loop = {"out": out / "run", "pictures": 16, "batch_size": 4, "accumulate": 2, "workers": 0}
    loop |= {"mixed_precision": '"no"', "ema_device": "cpu", "sample_every": 10**9}
    with pytest.MonkeyPatch.context() as patch:
        run(
            train_pdae,
            patch,
            "pdae.yaml",
            f"dpm={out / 'base'}",
            f"bundle={out / 'pdae'}",
            *small,
            *data,
            "data.views=2",
            *(f"loop.{name}={value}" for name, value in loop.items()),
        )
        latents = out / "latents.safetensors"
        run(encode_latents, patch, "latents.yaml", f"model={out / 'pdae'}", f"out={latents}", *data)
        files = [f"model={out / 'pdae'}", f"latents={latents}", f"bundle={out / 'bundle'}"]
        run(train_attributes, patch, "attributes.yaml", *files, "folds=2")
    return out


def test_the_finished_model_edits_a_picture(own):
    with Image.open(own / "samples.png") as drawn:
        assert drawn.size[0] > 4 * 64
    editor = Editor.from_pretrained(own / "bundle", device="cpu")
    assert (editor.image_size, editor.framing, editor.attributes) == (64, "center", ["Lying"])
    code = editor.encode(own / "pictures" / "0.png", steps=3)
    assert code.x_T.shape == (3, 16, 16)
    seen = list(editor.edit_steps(code, {"Lying": 2.0}))
    assert {progress.image.size for progress in seen} == {(64, 64)}
    # Exact inversion: the unchanged code gives the first stage's own reconstruction.
    stage = editor.bundle.first_stage
    (own_picture,) = editor.sampler.pictures(stage.encode(tensor(own / "pictures" / "0.png")))
    difference = ImageChops.difference(own_picture, editor.decode(code)).convert("L")
    assert difference.getextrema()[1] <= 2
    whole = editor.paste(own / "pictures" / "0.png", code, seen[-1].image, editor.decode(code))
    assert whole.size == (64, 64)


def test_the_page_opens_on_the_finished_model(own):
    editor = Editor.from_pretrained(own / "bundle", device="cpu")
    blocks = list(build(Models(editor), ModelWorkers()).blocks.values())
    tabs = {block.label: block.interactive for block in blocks if isinstance(block, gr.Tab)}
    assert tabs["Edit"] and tabs["Interpolate"]
    shown = [b.label for b in blocks if isinstance(b, gr.Slider) and b.visible and b.label]
    assert "Lying" in shown


def tensor(path):
    with Image.open(path) as image:
        return to_tensor(image.convert("RGB"), 3)


def test_what_was_trained_and_what_was_not(own):
    base, trained = load_bundle(own / "base"), load_bundle(own / "pdae")
    for name, tensor in base.unet.state_dict().items():
        assert torch.allclose(tensor, trained.unet.state_dict()[name], atol=1e-3), name
    assert trained.first_stage.config == base.first_stage.config
    assert base.stepping == "spacing" and trained.stepping == "clean"
    assert any(parameter.any() for parameter in trained.model.shift.conv_out.parameters())


def test_previews_need_no_decoder_on_the_way(own, monkeypatch):
    editor = Editor.from_pretrained(own / "bundle", device="cpu")
    code, stage = editor.encode(own / "pictures" / "1.png", steps=3), editor.bundle.first_stage
    decoded, decode = [], stage.decode
    monkeypatch.setattr(stage, "decode", lambda states: decoded.append(1) or decode(states))
    assert len(list(editor.edit_steps(code, {"Lying": 1.0}))) == 3
    assert len(decoded) == 1


def test_somebody_who_will_wait_is_told(own, monkeypatch):
    editor = Editor.from_pretrained(own / "bundle", device="cpu")
    seconds = opening_seconds(editor, 10)
    assert 0 < editor.sampler.step_seconds < seconds
    monkeypatch.setattr(Sampler, "step_seconds", 4.0)
    assert opening_seconds(editor, 10) == 10 * 5 * 4 + 10 * 4
    assert "about 4 minutes at most" in waiting_sentence(240)
    assert "about 30 seconds" in waiting_sentence(31) and waiting_sentence(5) == ""
