"""Push to and pull from a Hub on loopback, each in a process of its own, as a person would."""

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi, hf_hub_download

from pdae_app.bundle import BundleError, load_bundle
from pdae_app.engine import EditError
from pdae_app.hub import fetch_public, local_folder
from pdae_app.limits import BusyError
from pdae_app.ui.downloads import Downloads
from pdae_app.ui.models import Models
from tests.hub_server import TOKEN, Hub, Repo

ROOT = Path(__file__).parent.parent
PULL = """
import sys
from pdae_app import Editor
editor = Editor.from_pretrained(sys.argv[1], revision=sys.argv[2] or None, device="cpu")
print(editor.bundle.identity, editor.bundle.folder.name)
"""
# Several commands, one after the other, each given as (the script, its arguments, a token or None).
# Prints the exit code and the errors of each.
COMMANDS = """
import contextlib, io, json, os, sys
import app
import pdae_app.convert.__main__ as convert
answers = []
for script, arguments, token in json.loads(sys.argv[1]):
    os.environ.pop("HF_TOKEN", None)
    os.environ.update({"HF_TOKEN": token} if token else {})
    sys.argv = [script, *arguments]
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        code = {"app": app, "convert": convert}[script].main()
    answers.append((code, errors.getvalue()))
print(json.dumps(answers))
"""
PUSH = """
import sys
from pdae_app import Editor
print(Editor.from_pretrained(sys.argv[1], device="cpu").push_to_hub(sys.argv[2], private=True))
"""


@pytest.fixture(scope="module")
def hub():
    server = Hub()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def person(hub, tmp_path_factory):
    """Runs a script as a user of that Hub, with an empty cache of their own."""
    home = tmp_path_factory.mktemp("home")

    def run(*arguments, token=None, **variables):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        environment |= {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "OMP_NUM_THREADS": "1",
            **({"HF_TOKEN": token} if token else {}),
            **variables,
        }
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )

    return run


