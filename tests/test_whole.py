"""What is written is whole or absent, whatever happens meanwhile."""

import errno
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from pdae_app import whole
from pdae_app.bundle import BundleError, load_bundle, save_bundle
from pdae_app.hub import local_folder
from pdae_app.whole import restored, whole_file, whole_folder
from tests.running import ROOT
from tests.tiny import tiny_bundle


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(folder, text):
    with whole_folder(folder) as partial:
        (partial / "text").write_text(text)


def no_exchange(monkeypatch):
    def refuse(*_):
        raise OSError(errno.EINVAL, "this file system cannot")

    monkeypatch.setattr(whole, "_rename_exchange", refuse)


@pytest.mark.parametrize("able", [True, False])
def test_folders_are_replaced_and_nothing_is_left(tmp_path, monkeypatch, able):
    if not able:
        no_exchange(monkeypatch)
    for text in ("old", "new"):
        write(tmp_path / "a", text)
        assert (tmp_path / "a" / "text").read_text() == text and names(tmp_path) == ["a"]


def test_a_failing_second_rename_is_undone(tmp_path, monkeypatch):
    no_exchange(monkeypatch)
    write(tmp_path / "a", "old")
    rename = os.rename

    def failing(source, target):
        if whole.OLD not in str(source) and str(target).endswith("/a"):
            raise OSError(errno.EIO, "broken disk")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="broken disk"):
        write(tmp_path / "a", "new")
    assert (tmp_path / "a" / "text").read_text() == "old" and names(tmp_path) == ["a"]


def test_a_kill_between_two_renames_is_put_right(tmp_path, monkeypatch):
    """Where the file system exchanges nothing, there is such a moment."""
    no_exchange(monkeypatch)
    save_bundle(tiny_bundle(), tmp_path / "a")
    before = load_bundle(tmp_path / "a").identity
    old = f"{whole._prefix(tmp_path / 'a')}x{whole.OLD}"
    for again in (load_bundle, lambda folder: load_bundle(local_folder(folder))):
        os.rename(tmp_path / "a", tmp_path / old)
        assert again(tmp_path / "a").identity == before
    os.rename(tmp_path / "a", tmp_path / old)
    write(tmp_path / "a", "new")
    assert names(tmp_path) == ["a"] and names(restored(tmp_path / "a")) == ["text"]


def test_a_link_stays_a_link(tmp_path):
    write(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "text").read_text() == "new"
    (tmp_path / "file").symlink_to(tmp_path / "target")
    with whole_file(tmp_path / "file") as partial:
        partial.write_text("whole")
    assert (tmp_path / "file").is_symlink() and (tmp_path / "target").read_text() == "whole"
    assert names(tmp_path) == ["file", "link", "real", "target"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError])
def test_a_write_that_ends_early_leaves_what_was_there(tmp_path, kind):
    for place in (tmp_path / "file", tmp_path / "other" / "file"):
        with pytest.raises(kind), whole_file(place) as partial:
            partial.write_text("half")
            raise kind
    assert names(tmp_path) == ["other"] and names(tmp_path / "other") == []


def test_the_longest_of_names_can_be_written(tmp_path):
    with whole_file(tmp_path / ("a" * 255)) as partial:
        partial.write_text("whole")
    assert names(tmp_path) == ["a" * 255]


def test_two_writers_do_not_meet(tmp_path):
    with whole_file(tmp_path / "a") as first, whole_file(tmp_path / "a") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first" and names(tmp_path) == ["a"]


def test_full_disks_are_told(tmp_path, monkeypatch):
    from safetensors import SafetensorError

    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("pdae_app.bundle.save_file", full)
    with pytest.raises(BundleError, match=r"unet\.safetensors could not be written .*No space"):
        save_bundle(tiny_bundle(), tmp_path / "a")
    assert names(tmp_path) == []


WRITER = """
import sys, torch
from pdae_app.bundle import load_bundle, save_bundle
from tests.tiny import tiny_bundle
from training.checkpoints import write_checkpoint
from pathlib import Path
out = Path(sys.argv[1])
bundles = [tiny_bundle(seed) for seed in (0, 1)]
print("ready", flush=True)
while True:
    for number, bundle in enumerate(bundles):
        save_bundle(bundle, out / "bundle", dtype=torch.float32)
        write_checkpoint({"weight": torch.full((100_000,), float(number))}, out / "run" / "a.pt")
"""


def test_kills_at_random_moments_leave_what_opens(tmp_path):
    """kill -9 during writes of bundles and checkpoints; 50 by PDAE_KILLS=50, fewer by default."""
    moments = random.Random(0)
    for _ in range(int(os.environ.get("PDAE_KILLS", "4"))):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(0.2 + moments.random() / 2)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert load_bundle(tmp_path / "bundle").family.name == "pdae"
        state = torch.load(tmp_path / "run" / "a.pt", weights_only=True)
        assert len(set(state["weight"].tolist())) == 1
    save_bundle(tiny_bundle(), tmp_path / "bundle")
    with whole_file(tmp_path / "run" / "a.pt") as partial:
        partial.write_text("")
    assert names(tmp_path) == ["bundle", "run"] and names(tmp_path / "run") == ["a.pt"]
