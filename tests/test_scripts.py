"""The training scripts as a person runs them, one after the other."""

import csv
import json
import shutil

import gradio as gr
import pytest
import torch

from pdae_app import Editor
from pdae_app.bundle import load_bundle
from pdae_app.engine import EditError
from pdae_app.latents.clearing import Clearing
from pdae_app.region import Region
from pdae_app.typed_config import ConfigError
from pdae_app.ui.app import build
from pdae_app.ui.events import ModelWorkers
from pdae_app.ui.models import Models
from pdae_app.ui.session import EXAMPLES
from tests.smoke import ACCELERATE, call, launch
from training.checkpoints import checkpoints
from training.encode_latents import load_latents


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """dpm -> pdae -> latents -> latent dpm -> attributes, each with its smoke file; the first is
    launched as README says."""
    out = tmp_path_factory.mktemp("pipeline")
    labels, latents = out / "labels.csv", out / "latents.safetensors"
    with open(labels, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "Smiling", "Male"])
        for i, path in enumerate(EXAMPLES):
            writer.writerow([path.name, i % 2, int(i < 3)])
    cache, pdae = f"data.cache={out / 'cache'}", out / "pdae" / "bundle"

    def smoke(script, *arguments, run=call):
        name = script.removeprefix("train_").removeprefix("encode_")
        return run(f"{script}.py", "--config", f"training/configs/smoke/{name}.yaml", *arguments)

    def launched(*arguments):
        return launch(*arguments, launcher=ACCELERATE)

    results = [
        smoke("train_dpm", cache, f"loop.out={out / 'dpm'}", f"bundle={out / 'dpm' / 'bundle'}",
              run=launched),
        smoke("train_pdae", cache, f"dpm={out / 'dpm' / 'bundle'}", f"loop.out={out / 'pdae'}",
              f"bundle={pdae}"),
        smoke("encode_latents", cache, f"data.labels={labels}", f"model={pdae}", f"out={latents}"),
        smoke("train_latent_dpm", f"model={pdae}", f"latents={latents}",
              f"loop.out={out / 'prior'}", f"bundle={out / 'prior' / 'bundle'}"),
        smoke("train_attributes", f"model={out / 'prior' / 'bundle'}", f"latents={latents}",
              f"bundle={out / 'final'}"),
        smoke("train_diffae", cache, f"loop.out={out / 'diffae'}",
              f"bundle={out / 'diffae' / 'bundle'}"),
    ]  # fmt: skip
    return out, results


def test_every_script_runs(pipeline):
    for result in pipeline[1]:
        assert result.returncode == 0, result.stderr[-2000:]


def test_the_scripts_leave_samples_and_a_bundle_that_edits(pipeline):
    out, _ = pipeline
    for run in ("dpm", "pdae", "prior", "diffae"):
        assert list((out / run / "samples").glob("*.png"))
        assert len(checkpoints(out / run)) == 2  # pruned
    editor = Editor.from_pretrained(out / "final", device="cpu")
    assert editor.attributes == ["Smiling", "Male"]
    from PIL import Image

    code = editor.encode(Image.open(EXAMPLES[0]), steps=5)
    assert editor.edit(code, {"Smiling": 1.0}, steps=5).size == (32, 32)
    assert editor.generate([0, 1], steps=5)[1].size == (32, 32)
    diffae = Editor.from_pretrained(out / "diffae" / "bundle", device="cpu")
    assert diffae.decode(diffae.encode(EXAMPLES[0], steps=5), steps=5).size == (32, 32)


def test_latents_know_their_encoder_and_rows(pipeline):
    out, _ = pipeline
    bundle = load_bundle(out / "final")
    latents = load_latents(out / "latents.safetensors", bundle.model.encoder)
    assert len(latents.z) == 12 and latents.mirrored.sum() == 6
    assert latents.rows[0] == latents.rows[6] and latents.rows[1]["Smiling"] == "1"
    assert len(latents.of_split(None, mirrored=False).z) == 6
    with pytest.raises(ConfigError, match="no pictures of split 'test'"):
        latents.of_split("test")
    stranger = load_bundle(out / "pdae" / "bundle").model.encoder
    torch.nn.init.zeros_(stranger.linear.bias)
    with pytest.raises(ConfigError, match="made by another model"):
        load_latents(out / "latents.safetensors", stranger)


