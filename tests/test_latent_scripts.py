"""A latent model from nothing: every script of its way, to an Editor and its page."""

import csv
import importlib
import sys
from pathlib import Path

import pytest
import torch

from pdae_app import Editor
from pdae_app.bundle import load_bundle
from pdae_app.engine.pictures import to_tensor
from pdae_app.ui.app import build
from pdae_app.ui.events import ModelWorkers
from pdae_app.ui.models import Models
from pdae_app.ui.session import EXAMPLES
from tests.smoke import CONFIGS

STAGES = ("train_pdae", "train_decoder")
HASHED = ("train_pdae/bundle", "train_decoder/bundle", "final")


def run(script, config, *overrides):
    """As `python training/SCRIPT.py --config …`, without another process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script", "--config", str(CONFIGS / "smoke" / config)])
        sys.argv += overrides
        importlib.import_module(f"training.{script}").main()


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """First stage -> DPM on states -> PDAE -> decoder -> latents -> attributes."""
    out = tmp_path_factory.mktemp("latent")
    with open(out / "labels.csv", "w", newline="") as file:
        rows = [[path.name, i % 2] for i, path in enumerate(EXAMPLES)]
        csv.writer(file).writerows([["file", "Smiling"], *rows])
    cache = f"data.cache={out / 'cache'}"
    last = None
    for script, config, source in (
        ("train_first_stage", "first_stage.yaml", None),
        ("train_dpm", "dpm_latent.yaml", "first_stage"),
        ("train_pdae", "pdae_latent.yaml", "dpm"),
        ("train_decoder", "decoder.yaml", "model"),
    ):
        made = out / script
        given = [cache, f"loop.out={made}", f"bundle={made / 'bundle'}"]
        run(script, config, *given, *([f"{source}={last}"] if source else []))
        last = made / "bundle"
    latents, labels = f"{out / 'latents.safetensors'}", f"data.labels={out / 'labels.csv'}"
    run("encode_latents", "latents.yaml", cache, labels, f"model={last}", f"out={latents}")
    files = [f"model={last}", f"latents={latents}", f"bundle={out / 'final'}"]
    run("train_attributes", "attributes.yaml", *files)
    return out


def test_it_edits_and_its_unchanged_code_is_the_first_stages_reconstruction(out):
    editor = Editor.from_pretrained(out / "final", device="cpu")
    assert (editor.image_size, editor.attributes) == (32, ["Smiling"])
    code = editor.encode(EXAMPLES[0], steps=5)
    assert code.x_T.shape == (4, 16, 16)
    stage, square = editor.bundle.first_stage, to_tensor(editor.align(EXAMPLES[0]), 3)
    with torch.inference_mode():
        own = stage.decode(stage.encode(square)).clamp(-1, 1)
    back = to_tensor(editor.decode(code, steps=5), 3)
    assert float((back - own).abs().max()) < 2.5 / 127.5
    edited = to_tensor(editor.edit(code, {"Smiling": 2.0}, steps=5), 3)
    assert float((edited - back).abs().max()) > 0
    assert build(Models(editor), ModelWorkers()).blocks


def test_the_decoders_training_keeps_the_states_and_the_hashes(out):
    before, after = (load_bundle(out / script / "bundle") for script in STAGES)
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1
    states = before.first_stage.encode(pictures)
    torch.testing.assert_close(after.first_stage.encode(pictures), states, rtol=0, atol=0)
    decoded = (bundle.first_stage.decode(states) for bundle in (before, after))
    assert not torch.equal(*decoded)
    known = [Path(out / name / "training-pictures.txt").read_text() for name in HASHED]
    assert len(set(known)) == 1 and known[0]


def test_the_decoders_dry_run_needs_no_pictures_and_makes_nothing(out, tmp_path, capsys):
    folders = [f"bundle={tmp_path / 'b'}", f"loop.out={tmp_path / 'run'}"]
    model = f"model={out / 'train_pdae' / 'bundle'}"
    run("train_decoder", "decoder.yaml", model, *folders, "data.folder=nowhere", "--dry-run")
    assert "parameters, trained" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
