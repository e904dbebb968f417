"""Training runs: resumed, killed, interrupted by what goes wrong; their checkpoints."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pdae_app.bundle import save_bundle
from pdae_app.typed_config import ConfigError
from tests.smoke import ROOT, TORCHRUN, call, launch, load, run_dpm
from tests.tiny import tiny_bundle
from training import train_dpm
from training.checkpoints import CheckpointError, checkpoints, read_checkpoint, write_checkpoint
from training.data import (
    AugmentedSquares,
    example_pictures,
    load_pictures,
    plain_squares,
)
from training.loop import LoopConfig, Run, TrainingError, train
from training.resuming import lock_folder
from training.train_dpm import DpmConfig, DpmObjective, seen_before


@pytest.fixture(scope="module")
def whole(tmp_path_factory, faces):
    """The weights of a run that nothing interrupted."""
    return run_dpm(tmp_path_factory.mktemp("whole"), faces, "whole", 64)[1]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, faces, whole):
    config, _ = run_dpm(tmp_path, faces, "parts", 32)
    assert len(checkpoints(config.loop.out)) == 1
    _, parts = run_dpm(tmp_path, faces, "parts", 64)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def same_training(a, b):
    """Equal to float tolerance. Adam turns rounding in a tiny gradient into a step of its own size,
    so the weights are compared as a whole."""
    difference = torch.cat([(a[name] - b[name]).flatten() for name in a]).norm()
    assert difference < 1e-4 * torch.cat([a[name].flatten() for name in a]).norm()


def test_accumulation_changes_nothing(tmp_path, faces):
    weights = []
    for accumulate in (1, 2):
        folder = f"loop.out={tmp_path / str(accumulate)}"
        config = load(DpmConfig, "smoke/dpm.yaml", folder, "unet.dropout=0.0")
        loop = replace(config.loop, pictures=16, accumulate=accumulate, sample_every=10**9)
        torch.manual_seed(0)
        objective = DpmObjective(config)
        train(loop, objective, AugmentedSquares(load_pictures(faces, 32), faces, 32))
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


def test_two_processes_are_one_with_twice_the_batch(tmp_path, faces):
    common = ["--config", "training/configs/smoke/dpm.yaml", f"data.cache={faces.cache}"]
    common += ["loop.sample_every=1000000", "unet.dropout=0.0", "loop.pictures=32"]

    def given(name, batch_size):
        folders = [f"loop.out={tmp_path / name}", f"bundle={tmp_path / name / 'bundle'}"]
        return ["train_dpm.py", *common, *folders, f"loop.batch_size={batch_size}"]

    for done in (
        call(*given("one", 8)),
        launch(*given("two", 4), launcher=(*TORCHRUN, "2")),
    ):
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (
        torch.load(checkpoints(tmp_path / name)[-1], weights_only=True) for name in ("one", "two")
    )
    assert one["steps"] == two["steps"] == 4
    same_training(one["model"], two["model"])


def test_a_killed_run_resumes_to_the_same_weights(tmp_path, faces):
    """kill -9 at twenty random moments; every checkpoint that is left can be loaded."""
    command = [sys.executable, "-m", "tests.long_run", str(tmp_path), faces.cache]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split("interrupted ")[1].split()[0]) > 15
    whole, killed = (
        torch.load(checkpoints(tmp_path / name)[-1], weights_only=True)
        for name in ("whole", "killed")
    )
    assert whole["steps"] == killed["steps"] == 150
    for part in ("model", "ema"):
        for name, value in whole[part].items():
            assert torch.equal(value, killed[part][name]), name


def test_a_full_disk_is_told_and_the_last_checkpoint_survives(tmp_path, faces, monkeypatch):
    config, _ = run_dpm(tmp_path, faces, "run", 32)
    before = checkpoints(config.loop.out)

    def full(state, file):
        file.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match=r"No space left.*last good checkpoint.*Make room"):
        run_dpm(tmp_path, faces, "run", 64)
    assert checkpoints(config.loop.out) == before
    assert not list(Path(config.loop.out).glob("*.tmp"))


def test_a_tracker_that_is_not_there_is_told(tmp_path, faces):
    for tracker, message in (("nonsense", "Choose between"), ("clearml", "pip install clearml")):
        loop = LoopConfig(str(tmp_path), 4, 4, tracker=tracker)
        with pytest.raises(TrainingError, match=message):
            train(loop, DpmObjective(load(DpmConfig, "smoke/dpm.yaml")), faces)


def test_an_infinite_loss_stops_the_run(tmp_path, faces, monkeypatch):
    config, _ = run_dpm(tmp_path, faces, "run", 32)
    monkeypatch.setattr(train_dpm, "dpm_loss", lambda *a, **_: a[0].decoder.conv_out.bias.sum() / 0)
    with pytest.raises(TrainingError, match=r"became (nan|inf|-inf) at step 8; the last good"):
        run_dpm(tmp_path, faces, "run", 64)
    assert torch.load(checkpoints(config.loop.out)[-1], weights_only=True)["steps"] == 8


class InfiniteGradient(torch.autograd.Function):
    """The identity, whose gradient is infinite."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient / 0


