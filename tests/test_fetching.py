"""Which files of a repository a conversion fetches, for every layout that pipelines come in."""

import shutil
from fnmatch import fnmatch

import pytest
import torch

from pdae_app.convert import fetching
from pdae_app.convert.dpm import convert_dpm
from pdae_app.convert.hints import Hints
from tests.test_bases import PIPELINES, write_pipeline

safetensors = pytest.importorskip("safetensors.torch")
QUIET = Hints(say=lambda text: None)


def to_bin(folder):
    """The weights under `folder` as torch.save writes them."""
    for path in folder.rglob("*.safetensors"):
        torch.save(safetensors.load_file(path), path.with_suffix(".bin"))
        path.unlink()


@pytest.mark.parametrize("as_bin", [False, True], ids=["safetensors", "bin"])
@pytest.mark.parametrize("layout", PIPELINES)
def test_a_name_becomes_the_bundle_that_its_folder_becomes(layout, as_bin, tmp_path, monkeypatch):
    remote, cache = tmp_path / "remote", tmp_path / "abc"
    write_pipeline(remote, *PIPELINES[layout])
    (remote / "README.md").write_text("x")
    (remote / "flax_model.msgpack").write_bytes(b"x")
    if as_bin:
        to_bin(remote)

    def fetch(repo, patterns, revision=None, token=None):
        assert repo == "someone/model" and revision in (None, cache.name)
        for path in remote.rglob("*"):
            name = path.relative_to(remote).as_posix()
            if path.is_file() and any(fnmatch(name, pattern) for pattern in patterns):
                (cache / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, cache / name)
        return cache

    monkeypatch.setattr(fetching, "fetch", fetch)
    monkeypatch.chdir(tmp_path)
    by_name, by_folder = (convert_dpm(source, QUIET) for source in ("someone/model", remote))
    for ours, theirs in zip(
        by_name.unet.state_dict().values(), by_folder.unet.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert by_name.process == by_folder.process and by_name.spacing == by_folder.spacing
    pictures = torch.rand(1, 3, by_name.picture_size, by_name.picture_size)
    ours, theirs = (b.first_stage.encode(pictures) for b in (by_name, by_folder))
    assert torch.equal(ours, theirs)
    assert not (cache / "README.md").exists() and not (cache / "flax_model.msgpack").exists()
    kept = len(list(cache.rglob("*.safetensors"))) + len(list(cache.rglob("*.bin")))
    assert kept == (2 if "LDM" in layout else 1)