def test_training_by_class(pipeline, tmp_path):
    """A model told classes, and the shift by class of an unconditional one (PDAE, Section 4.6)."""
    out, _ = pipeline
    folder = tmp_path / "pictures"
    for i, example in enumerate(EXAMPLES):
        (folder / f"kind {i % 2}").mkdir(parents=True, exist_ok=True)
        (folder / f"kind {i % 2}" / example.name).write_bytes(example.read_bytes())
    data = [f"data.folder={folder}", f"data.cache={tmp_path / 'cache'}"]
    for name, more in (("dpm_class", []), ("pdae_class", [f"dpm={out / 'dpm' / 'bundle'}"])):
        script = f"train_{name.removesuffix('_class')}.py"
        given = ["--config", f"training/configs/smoke/{name}.yaml", *data, *more]
        folders = [f"loop.out={tmp_path / name}", f"bundle={tmp_path / name / 'bundle'}"]
        result = call(script, *given, *folders)
        assert result.returncode == 0, result.stderr[-2000:]
        assert load_bundle(tmp_path / name / "bundle").classes == ("kind 0", "kind 1")
    told = load_bundle(tmp_path / "dpm_class" / "bundle").unet.config
    assert told.classes == 2 and told.out_channels == 6
    editor = Editor.from_pretrained(tmp_path / "pdae_class" / "bundle", device="cpu")
    one, other = (editor.generate([0], steps=5, label=f"kind {i}")[0] for i in (0, 1))
    assert one.size == (32, 32) and one.tobytes() != other.tobytes()
    with pytest.raises(EditError, match=r"no class .cat.\. Known: kind 0, kind 1"):
        editor.generate([0], label="cat")
    with pytest.raises(EditError, match="knows classes only"):
        editor.encode(EXAMPLES[0])
    blocks = build(Models(editor), ModelWorkers()).blocks.values()
    closed = [b.label for b in blocks if isinstance(b, gr.Tab) and not b.interactive]
    assert closed == [
        "Edit",
        "Interpolate",
        "Your own slider",
        "Many pictures",
        "Film",
        "Look inside",
    ]


def test_few_shot_sliders_from_the_command_line(pipeline, tmp_path):
    out, _ = pipeline
    common = ["--config", "training/configs/smoke/attributes.yaml", f"model={out / 'final'}"]
    common += [f"latents={out / 'latents.safetensors'}", f"bundle={tmp_path / 'few'}"]
    for more in (["few_shot=3"], ["few_shot=3", "unlabelled=5"]):
        result = call("train_attributes.py", *common, *more)
        assert result.returncode == 0, result.stderr[-2000:]
        assert load_bundle(tmp_path / "few").latents.attributes[0].positives == 3
    wrong = call("train_attributes.py", *common, "unlabelled=5")
    assert wrong.returncode == 2 and "goes with few_shot" in wrong.stderr


def test_clearings_are_checked_and_kept_by_the_script(pipeline, tmp_path):
    out, _ = pipeline
    common = ["--config", "training/configs/smoke/attributes.yaml", f"model={out / 'final'}"]
    common += [f"latents={out / 'latents.safetensors'}", f"bundle={tmp_path / 'few'}"]
    row = "{attribute: %s, up: false, readily: 2, region: {left: 0, top: 0, right: 1, bottom: 0.5}}"
    result = call("train_attributes.py", *common, "few_shot=3", f"clearings=[{row % 'Smiling'}]")
    assert result.returncode == 0, result.stderr[-2000:]
    kept = load_bundle(tmp_path / "few").clearings
    assert kept == (Clearing("Smiling", up=False, readily=2.0, region=Region(0, 0, 1, 0.5)),)
    common[2] = f"model={tmp_path / 'few'}"
    wrong = call("train_attributes.py", *common, f"clearings=[{row % 'Wings'}]")
    assert wrong.returncode == 1 and "clearings names 'Wings'" in wrong.stderr
    assert call("train_attributes.py", *common, "few_shot=3").returncode == 0
    assert load_bundle(tmp_path / "few").clearings == ()  # none of the model before


def test_what_is_typical_is_measured_into_the_bundle(pipeline, tmp_path):
    out, _ = pipeline
    shutil.copytree(out / "final", tmp_path / "bundle")
    data = [f"data.folder={EXAMPLES[0].parent}", f"data.cache={out / 'cache'}", "count=6"]
    result = call("measure_typical.py", f"bundle={tmp_path / 'bundle'}", *data)
    assert result.returncode == 0, result.stderr[-2000:]
    editor = Editor.from_pretrained(tmp_path / "bundle", device="cpu")
    assert editor.bundle.typical.distance > 0 and editor.bundle.typical.structure > 0
    noticed = [bool(editor.notices(editor.encode(path, 10))) for path in EXAMPLES]
    assert noticed.count(True) < len(EXAMPLES)


