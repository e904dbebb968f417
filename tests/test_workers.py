"""Several requests at a time: workers before one line."""

import contextlib
import ctypes
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from gradio_client import Client, handle_file
from PIL import Image

from pdae_app import threads
from pdae_app.engine import EditError, carry_out
from pdae_app.ui.app import build, launch
from pdae_app.ui.events import ModelWorkers
from pdae_app.ui.models import Models
from pdae_app.ui.session import EXAMPLES
from pdae_app.ui.workers import Worker, WorkerError, Workers, devices
from tests.running import ROOT, free_port

PATIENCE = 20


def together(*runs):
    """Every function in a thread of its own, and what each gave."""
    found = [None] * len(runs)

    def work(number):
        found[number] = runs[number]()

    clients = [threading.Thread(target=work, args=(number,)) for number in range(len(runs))]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    return found


def test_two_workers_work_at_the_same_time():
    workers, meeting = Workers(["cpu", "cpu"]), threading.Barrier(2)

    def handler():
        yield threading.get_ident()
        meeting.wait(PATIENCE)  # with one worker nobody else would come
        yield threading.get_ident()

    idents = together(*[lambda: list(workers.iterate(handler()))] * 2)
    assert all(first == second for first, second in idents) and idents[0] != idents[1]


def test_a_run_that_was_given_up_keeps_no_worker(monkeypatch):
    """Gradio closes no generator that is cancelled in its first step."""
    monkeypatch.setattr("pdae_app.ui.workers.BETWEEN_STEPS", 0.1)
    workers = Workers(["cpu", "cpu"])
    given_up = [workers.iterate(iter_of(threading.get_ident)) for _ in range(3)]
    first = {next(run) for run in given_up}
    time.sleep(0.2)
    one, other = (workers.iterate(iter_of(threading.get_ident)) for _ in range(2))
    assert {next(one), next(other)} == first and len(first) == 2


def iter_of(function):
    """A generator of what a function gives, for ever."""
    while True:
        yield function()


def die(ident):
    """A thread ends at its next step."""
    exception = ctypes.py_object(SystemExit)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), exception)


def test_a_worker_that_dies_costs_its_visitor_a_sentence_and_nobody_else():
    workers, begun = Workers(["cpu", "cpu"]), threading.Event()

    def endless():
        yield threading.get_ident()
        begun.set()
        while True:
            time.sleep(0.01)

    def lost():
        run = workers.iterate(endless())
        ident = next(run)
        threading.Thread(target=lambda: (begun.wait(PATIENCE), die(ident)), daemon=True).start()
        with pytest.raises(WorkerError, match="Try again"):
            next(run)
        return "told"

    def other():
        begun.wait(PATIENCE)
        return list(workers.iterate(letter for letter in "abc"))

    assert together(lost, other) == ["told", ["a", "b", "c"]]
    for _ in range(2):
        with contextlib.suppress(WorkerError):
            workers.call(int)
    assert together(*[lambda: workers.call(int, "7")] * 4) == [7] * 4


def test_workers_on_one_cpu_share_its_threads(monkeypatch, own_threads):
    get_num_threads = torch.get_num_threads
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(threads.Room, "threads", lambda room: room.most)
    assert Workers(["cpu", "cpu"]).call(get_num_threads) == 4


