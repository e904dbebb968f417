"""Training: configurations, data, resuming, and the scripts launched as a person would."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pdae_app import Editor
from pdae_app.bundle import Bundle, load_bundle, save_bundle
from pdae_app.diffusion.prediction import Diffusion
from pdae_app.engine import EditError
from pdae_app.models.presets import PRESETS, preset
from pdae_app.models.unet import UNet, set_checkpointed
from pdae_app.typed_config import ConfigError
from pdae_app.ui.app import build
from pdae_app.ui.events import ModelThread
from pdae_app.ui.models import Models
from pdae_app.ui.session import EXAMPLES
from tests.tiny import UNET, tiny_bundle, tiny_latents
from training import config as training_config
from training import train_dpm
from training.calibrate_sliders import CalibrateConfig, corrected
from training.checkpoints import CheckpointError, checkpoints, read_checkpoint, write_checkpoint
from training.data import (
    AugmentedSquares,
    DataConfig,
    SeededBatches,
    example_pictures,
    load_pictures,
    plain_squares,
)
from training.dry_run import count_activations, count_operations, describe_run
from training.encode_latents import LatentsConfig, load_latents
from training.evaluate_likelihood import LikelihoodConfig
from training.evaluation.card import CardConfig
from training.evaluation.overlap import OverlapConfig
from training.loop import LoopConfig, Run, TrainingError, learning_rate, train
from training.measure_typical import TypicalConfig
from training.resuming import lock_folder
from training.train_attributes import AttributesConfig
from training.train_diffae import DiffAETrainConfig
from training.train_dpm import DpmConfig, DpmObjective, seen_before
from training.train_first_stage import FirstStageTrainConfig
from training.train_judge import JudgeTrainConfig
from training.train_latent_dpm import LatentDpmConfig
from training.train_pdae import PdaeObjective, PdaeTrainConfig
from training.train_vdm import VdmTrainConfig

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "training" / "configs"
FACES = str(EXAMPLES[0].parent)


def load(cls, name, *overrides):
    return training_config.load(cls, CONFIGS / name, list(overrides))


SHIPPED = {
    "dpm": DpmConfig,
    "dpm_class": DpmConfig,
    "dpm_latent": DpmConfig,
    "first_stage": FirstStageTrainConfig,
    "pdae": PdaeTrainConfig,
    "pdae_class": PdaeTrainConfig,
    "pdae_latent": PdaeTrainConfig,
    "pdae_constant": PdaeTrainConfig,
    "pdae_sketch": PdaeTrainConfig,
    "pdae_more": PdaeTrainConfig,
    "sketch": PdaeTrainConfig,
    "diffae": DiffAETrainConfig,
    "latents": LatentsConfig,
    "latent_dpm": LatentDpmConfig,
    "attributes": AttributesConfig,
    "evaluate": CardConfig,
    "vdm": VdmTrainConfig,
    "vdm_v": VdmTrainConfig,
    "diffenc": VdmTrainConfig,
    "diffenc_fixed": VdmTrainConfig,
    "likelihood": LikelihoodConfig,
    "typical": TypicalConfig,
    "calibrate": CalibrateConfig,
    "judge": JudgeTrainConfig,
    "overlap": OverlapConfig,
}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/*.yaml")), ids=lambda p: p.parent.name)
def test_shipped_configurations_are_valid(path):
    config = load(SHIPPED[path.stem], path.relative_to(CONFIGS))
    if path.parent.name in PRESETS and path.stem == "dpm":
        assert config.unet == preset(path.parent.name).unet
    if path.parent.name in PRESETS and path.stem == "pdae":
        assert config.encoder == preset(path.parent.name).encoder


def test_the_sketch_stage_wants_a_sketch():
    assert load(PdaeTrainConfig, "faces128/sketch.yaml").stage == "sketch"
    with pytest.raises(ConfigError, match="together with sketch"):
        load(PdaeTrainConfig, "smoke/pdae.yaml", "stage=sketch")


@pytest.mark.parametrize("stage", ["sketch", "pdae"])
def test_every_trained_parameter_has_a_part_in_the_loss(stage):
    """Else processes that exchange gradients wait for one that never comes."""
    config = load(
        PdaeTrainConfig, "smoke/pdae.yaml", "sketch.width=16", "sketch.blocks=1", f"stage={stage}"
    )
    size = config.encoder.image_size
    frozen = Bundle(UNet(replace(UNET, image_size=size)), Diffusion())
    objective = PdaeObjective(config, frozen)
    x_0 = torch.randn(2, 3, size, size)
    objective(x_0, *objective.draw(x_0.shape, torch.device("cpu"))).backward()
    unused = [n for n, p in objective.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused


@pytest.mark.parametrize(
    "override, message",
    [
        ("loop.batchsize=3", "did you mean 'batch_size'"),
        ("loop.batch_size=three", "loop.batch_size must be of type int"),
        ("loop.batch_size=true", "must be of type int"),
        ("loop.learning_rate=fast", "must be a number"),
        ("unet.image_size=30", "multiple of"),
        ("diffusion.prediction=noise", "known: eps"),
        ("loop", "key=value"),
    ],
)
def test_wrong_keys_and_values_are_told(override, message):
    with pytest.raises(ConfigError, match=message):
        load(DpmConfig, "smoke/dpm.yaml", override)


def test_overrides_and_scientific_notation():
    config = load(DpmConfig, "smoke/dpm.yaml", "loop.learning_rate=3e-4", "loop.seed=7")
    assert config.loop.learning_rate == 3e-4 and config.loop.seed == 7
    with pytest.raises(ConfigError, match="no configuration file"):
        training_config.load(DpmConfig, "nowhere.yaml")
    with pytest.raises(ConfigError, match="missing: unet"):
        training_config.load(DpmConfig, None)


@pytest.fixture
def data(tmp_path):
    return DataConfig(FACES, cache=str(tmp_path / "cache"), scale_jitter=0.03, color_jitter=0.1)


def test_training_pictures_are_the_apps_own_squares(data, editor):
    from PIL import Image

    pictures = load_pictures(data, 16)
    squares = plain_squares(pictures, 16)
    assert squares.shape == (6, 3, 16, 16) and squares.abs().max() <= 1
    for row, square in zip(pictures.rows, squares, strict=True):
        app = np.asarray(editor.align(Image.open(Path(FACES) / row["file"])), float)
        ours = ((square + 1) * 127.5).permute(1, 2, 0).numpy()
        assert np.abs(app - ours).mean() < 4, row


def test_broken_pictures_are_counted_and_skipped(tmp_path, data, capsys):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "good.jpg").write_bytes(EXAMPLES[0].read_bytes())
    (folder / "bad.jpg").write_bytes(b"no picture")
    pictures = load_pictures(replace(data, folder=str(folder)), 16)
    assert [row["file"] for row in pictures.rows] == ["good.jpg"]
    assert "bad.jpg" in pictures.skipped and "1 of 2 pictures skipped" in capsys.readouterr().out
    # The second reading comes from the cache and tells the same.
    assert load_pictures(replace(data, folder=str(folder)), 16).skipped == pictures.skipped


def test_empty_sets_are_errors_at_once(tmp_path, data):
    with pytest.raises(ValueError, match="no folder"):
        load_pictures(replace(data, folder=str(tmp_path / "nothing")), 16)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures"):
        load_pictures(replace(data, folder=str(tmp_path / "empty")), 16)


def test_augmentation_follows_from_the_seed(data):
    dataset = AugmentedSquares(load_pictures(data, 16), data, 16)
    assert torch.equal(dataset[2, 11], dataset[2, 11])
    assert not torch.equal(dataset[2, 11], dataset[2, 12])
    assert dataset[0, 1].shape == (3, 16, 16) and dataset[0, 1].abs().max() <= 1


def test_batches_can_start_anywhere_and_split_without_overlap():
    whole = list(SeededBatches(10, 4, seed=3, start=0, stop=5))
    assert list(SeededBatches(10, 4, seed=3, start=2, stop=5)) == whole[2:]
    first_epoch = [index for batch in whole for index, _ in batch][:10]
    assert sorted(first_epoch) == list(range(10))
    halves = [list(SeededBatches(10, 2, 3, 0, 5, rank, 2)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole


def test_learning_rate():
    config = LoopConfig("x", 1000, learning_rate=1.0, warmup=100, decay="cosine")
    assert learning_rate(config, 0) < 0.02 and learning_rate(config, 100) > 0.9
    assert learning_rate(config, 1000) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="decay"):
        replace(config, decay="linear")


def run_dpm(tmp_path, data, name, pictures):
    config = load(DpmConfig, "smoke/dpm.yaml", f"loop.out={tmp_path / name}", "unet.dropout=0.1")
    config = replace(config, loop=replace(config.loop, pictures=pictures, sample_every=10**9))
    torch.manual_seed(0)
    objective = DpmObjective(config)
    train(config.loop, objective, AugmentedSquares(load_pictures(data, 32), data, 32))
    return config, objective.unet.state_dict()


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, data):
    _, whole = run_dpm(tmp_path, data, "whole", 64)
    config, _ = run_dpm(tmp_path, data, "parts", 32)
    assert len(checkpoints(config.loop.out)) == 1
    _, parts = run_dpm(tmp_path, data, "parts", 64)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def same_training(a, b):
    """Equal to float tolerance. Adam turns rounding in a tiny gradient into a step of its own size,
    so the weights are compared as a whole."""
    difference = torch.cat([(a[name] - b[name]).flatten() for name in a]).norm()
    assert difference < 1e-4 * torch.cat([a[name].flatten() for name in a]).norm()


def test_accumulation_changes_nothing(tmp_path, data):
    weights = []
    for accumulate in (1, 2):
        folder = f"loop.out={tmp_path / str(accumulate)}"
        config = load(DpmConfig, "smoke/dpm.yaml", folder, "unet.dropout=0.0")
        loop = replace(config.loop, pictures=16, accumulate=accumulate, sample_every=10**9)
        torch.manual_seed(0)
        objective = DpmObjective(config)
        train(loop, objective, AugmentedSquares(load_pictures(data, 32), data, 32))
        weights.append(objective.unet.state_dict())
    same_training(*weights)
    with pytest.raises(ValueError, match="must divide batch_size"):
        replace(config.loop, accumulate=3)


@pytest.mark.parametrize("word", ["no", "off", "'no'", "No"])
def test_precision_may_be_refused_in_words_that_yaml_reads_as_false(word, tmp_path):
    """`loop.mixed_precision=no`, as it is documented, was refused: "got False"."""
    precision, folder = f"loop.mixed_precision={word}", f"loop.out={tmp_path}"
    config = load(DpmConfig, "smoke/dpm.yaml", precision, folder)
    assert Run(config.loop, DpmObjective(config)).accelerator.mixed_precision == "no"
    with pytest.raises(ConfigError, match="mixed_precision must be of type"):
        load(DpmConfig, "smoke/dpm.yaml", "loop.mixed_precision=3")


MAKE_ONCE = """
import sys, time
from pathlib import Path
from training.caches import make_once
def make():
    print("making", flush=True)
    sys.stdin.readline()
    Path(sys.argv[1]).write_text("whole")