def test_sliders_are_calibrated_on_pictures(pipeline, tmp_path):
    out, _ = pipeline
    shutil.copytree(out / "final", tmp_path / "bundle")
    data = [f"data.folder={EXAMPLES[0].parent}", f"data.cache={out / 'cache'}"]
    given = [f"bundle={tmp_path / 'bundle'}", *data, "people=2", "steps=2", "rounds=1"]
    result = call("calibrate_sliders.py", *given, "least=0.5", "most=3")
    assert result.returncode == 0, result.stderr[-2000:]
    gains = [a.gain for a in load_bundle(tmp_path / "bundle").latents.attributes]
    assert all(0.5 <= gain <= 3 for gain in gains) and gains != [1.0] * len(gains)


def test_metrics_are_written(pipeline):
    lines = (pipeline[0] / "dpm" / "metrics.jsonl").read_text().splitlines()
    line = json.loads(lines[-1])
    assert line["pictures"] == 64 and line["grad_norm"] > 0 and line["pictures_per_second"] > 0


def test_dry_run_and_export(pipeline, tmp_path):
    out, _ = pipeline
    config = ["--config", "training/configs/smoke/dpm.yaml", f"loop.out={out / 'dpm'}"]
    told = call("train_dpm.py", *config, "--dry-run", "data.folder=nowhere")
    assert told.returncode == 0, told.stderr
    assert "parameters, trained" in told.stdout and "batch_size: 4" in told.stdout
    longer = "loop.pictures=1_000"  # which the run has not come to
    done = call("train_dpm.py", *config, "--export", f"bundle={tmp_path / 'b'}", longer)
    assert done.returncode == 0, done.stderr
    first, second = load_bundle(out / "dpm" / "bundle"), load_bundle(tmp_path / "b")
    assert second.info["dpm"]["pictures"] == first.info["dpm"]["pictures"] < 1_000
    for name, value in first.unet.state_dict().items():
        assert torch.equal(value, second.unet.state_dict()[name])
    empty = call("train_dpm.py", *config[:2], "--export", f"loop.out={tmp_path / 'none'}")
    assert empty.returncode == 1 and "no checkpoint" in empty.stderr
    assert "Traceback" not in empty.stderr


def test_pdae_keeps_the_frozen_model(pipeline):
    out, _ = pipeline
    frozen, adapted = load_bundle(out / "dpm" / "bundle"), load_bundle(out / "pdae" / "bundle")
    for name, value in frozen.unet.state_dict().items():
        assert torch.equal(value, adapted.unet.state_dict()[name])
    config = json.loads((out / "final" / "config.json").read_text())
    assert config["info"]["pdae"]["pictures"] == 64
    state = torch.load(checkpoints(out / "pdae")[-1], weights_only=True)
    assert not any(name.startswith("unet") for name in state["model"])


def test_scripts_explain_themselves_and_refuse_nonsense():
    helped = launch("train_pdae.py", "--help")
    assert helped.returncode == 0 and "loop.learning_rate" in helped.stdout
    wrong = call("train_pdae.py", "--config", "training/configs/smoke/pdae.yaml", "loop.sed=1")
    assert wrong.returncode == 2 and "did you mean 'seed'" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_curves_of_several_runs(tmp_path):
    """A table of means over the seeds, and a drawing; what is missing is told."""
    for seed, offset in ((0, 0.0), (1, 0.2)):
        lines = [
            {"step": n, "pictures": 10 * n, "error": 1 / n + offset, "other": 0.0}
            for n in (1, 2, 3, 4)
        ]
        (tmp_path / str(seed)).mkdir()
        text = "\n".join(json.dumps(line) for line in lines)
        (tmp_path / str(seed) / "validation.jsonl").write_text(text)
    runs, out = f"mine={tmp_path / '0'},{tmp_path / '1'}", tmp_path / "drawn" / "error"
    done = call("curves.py", "--figure", "error", "--out", out, runs)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "| pictures | 20 | 40 |",
        "| --- | --- | --- |",
        "| mine | 0.6000 | 0.3500 |",
    ]
    assert out.with_suffix(".svg").read_text().count("<path") > 2
    wrong = call("curves.py", "--figure", "loss", "--out", out, runs)
    assert wrong.returncode == 1 and "known: error, other" in wrong.stderr
    missing = call("curves.py", "--figure", "loss", "--out", out, f"mine={tmp_path}")
    assert missing.returncode == 1 and "data.held_out=SPLIT" in missing.stderr
