"""What is written is whole or absent, whatever happens meanwhile."""

import errno
import os
import random
import signal
import stat
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import save_file

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


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize(("umask", "file", "folder"), [(0o027, 0o640, 0o750), (2, 0o664, 0o775)])
def test_what_is_written_can_be_read_as_other_new_files(tmp_path, umask, file, folder):
    """safetensors makes its files, and mkdtemp its folders, for their owner alone."""
    before = os.umask(umask)
    try:
        save_bundle(tiny_bundle(), tmp_path / "bundle")
        with whole_file(tmp_path / "alone") as partial:
            save_file({"a": torch.ones(1)}, partial)
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert len(modes) > 4 and modes[tmp_path / "bundle"] == folder
    assert all(mode == file for path, mode in modes.items() if path.is_file()), modes


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


# Forks a writer for every line that it reads, and says its number: torch is imported once. Before
# a fork nothing may be computed, for the threads that compute do not come along.
NURSERY = """
import os, sys
from pathlib import Path
import torch
from pdae_app.bundle import save_bundle
from pdae_app.whole import whole_file
from tests.tiny import tiny_bundle
from training.checkpoints import write_checkpoint

def write(out):
    bundles = [tiny_bundle(seed) for seed in (0, 1)]
    print("writing", flush=True)
    while True:
        for number, bundle in enumerate(bundles):
            save_bundle(bundle, out / "bundle", dtype=torch.float32)
            state = {"weight": torch.full((100_000,), float(number))}
            write_checkpoint(state, out / "run" / "a.pt")
            with whole_file(out / "exported.txt") as path:
                path.write_text(str(number) * 100_000)

for line in sys.stdin:
    child = os.fork()
    if not child:
        write(Path(sys.argv[1]))
    print(child, flush=True)
    os.waitpid(child, 0)
"""


def opened(folder):
    """The kinds of things that are there, old or new, each of which must be whole."""
    bundle, checkpoint, text = folder / "bundle", folder / "run" / "a.pt", folder / "exported.txt"
    there = set()
    if restored(bundle).exists():
        there.add(load_bundle(bundle).family.name)
    if checkpoint.exists():
        assert len(set(torch.load(checkpoint, weights_only=True)["weight"].tolist())) == 1
        there.add("checkpoint")
    if text.exists():
        assert text.read_text() in ("0" * 100_000, "1" * 100_000)
        there.add("exported")
    return there


def test_kills_at_random_moments_leave_what_opens(tmp_path):
    """kill -9 during writes of bundles, checkpoints and exports; PDAE_KILLS=50 for fifty."""
    moments, seen, pipe = random.Random(0), set(), subprocess.PIPE
    command = [sys.executable, "-c", NURSERY, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as nursery:
        for _ in range(int(os.environ.get("PDAE_KILLS", "4"))):
            nursery.stdin.write("once more\n")
            nursery.stdin.flush()
            child, word = sorted(nursery.stdout.readline().strip() for _ in range(2))
            assert word == "writing"
            while not seen and not (tmp_path / "exported.txt").exists():
                time.sleep(0.01)
            time.sleep(moments.random())
            os.kill(int(child), signal.SIGKILL)
            there = opened(tmp_path)
            assert there >= seen
            seen = there
        nursery.stdin.close()
    assert seen == {"pdae", "checkpoint", "exported"}
    save_bundle(tiny_bundle(), tmp_path / "bundle")
    with whole_file(tmp_path / "run" / "a.pt") as partial:
        partial.write_text("")
    with whole_file(tmp_path / "exported.txt") as partial:
        partial.write_text("")
    assert names(tmp_path) == ["bundle", "exported.txt", "run"] and names(tmp_path / "run") == [
        "a.pt"
    ]