def test_every_worker_has_a_gpu_as_far_as_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices("cuda", 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert devices("cuda", 1) == ["cuda"] and devices("cuda:1", 2) == ["cuda:1"] * 2
    assert devices("cpu", 2) == ["cpu", "cpu"]
    for count in (0, 1000):
        with pytest.raises(EditError, match="workers"):
            devices("cpu", count)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(EditError, match="no GPU"):
        devices("cuda", 2)


def test_a_device_that_is_named_again_loads_nothing_again():
    assert Workers(["cpu", "meta", "cpu"]).each(lambda device: device) == ["cpu", "meta"]


def test_every_worker_has_the_models_of_its_own_device(tmp_path):
    """No machine of ours has two: "meta" stands for the other."""
    workers = Workers(["cpu", "meta"])

    def loaded(device):
        return SimpleNamespace(title="first", name=str(tmp_path), device=torch.device(device))

    editors = workers.each(loaded)
    models = Models(editors[0], model=workers, copies=editors[1:])
    assert models.named(None) is editors[0]  # asked by nobody's worker
    meeting = threading.Barrier(2)

    def handler():
        meeting.wait(PATIENCE)
        yield models.named("first").device.type

    found = together(*[lambda: list(workers.iterate(handler()))] * 2)
    assert sorted(found) == [["cpu"], ["meta"]]


def test_what_edits_share_goes_to_another_device(coupled):
    start = coupled.start(coupled.encode(Image.open(EXAMPLES[1]), 4))
    away = start.to(torch.device("meta"))
    assert {away.x_0.device.type, away.noise.device.type, away.predictions.device.type} == {"meta"}
    assert away.levels == start.levels


def test_what_edits_share_is_made_anew_where_it_is_elsewhere(editor):
    """The frozen model's features, for models that edit through x_T."""
    code = editor.encode(Image.open(EXAMPLES[1]), 4)
    sliders, start = {editor.attributes[0]: 1.0}, editor.start(code)
    away = replace(start, eps=start.eps.to("meta"))
    *_, here = editor.edit_steps(code, sliders, start=start)
    *_, there = editor.edit_steps(code, sliders, start=away)
    assert here.image.tobytes() == there.image.tobytes()


@pytest.fixture
def two_at_work(editor, monkeypatch, tmp_path):
    """The address of an app with two workers, whose new pictures wait for this event."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    workers, released = ModelWorkers(["cpu", "cpu"]), threading.Event()
    monkeypatch.setattr(carry_out, "generate", lambda *_: released.wait(PATIENCE) and [])
    page = build(Models(editor, model=workers), workers)
    launch(page, port=free_port(), prevent_thread_lock=True)
    try:
        yield page.local_url, released
    finally:
        released.set()
        page.close()


def test_an_edit_does_not_wait_for_somebody_elses_long_run(two_at_work):
    """Not even where that visitor waits for a second one."""
    address, released = two_at_work
    one, other = (Client(address, verbose=False) for _ in range(2))
    long = [one.submit(count=1, seed=0, api_name="/generate") for _ in range(2)]
    other.predict(handle_file(EXAMPLES[0]), {"Smiling": 1.0}, api_name="/edit")
    assert not released.is_set() and not any(run.done() for run in long)
    released.set()
    assert [run.result(PATIENCE)[1] for run in long] == [[], []]


def test_a_visitors_wishes_take_turns(two_at_work):
    address, released = two_at_work
    client = Client(address, verbose=False)
    long = client.submit(count=1, seed=0, api_name="/generate")
    edit = client.submit(handle_file(EXAMPLES[0]), {"Smiling": 1.0}, api_name="/edit")
    with pytest.raises(TimeoutError):
        edit.result(3)
    released.set()
    long.result(PATIENCE)
    assert edit.result(PATIENCE)[1]["done"]


def test_a_wrong_number_of_workers_is_told_in_one_line(tiny_folder):
    command = [sys.executable, "app.py", "--model", tiny_folder, "--workers", "0"]
    run = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert run.stderr.strip().splitlines()[-1] == "error: There can be 1 to 64 workers, not 0."


def test_there_are_as_many_threads_as_others_leave_cores(monkeypatch):
    """Of four cores; so much of a core has been idle, or ours, at each look."""
    now, mine = 0.0, 0.0
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(threads, "idle_or_ours", lambda: mine)
    room, two, found = threads.Room(4), threads.Room(2, workers=2), []
    for seconds, cores in [(1, 3.9), (1, 2.1), (0.05, 0.3), (1, 0.3), (1, 7.0)]:
        now, mine = now + seconds, mine + seconds * cores
        found.append((room.threads(), two.threads()))
    # In a moment so short nothing is known; each of two workers has half of the room.
    assert found == [(4, 2), (2, 1), (2, 1), (1, 1), (4, 2)]
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    now, mine = now + 1, mine + 1
    assert room.threads() == 4


@pytest.fixture
def own_threads():
    """The tests of this process go on with as many as before."""
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


def test_a_worker_has_as_many_threads_as_there_is_room_for(monkeypatch, own_threads):
    room = {"threads": 1}
    monkeypatch.setattr(threads.Room, "threads", lambda self: min(room["threads"], self.most))
    worker = Worker(threads=2)
    assert worker.call(torch.get_num_threads) == 1
    die(worker.call(threading.get_ident))
    for _ in range(3):
        with contextlib.suppress(WorkerError):
            worker.call(int)
    room["threads"] = 9  # the next thread may have as many as the first
    assert worker.call(torch.get_num_threads) == 2


def test_our_own_computing_leaves_the_cores_to_us(monkeypatch):
    monkeypatch.setattr(threads.psutil, "cpu_times", lambda: SimpleNamespace(idle=100.0))
    before, start = threads.idle_or_ours(), time.process_time()
    while time.process_time() < start + 0.2:
        pass
    assert threads.idle_or_ours() - before == pytest.approx(0.2, abs=0.1)