make_once(Path(sys.argv[1]), make)
print(Path(sys.argv[1]).read_text(), flush=True)
"""


def test_of_several_processes_one_makes_a_cache_and_the_others_wait(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", MAKE_ONCE, str(tmp_path / "cache" / "states.npy")]
    processes = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(3)]
    for process in processes:  # any of them may be the one that makes it
        process.stdin.write("go on\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0].split() for process in processes]
    assert sorted(said) == [["making", "whole"], ["whole"], ["whole"]]


def test_two_processes_are_one_with_twice_the_batch(tmp_path):
    common = ["--config", "training/configs/smoke/dpm.yaml", f"data.cache={tmp_path / 'cache'}"]
    common += ["loop.sample_every=1000000", "unet.dropout=0.0", "loop.pictures=32"]
    for name, batch_size, launcher in (
        ("one", 8, (sys.executable,)),
        ("two", 4, (*TORCHRUN, "2")),
    ):
        folders = [f"loop.out={tmp_path / name}", f"bundle={tmp_path / name / 'bundle'}"]
        given = [*common, *folders, f"loop.batch_size={batch_size}"]
        result = launch("train_dpm.py", *given, launcher=launcher)
        assert result.returncode == 0, result.stderr[-2000:]
    one, two = (
        torch.load(checkpoints(tmp_path / name)[-1], weights_only=True) for name in ("one", "two")
    )
    assert one["steps"] == two["steps"] == 4
    same_training(one["model"], two["model"])


def test_a_killed_run_resumes_to_the_same_weights(tmp_path):
    """kill -9 at twenty random moments; every checkpoint that is left can be loaded."""
    command = [sys.executable, "-m", "tests.long_run", str(tmp_path), str(tmp_path / "cache")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split("interrupted ")[1].split()[0]) > 10
    whole, killed = (
        torch.load(checkpoints(tmp_path / name)[-1], weights_only=True)
        for name in ("whole", "killed")
    )
    assert whole["steps"] == killed["steps"] == 300
    for part in ("model", "ema"):
        for name, value in whole[part].items():
            assert torch.equal(value, killed[part][name]), name


def test_a_full_disk_is_told_and_the_last_checkpoint_survives(tmp_path, data, monkeypatch):
    config, _ = run_dpm(tmp_path, data, "run", 32)
    before = checkpoints(config.loop.out)

    def full(state, file):
        file.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match=r"No space left.*last good checkpoint.*Make room"):
        run_dpm(tmp_path, data, "run", 64)
    assert checkpoints(config.loop.out) == before
    assert not list(Path(config.loop.out).glob("*.tmp"))


def test_a_tracker_that_is_not_there_is_told(tmp_path, data):
    for tracker, message in (("nonsense", "Choose between"), ("clearml", "pip install clearml")):
        loop = LoopConfig(str(tmp_path), 4, 4, tracker=tracker)
        with pytest.raises(TrainingError, match=message):
            train(loop, DpmObjective(load(DpmConfig, "smoke/dpm.yaml")), data)


def test_an_infinite_loss_stops_the_run(tmp_path, data, monkeypatch):
    config, _ = run_dpm(tmp_path, data, "run", 32)
    monkeypatch.setattr(train_dpm, "dpm_loss", lambda *a, **_: a[0].decoder.conv_out.bias.sum() / 0)
    with pytest.raises(TrainingError, match=r"became (nan|inf|-inf) at step 8; the last good"):
        run_dpm(tmp_path, data, "run", 64)
    assert torch.load(checkpoints(config.loop.out)[-1], weights_only=True)["steps"] == 8


class InfiniteGradient(torch.autograd.Function):
    """The identity, whose gradient is infinite."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient / 0