def in_turn(person, *commands, **variables):
    """The exit code and the errors of each command, all given to one process."""
    done = person("-c", COMMANDS, json.dumps(commands), **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def pushed(hub, person, tiny_folder):
    """The commit of a bundle that was pushed."""
    done = person("-c", PUSH, tiny_folder, "me/tiny", token=TOKEN)
    assert done.returncode == 0, done.stderr
    sha = done.stdout.strip().rsplit("/", 1)[-1]
    assert list(hub.repos["me/tiny"].commits) == [sha] and hub.repos["me/tiny"].private
    return sha


def test_a_push_holds_the_bundle_and_a_card_only(hub, pushed, tiny_folder):
    files = hub.repos["me/tiny"].commits[pushed]
    assert sorted(files) == sorted([*(p.name for p in tiny_folder.iterdir()), "README.md"])
    for path in tiny_folder.iterdir():
        assert files[path.name] == path.read_bytes()
    card = files["README.md"].decode()
    assert "library_name: pdae_app" in card and "pipeline_tag: image-to-image" in card


def test_pull_by_revision_then_offline_from_the_cache(hub, person, pushed, editor):
    repo = hub.repos["me/tiny"]
    newer = {**repo.commits[pushed], "config.json": b"{}", "rubbish.bin": b"not wanted"}
    repo.commits["f" * 40] = newer
    online = person("-c", PULL, "me/tiny", pushed, token=TOKEN)
    assert online.stdout.split() == [editor.bundle.identity, pushed], online.stderr
    del repo.commits["f" * 40]
    asked = len(hub.requests)
    then = PULL + "import app; sys.argv = ['app.py', '--model', 'me/other']; sys.exit(app.main())"
    offline = person("-c", then, "me/tiny", pushed, HF_HUB_OFFLINE="1")
    assert offline.stdout == online.stdout, offline.stderr
    assert len(hub.requests) == asked
    assert offline.returncode == 1 and "HF_HUB_OFFLINE is set" in offline.stderr
    one_line(offline.stderr)


def one_line(errors):
    """No traceback, one sentence."""
    assert errors.strip().count("\n") == 0, errors


def test_what_a_person_reads_when_it_cannot_be_had(hub, person, pushed):
    hub.repos["me/gated"] = Repo(gated=True, commits=dict(hub.repos["me/tiny"].commits))
    cases = (
        ("me/absent", [], None, "no such repository, or it is private"),  # 401 without a token
        ("me/gated", [], None, "it is gated. Ask for access on its page"),
        ("me/gated", ["--revision", "v9"], None, "it is gated"),
        ("me/absent", [], TOKEN, "no such repository"),  # 404
        ("me/tiny", ["--revision", "v9"], TOKEN, "has no revision 'v9'"),
    )
    commands = [("app", ["--model", name, *more], token) for name, more, token, _ in cases]
    for (code, errors), (*_, message) in zip(in_turn(person, *commands), cases, strict=True):
        assert code == 1 and message in errors, errors
        one_line(errors)


def test_a_push_with_a_wrong_token_is_one_sentence(person, tiny_folder):
    script = PUSH.replace("print(", "from pdae_app.bundle import BundleError\ntry:\n    print(", 1)
    script += "except BundleError as error:\n    print(error)\n"
    done = person("-c", script, tiny_folder, "me/tiny", token="hf_wrong")
    assert "does not accept the token" in done.stdout, done.stdout + done.stderr


def test_a_broken_download_is_told_and_the_next_one_works(hub, person, pushed):
    name = "me/fragile"
    hub.repos[name] = Repo(commits=dict(hub.repos["me/tiny"].commits))
    hub.cut.add("unet.safetensors")
    broken = person("app.py", "--model", name)
    assert broken.returncode == 1 and "could not be fetched from the Hub" in broken.stderr
    assert "Run the command again" in broken.stderr and "Traceback" not in broken.stderr
    hub.cut.clear()
    whole = person("-c", PULL, name, "")
    assert whole.returncode == 0, whole.stderr


def test_an_unreachable_hub_is_one_sentence(person):
    done = person("app.py", "--model", "me/unseen", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1 and "cannot be reached" in done.stderr, done.stderr
    one_line(done.stderr)


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "../x", "me/..", "http://x/y"])
def test_names_that_are_none(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # beside which no folder has such a name
    with pytest.raises(BundleError, match="no name owner/name"):
        local_folder(name)


class FakeHub:
    """What a stranger's repository says of itself; weights are never handed out."""

    def __init__(self, monkeypatch, folder, sizes):
        self.tokens, self.fetched = [], []
        siblings = [SimpleNamespace(rfilename=n, size=size) for n, size in sizes.items()]
        info = SimpleNamespace(sha="a" * 40, siblings=siblings)

        def api(token=None):
            self.tokens.append(token)
            return SimpleNamespace(model_info=lambda *_, **__: info)

        def download(_, name, revision, token, cache_dir, tqdm_class):
            self.tokens.append(token)
            self.fetched += [name] if name != "config.json" else []
            tqdm_class(total=sizes[name]).update(sizes[name])
            return str(folder / name)

        monkeypatch.setattr("pdae_app.hub.HfApi", api)
        monkeypatch.setattr("pdae_app.hub.hf_hub_download", download)


SIZES = {"config.json": 3000, "unet.safetensors": 10**6, "pytorch_model.bin": 10**12}


def test_a_strangers_model_is_fetched_without_a_token(tiny_folder, tmp_path, monkeypatch):
    hub, told = FakeHub(monkeypatch, tiny_folder, SIZES), []
    fetched = fetch_public("owner/name", 2 * 10**6, tmp_path, lambda *how: told.append(how))
    assert fetched == tiny_folder and hub.fetched == ["unet.safetensors"]
    assert set(hub.tokens) == {False}
    assert told[0] == (3000, 1_003_000) and told[-1][0] > 10**6


def test_a_strangers_model_comes_from_a_hub(hub, pushed, tmp_path, monkeypatch):
    """With the real library: into the folder that was given, and how far it is."""
    monkeypatch.setattr("pdae_app.hub.HfApi", functools.partial(HfApi, hub.address))
    monkeypatch.setattr(
        "pdae_app.hub.hf_hub_download", functools.partial(hf_hub_download, endpoint=hub.address)
    )
    told = []
    hub.repos["me/open"] = Repo(commits=hub.repos["me/tiny"].commits)
    folder = fetch_public("me/open", 10**8, tmp_path, lambda *how: told.append(how))
    assert folder.is_relative_to(tmp_path) and load_bundle(folder).family.name == "pdae"
    there, total = told[-1]
    assert there >= total > 0


@pytest.mark.parametrize(
    ("sizes", "config", "message"),
    [
        (SIZES | {"unet.safetensors": 10**10}, None, "is too large: 10000 MB, and 2 MB"),
        ({"README.md": 5}, None, "has no config.json"),
        (SIZES, '{"format": 2}', "lacks diffusion"),
        (SIZES, "[", "not a bundle's configuration"),
    ],
)
def test_what_is_no_bundle_is_not_fetched(tmp_path, monkeypatch, sizes, config, message):
    (tmp_path / "config.json").write_text(config or "")
    hub = FakeHub(monkeypatch, tmp_path, sizes)
    with pytest.raises(BundleError, match=message):
        fetch_public("owner/name", 2 * 10**6, tmp_path)
    assert not hub.fetched


def test_a_download_holds_nobody_up(monkeypatch, tmp_path):
    going, told = threading.Event(), threading.Event()

    def fetch(repo, most, cache, tell):
        tell(34_000_000, 120_000_000)
        told.set()
        going.wait(10)
        (tmp_path / repo).mkdir(parents=True)
        (tmp_path / repo / "config.json").touch()
        return tmp_path / repo

    monkeypatch.setattr("pdae_app.ui.downloads.fetch_public", fetch)
    downloads = Downloads()
    for number in range(4):
        with pytest.raises(EditError, match="is being fetched"):
            downloads.folder(f"owner/{number}")
    assert told.wait(10)
    with pytest.raises(EditError, match=r"owner/0 is being fetched .* \(34 of 120 MB\)"):
        downloads.folder("owner/0")
    with pytest.raises(EditError, match="Too many models"):
        downloads.folder("owner/more")
    going.set()
    downloads.begun("owner/3").job.result(10)
    assert downloads.folder("owner/0") == tmp_path / "owner/0"
    (tmp_path / "owner/0/config.json").unlink()  # its hour is over
    with pytest.raises(EditError, match="is being fetched"):
        downloads.folder("owner/0")


def test_the_page_says_how_far_a_model_is(editor, tiny_folder, monkeypatch):
    going = threading.Event()

    def fetch(repo, most, cache, tell):
        tell(34_000_000, 120_000_000)
        going.wait(10)
        return tiny_folder

    monkeypatch.setattr("pdae_app.ui.downloads.fetch_public", fetch)
    models = Models(editor, free=True)
    fetching = models.fetching("owner/name")
    next(fetching)  # it may not have begun
    assert next(fetching) == "Fetching owner/name: 34 of 120 MB…"
    going.set()
    assert len(list(fetching)) <= 1
    assert models.named("owner/name").title == "owner/name"
    assert not list(models.fetching("owner/name")) and not list(models.fetching("/etc"))
    list(models.fetching("owner/other"))
    monkeypatch.setenv("PDAE_MEMORY_MB", "1")
    with pytest.raises(BusyError, match="no memory left"):
        models.named("owner/other")


CONVERT = ("-m", "pdae_app.convert", "dpm", "--checkpoint")


def test_a_pipeline_is_converted_by_its_name(hub, person, tmp_path):
    """Only the files that are needed; then without a network; a prompted one before its weights."""
    diffusers = pytest.importorskip("diffusers")
    unet = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(32,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
    )
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "p")
    paths = [path for path in (tmp_path / "p").rglob("*") if path.is_file()]
    files = {str(path.relative_to(tmp_path / "p")): path.read_bytes() for path in paths}
    files |= {"unet/diffusion_pytorch_model.bin": b"not wanted", "README.md": b"x"}
    hub.repos["google/tiny"] = Repo(commits={"a" * 40: files})
    index = json.loads(files["model_index.json"]) | {"text_encoder": ["transformers", "X"]}
    prompted = {**files, "model_index.json": json.dumps(index).encode()}
    hub.repos["me/prompted"] = Repo(commits={"b" * 40: prompted})
    before = len(hub.requests)  # of other tests
    commands = [
        ("convert", ["dpm", "--checkpoint", name, "--out", str(tmp_path / name)], None)
        for name in ("google/tiny", "me/prompted", "me/absent")
    ]
    done, refused, absent = in_turn(person, *commands)
    assert done[0] == 0 and (tmp_path / "google/tiny/unet.safetensors").is_file(), done
    asked_for = " ".join(hub.requests[before:])
    assert "model.bin" not in asked_for and "README" not in asked_for
    assert refused[0] == 1 and "text-to-image pipeline" in refused[1], refused
    assert not any("prompted" in r and "safetensors" in r for r in hub.requests)
    one_line(refused[1])
    assert absent[0] == 1 and "no such repository" in absent[1]
    asked = len(hub.requests)
    again = person(*CONVERT, "google/tiny", "--out", tmp_path / "c", HF_HUB_OFFLINE="1")
    assert again.returncode == 0 and len(hub.requests) == asked, again.stderr


def test_hashes_of_training_pictures_travel(hub, person, tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "seen")
    (tmp_path / "seen" / "training-pictures.txt").write_text("abc\n")
    done = person("-c", PUSH, tmp_path / "seen", "me/seen", token=TOKEN)
    assert done.returncode == 0, done.stderr
    (files,) = hub.repos["me/seen"].commits.values()
    assert files["training-pictures.txt"] == b"abc\n"
    there = "import sys; from pdae_app.hub import local_folder; "
    there += "print((local_folder('me/seen') / 'training-pictures.txt').read_text())"
    pulled = person("-c", there, token=TOKEN)
    assert pulled.stdout.strip() == "abc", pulled.stderr