def test_an_infinite_gradient_leaves_no_checkpoint(tmp_path, faces, monkeypatch):
    """Though the loss is finite still."""
    config, _ = run_dpm(tmp_path, faces, "run", 32)
    before, loss = checkpoints(config.loop.out), train_dpm.dpm_loss
    monkeypatch.setattr(
        train_dpm, "dpm_loss", lambda *a, **k: InfiniteGradient.apply(loss(*a, **k))
    )
    with pytest.raises(TrainingError, match=r"gradient's norm became (nan|inf) at step 8"):
        run_dpm(tmp_path, faces, "run", 36)
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


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, faces, whole, capsys):
    config, _ = run_dpm(tmp_path, faces, "parts", 32)
    run_dpm(tmp_path, faces, "parts", 48)
    first, newest = checkpoints(config.loop.out)
    newest.write_bytes(newest.read_bytes()[:-1000])
    _, parts = run_dpm(tmp_path, faces, "parts", 64)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    told = capsys.readouterr().out
    assert f"{newest} is damaged" in told and f"resuming {first}" in told
    assert newest.with_suffix(".pt.damaged").exists()


def test_a_run_of_which_nothing_can_be_read_is_a_sentence(tmp_path, faces):
    config, _ = run_dpm(tmp_path, faces, "run", 16)
    for path in checkpoints(config.loop.out):
        path.write_bytes(b"")
    with pytest.raises(TrainingError, match=r"no checkpoint in .*run can be read"):
        run_dpm(tmp_path, faces, "run", 32)


def test_what_pictures_seen_mean_does_not_change_under_a_run(tmp_path, faces, capsys):
    config, _ = run_dpm(tmp_path, faces, "run", 16)
    dataset = AugmentedSquares(load_pictures(faces, 32), faces, 32)
    for change, message in (
        ({"batch_size": config.loop.batch_size * 2}, "a batch of all processes of 4, now it is 8"),
        ({"seed": 5}, "loop.seed 0, now it is 5"),
    ):
        with pytest.raises(TrainingError, match=message):
            train(replace(config.loop, **change), DpmObjective(config), dataset)
    train(replace(config.loop, learning_rate=1e-5), DpmObjective(config), dataset)
    assert "learning_rate was" in capsys.readouterr().out


def test_two_runs_do_not_write_to_one_folder(tmp_path, faces):
    config, _ = run_dpm(tmp_path, faces, "run", 16)
    handle = lock_folder(config.loop.out)
    with pytest.raises(TrainingError, match="another run is writing to"):
        run_dpm(tmp_path, faces, "run", 32)
    os.close(handle)
    run_dpm(tmp_path, faces, "run", 32)


def test_half_written_checkpoints_are_ignored(tmp_path, faces):
    config, _ = run_dpm(tmp_path, faces, "run", 32)
    (Path(config.loop.out) / "checkpoint-000000099.tmp").write_bytes(b"half")
    assert [path.name for path in checkpoints(config.loop.out)] == ["checkpoint-000000008.pt"]


def test_training_lowers_the_loss_and_moves_the_average(tmp_path, faces):
    config, weights = run_dpm(tmp_path, faces, "run", 64)
    objective = DpmObjective(config).eval()
    dataset = AugmentedSquares(load_pictures(faces, 32), faces, 32)
    batch = example_pictures(dataset).repeat(8, 1, 1, 1)
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


def test_held_out_pictures_are_measured(tmp_path, faces):
    config = load(DpmConfig, "smoke/dpm.yaml", f"loop.out={tmp_path / 'run'}")
    loop = replace(config.loop, pictures=64, sample_every=32)
    pictures = load_pictures(faces, 32)
    held_out = plain_squares(pictures, 32, slice(3))
    train(loop, DpmObjective(config), AugmentedSquares(pictures, faces, 32), (held_out,))
    lines = (tmp_path / "run" / "validation.jsonl").read_text().splitlines()
    figures = [json.loads(line) for line in lines]
    assert [line["pictures"] for line in figures] == [32, 64]
    assert all(0 < line["one_step_mse"] < 1 for line in figures)


def test_a_model_that_goes_on_has_seen_the_pictures_before_too(tmp_path):
    bundle = tiny_bundle()
    save_bundle(replace(bundle, info={"dpm": {"pictures": 1000}}), tmp_path / "bundle")
    config = SimpleNamespace(start=str(tmp_path / "bundle"))
    assert seen_before(config) == 1000
    assert seen_before(SimpleNamespace(start=None)) == 0