def test_an_infinite_gradient_leaves_no_checkpoint(tmp_path, data, monkeypatch):
    """Though the loss is finite still."""
    config, _ = run_dpm(tmp_path, data, "run", 32)
    before, loss = checkpoints(config.loop.out), train_dpm.dpm_loss
    monkeypatch.setattr(
        train_dpm, "dpm_loss", lambda *a, **k: InfiniteGradient.apply(loss(*a, **k))
    )
    with pytest.raises(TrainingError, match=r"gradient's norm became (nan|inf) at step 8"):
        run_dpm(tmp_path, data, "run", 36)
    assert checkpoints(config.loop.out) == before


STATE = {
    "steps": 3,
    "model": {"a": torch.arange(5000.0), "b": torch.ones(2, 3, dtype=torch.bfloat16)},
    "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "betas": (0.9, 0.99)},
    "scaler": None,
}


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    write_checkpoint(STATE, tmp_path / "checkpoint-3.pt")
    again = read_checkpoint(tmp_path / "checkpoint-3.pt")
    assert again.keys() == STATE.keys()
    assert torch.equal(again["model"]["a"], STATE["model"]["a"])


@pytest.mark.parametrize("damage", [lambda d: d[:-100], lambda d: d[:10], lambda d: b""])
def test_a_truncated_checkpoint_is_told(tmp_path, damage):
    path = tmp_path / "checkpoint-3.pt"
    write_checkpoint(STATE, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)


def test_every_flipped_bit_of_a_weight_is_told(tmp_path):
    path = tmp_path / "checkpoint-3.pt"
    write_checkpoint(STATE, path)
    whole = path.read_bytes()
    start = whole.index(STATE["model"]["a"].numpy().tobytes())
    for place in range(start, start + 20_000, 997):
        data = bytearray(whole)
        data[place] ^= 4
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="damaged"):
            read_checkpoint(path)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, data, capsys):
    _, whole = run_dpm(tmp_path, data, "whole", 64)
    config, _ = run_dpm(tmp_path, data, "parts", 32)
    run_dpm(tmp_path, data, "parts", 48)
    first, newest = checkpoints(config.loop.out)
    newest.write_bytes(newest.read_bytes()[:-1000])
    _, parts = run_dpm(tmp_path, data, "parts", 64)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    told = capsys.readouterr().out
    assert f"{newest} is damaged" in told and f"resuming {first}" in told
    assert newest.with_suffix(".pt.damaged").exists()


def test_a_run_of_which_nothing_can_be_read_is_a_sentence(tmp_path, data):
    config, _ = run_dpm(tmp_path, data, "run", 16)
    for path in checkpoints(config.loop.out):
        path.write_bytes(b"")
    with pytest.raises(TrainingError, match=r"no checkpoint in .*run can be read"):
        run_dpm(tmp_path, data, "run", 32)


def test_what_pictures_seen_mean_does_not_change_under_a_run(tmp_path, data, capsys):
    config, _ = run_dpm(tmp_path, data, "run", 16)
    dataset = AugmentedSquares(load_pictures(data, 32), data, 32)
    for change, message in (
        ({"batch_size": config.loop.batch_size * 2}, "a batch of all processes of 4, now it is 8"),
        ({"seed": 5}, "loop.seed 0, now it is 5"),
    ):
        with pytest.raises(TrainingError, match=message):
            train(replace(config.loop, **change), DpmObjective(config), dataset)
    train(replace(config.loop, learning_rate=1e-5), DpmObjective(config), dataset)
    assert "learning_rate was" in capsys.readouterr().out


def test_two_runs_do_not_write_to_one_folder(tmp_path, data):
    config, _ = run_dpm(tmp_path, data, "run", 16)
    handle = lock_folder(config.loop.out)
    with pytest.raises(TrainingError, match="another run is writing to"):
        run_dpm(tmp_path, data, "run", 32)
    os.close(handle)
    run_dpm(tmp_path, data, "run", 32)


def test_half_written_checkpoints_are_ignored(tmp_path, data):
    config, _ = run_dpm(tmp_path, data, "run", 32)
    (Path(config.loop.out) / "checkpoint-000000099.tmp").write_bytes(b"half")
    assert [path.name for path in checkpoints(config.loop.out)] == ["checkpoint-000000008.pt"]


def test_training_lowers_the_loss_and_moves_the_average(tmp_path, data):
    config, weights = run_dpm(tmp_path, data, "run", 64)
    objective = DpmObjective(config).eval()
    batch = example_pictures(AugmentedSquares(load_pictures(data, 32), data, 32)).repeat(8, 1, 1, 1)
    drawn = objective.draw(batch.shape, batch.device)
    with torch.inference_mode():
        before = objective(batch, *drawn)
        objective.unet.load_state_dict(weights)
        assert objective(batch, *drawn) < before
    state = torch.load(checkpoints(config.loop.out)[-1], weights_only=True)
    assert any(
        not torch.equal(state["ema"][f"unet.{k}"], state["model"][f"unet.{k}"]) for k in weights
    )
    assert all(torch.equal(state["ema"][f"unet.{k}"], weights[k]) for k in weights)


def launch(script, *arguments, launcher=(sys.executable,)):
    command = [*launcher, f"training/{script}", *map(str, arguments)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


# As README says: accelerate's launcher, and torch's for several processes on one CPU.
ACCELERATE = (sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """dpm -> pdae -> latents -> latent dpm -> attributes, each launched with its smoke file."""
    out = tmp_path_factory.mktemp("pipeline")
    labels, latents = out / "labels.csv", out / "latents.safetensors"
    with open(labels, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "Smiling", "Male"])
        for i, path in enumerate(EXAMPLES):
            writer.writerow([path.name, i % 2, int(i < 3)])
    cache, pdae = f"data.cache={out / 'cache'}", out / "pdae" / "bundle"

    def smoke(script, *arguments, launcher=(sys.executable,)):
        name = script.removeprefix("train_").removeprefix("encode_")
        config = f"training/configs/smoke/{name}.yaml"
        return launch(f"{script}.py", "--config", config, *arguments, launcher=launcher)

    results = [
        smoke("train_dpm", cache, f"loop.out={out / 'dpm'}", f"bundle={out / 'dpm' / 'bundle'}",
              launcher=ACCELERATE),
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
        result = launch(script, *given, *folders)
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
    blocks = build(Models(editor), ModelThread()).blocks.values()
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
        result = launch("train_attributes.py", *common, *more)
        assert result.returncode == 0, result.stderr[-2000:]
        assert load_bundle(tmp_path / "few").latents.attributes[0].positives == 3
    wrong = launch("train_attributes.py", *common, "unlabelled=5")
    assert wrong.returncode == 2 and "goes with few_shot" in wrong.stderr


def test_what_is_typical_is_measured_into_the_bundle(pipeline, tmp_path):
    out, _ = pipeline
    shutil.copytree(out / "final", tmp_path / "bundle")
    data = [f"data.folder={EXAMPLES[0].parent}", f"data.cache={out / 'cache'}", "count=6"]
    result = launch("measure_typical.py", f"bundle={tmp_path / 'bundle'}", *data)
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
    result = launch("calibrate_sliders.py", *given, "least=0.5", "most=3")
    assert result.returncode == 0, result.stderr[-2000:]
    gains = [a.gain for a in load_bundle(tmp_path / "bundle").latents.attributes]
    assert all(0.5 <= gain <= 3 for gain in gains) and gains != [1.0] * len(gains)


def test_a_gain_makes_up_for_what_pictures_do_not_follow():
    space = tiny_latents()
    config = CalibrateConfig("bundle", DataConfig("pictures"), least=0.75, most=2.0)
    once = corrected(space, {"Smiling": 0.8, "Male": 0.1}, config)
    assert [a.gain for a in once.attributes] == [1.25, 2.0]
    # With the gain, the first one's pictures follow as asked: it stays.
    again = corrected(once, {"Smiling": 1.0, "Male": 1.6}, config)
    assert [a.gain for a in again.attributes] == [1.25, 1.25]


def test_held_out_pictures_are_measured(tmp_path, data):
    config = load(DpmConfig, "smoke/dpm.yaml", f"loop.out={tmp_path / 'run'}")
    loop = replace(config.loop, pictures=64, sample_every=32)
    pictures = load_pictures(data, 32)
    held_out = plain_squares(pictures, 32, slice(3))
    train(loop, DpmObjective(config), AugmentedSquares(pictures, data, 32), (held_out,))
    lines = (tmp_path / "run" / "validation.jsonl").read_text().splitlines()
    figures = [json.loads(line) for line in lines]
    assert [line["pictures"] for line in figures] == [32, 64]
    assert all(0 < line["one_step_mse"] < 1 for line in figures)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_the_memory_estimate_counts_activations(precision, monkeypatch):
    monkeypatch.setattr("training.dry_run.own_device", lambda: "cpu")
    config = load(
        DpmConfig, "smoke/dpm.yaml", "unet.dropout=0.0", f"loop.mixed_precision={precision}"
    )
    objective = DpmObjective(config)
    empty = torch.empty(4, 3, 32, 32, device="meta")
    counted = count_activations(objective, empty, precision=precision).all
    kept = {}

    def count(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = objective(torch.zeros(4, 3, 32, 32), *objective.draw((4, 3, 32, 32), "cpu"))
    own = {p.untyped_storage().data_ptr() for p in objective.parameters()}
    real = sum(size for key, size in kept.items() if key not in own) * int(loss.isfinite())
    assert counted == pytest.approx(real, rel=0.1)
    twice = count_activations(
        objective, torch.empty(8, 3, 32, 32, device="meta"), precision=precision
    ).all
    assert twice == pytest.approx(2 * counted, rel=0.1)
    kind = {"no": "float32", "bf16": "half precision"}[precision]
    said = describe_run(config.loop, objective, (3, 32, 32))
    assert f"kept for the backward pass in {kind}" in said


def test_the_work_of_a_step_is_that_of_a_real_one():
    config = load(DpmConfig, "smoke/dpm.yaml")
    objective = DpmObjective(config)
    counted = count_operations(objective, torch.empty(4, 3, 32, 32, device="meta"))
    # Attention as plain products: not every version of torch counts the CPU's own kernel.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as real:
        objective(torch.zeros(4, 3, 32, 32), *objective.draw((4, 3, 32, 32), "cpu")).backward()
    assert counted == real.get_total_flops()
    seconds = counted * config.loop.accumulate / 1e14
    said = describe_run(config.loop, objective, (3, 32, 32))
    assert f"{1 / seconds:,.3g} steps a second" in said  # at 100 TFLOP/s


def test_checkpointed_blocks_give_the_same_gradients_and_keep_less():
    """With dropout: what is computed again is the same, its random numbers too."""
    config = load(DpmConfig, "smoke/dpm.yaml", "unet.dropout=0.2")
    objective, gradients, sizes = DpmObjective(config).train(), [], []
    for parameter in objective.parameters():  # from zero, most gradients would be zero
        torch.nn.init.normal_(parameter, std=0.05)
    x_0, drawn = torch.randn(2, 3, 32, 32), objective.draw((2, 3, 32, 32), "cpu")
    for checkpointed in (False, True):
        set_checkpointed(objective, checkpointed)
        objective.zero_grad()
        torch.manual_seed(3)
        kept = {}

        def count(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = objective(x_0, *drawn)
        loss.backward()
        gradients.append([p.grad.clone() for p in objective.parameters() if p.grad is not None])
        sizes.append(sum(kept.values()))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert any(gradient.abs().max() > 0 for gradient in gradients[0])
    assert sizes[1] < sizes[0] / 2
    counted = count_activations(objective, torch.empty(4, 3, 32, 32, device="meta"))
    assert counted.checkpointed < counted.all / 2
    loop = replace(config.loop, gradient_checkpointing=True)
    plain, saving = (describe_run(c, objective, (3, 32, 32)) for c in (config.loop, loop))
    assert "with loop.gradient_checkpointing=true" in plain and plain != saving


def test_metrics_are_written(pipeline):
    lines = (pipeline[0] / "dpm" / "metrics.jsonl").read_text().splitlines()
    line = json.loads(lines[-1])
    assert line["pictures"] == 64 and line["grad_norm"] > 0 and line["pictures_per_second"] > 0


def test_dry_run_and_export(pipeline, tmp_path):
    out, _ = pipeline
    config = ["--config", "training/configs/smoke/dpm.yaml", f"loop.out={out / 'dpm'}"]
    told = launch("train_dpm.py", *config, "--dry-run", "data.folder=nowhere")
    assert told.returncode == 0, told.stderr
    assert "parameters, trained" in told.stdout and "batch_size: 4" in told.stdout
    longer = "loop.pictures=1_000"  # which the run has not come to
    done = launch("train_dpm.py", *config, "--export", f"bundle={tmp_path / 'b'}", longer)
    assert done.returncode == 0, done.stderr
    first, second = load_bundle(out / "dpm" / "bundle"), load_bundle(tmp_path / "b")
    assert second.info["dpm"]["pictures"] == first.info["dpm"]["pictures"] < 1_000
    for name, value in first.unet.state_dict().items():
        assert torch.equal(value, second.unet.state_dict()[name])
    empty = launch("train_dpm.py", *config[:2], "--export", f"loop.out={tmp_path / 'none'}")
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
    wrong = launch("train_pdae.py", "--config", "training/configs/smoke/pdae.yaml", "loop.sed=1")
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
    done = launch("curves.py", "--figure", "error", "--out", out, runs)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "| pictures | 20 | 40 |",
        "| --- | --- | --- |",
        "| mine | 0.6000 | 0.3500 |",
    ]
    assert out.with_suffix(".svg").read_text().count("<path") > 2
    wrong = launch("curves.py", "--figure", "loss", "--out", out, runs)
    assert wrong.returncode == 1 and "known: error, other" in wrong.stderr
    missing = launch("curves.py", "--figure", "loss", "--out", out, f"mine={tmp_path}")
    assert missing.returncode == 1 and "data.held_out=SPLIT" in missing.stderr


def test_the_run_on_a_gpu_has_valid_commands():
    """Every line that the script would run, with its overrides."""
    script = CONFIGS / "faces128" / "gpu.sh"
    told = subprocess.run(
        ["bash", script], env=os.environ | {"PYTHON": "echo"}, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    commands = [line.split() for line in told.stdout.splitlines() if line.startswith("training/")]
    assert len(commands) == 10
    for script, flag, config, *overrides in commands:
        assert (CONFIGS.parent.parent / script).is_file() and flag == "--config"
        path = Path(config)
        load(SHIPPED[path.stem], Path(*path.parts[-2:]), *overrides)


def test_a_model_that_goes_on_has_seen_the_pictures_before_too(tmp_path):
    bundle = tiny_bundle()
    save_bundle(replace(bundle, info={"dpm": {"pictures": 1000}}), tmp_path / "bundle")
    config = SimpleNamespace(start=str(tmp_path / "bundle"))
    assert seen_before(config) == 1000
    assert seen_before(SimpleNamespace(start=None)) == 0
