"""The threads that run the model: as a rule one, and one a GPU where there are several.

What waits for the model waits in one line; each worker takes the next when it is free.
"""

import contextvars
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

import torch

from pdae_app.engine import EditError, best_device
from pdae_app.threads import Room

INTERRUPTED = "The model was interrupted. Try again."

# Seconds between two looks at whether a worker lives, while something waits for it.
LOOK_EVERY = 2

# More than a machine has GPUs.
MOST = 64

# Between two steps of a generator the page takes a report; longer than this it does not take.
BETWEEN_STEPS = 2


class WorkerError(RuntimeError):
    """A thread of the model came to an end while it worked."""


class Worker:
    """One thread that loads and runs the model, on one device.

    OpenMP keeps a pool of threads for every thread that calls it, and when the pools have more
    threads than the machine has cores, each parallel loop sleeps and wakes instead of spinning:
    the same edit takes twice as long. Gradio's handlers come on changing threads. `threads` are
    those of this one's pool at most, None is torch's own choice; `among` so many workers.
    """

    def __init__(self, device: str | None = None, threads: int | None = None, among: int = 1):
        self.device, self._most, self._among = device, threads or torch.get_num_threads(), among
        self._process, self._lock = os.getpid(), threading.Lock()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._thread, self._room = None, None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model", initializer=self._begin)

    def _begin(self) -> None:
        self._thread = threading.current_thread()
        torch.set_num_threads(self._most)
        self._room = Room(self._most, self._among)

    @property
    def here(self) -> bool:
        """Whether this is the worker's own thread, or a forked process, which has none."""
        return threading.current_thread() is self._thread or os.getpid() != self._process

    def call(self, function: Callable, *args, **kwargs):
        """The function's result; what it raises is raised here.

        Where the worker is, the function runs at once.

        Raises:
            WorkerError: the thread came to an end meanwhile; the next call has a new one.
        """
        if self.here:
            return function(*args, **kwargs)
        context = contextvars.copy_context()  # Gradio's messages find their page by it
        with self._lock:
            if self._ended:
                self._begin_anew()
            future = self._pool.submit(context.run, self._run, function, *args, **kwargs)
        return self._result(future)

    def _run(self, function: Callable, *args, **kwargs):
        """On its thread, with as many of torch's threads as there is room for."""
        if (threads := self._room.threads()) != torch.get_num_threads():
            torch.set_num_threads(threads)
        return function(*args, **kwargs)

    @property
    def _ended(self) -> bool:
        return self._thread is not None and not self._thread.is_alive()

    def _result(self, future: Future):
        """What comes of a call; a thread that ends leaves its calls without an answer."""
        while not wait([future], LOOK_EVERY).done:
            if self._ended and not future.done():
                raise WorkerError(INTERRUPTED)
        try:
            return future.result()
        except SystemExit as error:  # of this thread alone, and not of the program
            raise WorkerError(INTERRUPTED) from error

    def iterate(self, generator: Iterator) -> Iterator:
        """The generator's items, each made on the thread; closing this closes the generator."""
        done = object()
        try:
            while (item := self.call(next, generator, done)) is not done:
                yield item
        finally:
            try:
                self.call(generator.close)
            except RuntimeError:  # the program ends, and takes no more calls
                generator.close()


def devices(asked: str | None, count: int) -> list[str]:
    """Those of so many workers: the one asked for, or the best; of CUDA, one GPU after the other.

    Raises:
        EditError: no such number, or no GPU.
    """
    if not 1 <= count <= MOST:
        raise EditError(f"There can be 1 to {MOST} workers, not {count}.")
    device = asked or best_device()
    if device != "cuda" or count == 1:
        return [device] * count
    if not (gpus := torch.cuda.device_count()):
        raise EditError("This machine has no GPU that CUDA knows. Leave --device out.")
    return [f"cuda:{number % gpus}" for number in range(count)]


class Run:
    """A generator at work, and when it last did something.

    Gradio gives up, without closing it, a generator that is cancelled in its first step.
    """

    def __init__(self, worker: Worker):
        self.worker, self._stepping, self._last = worker, False, time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether it works, or is about to go on."""
        return self._stepping or time.monotonic() - self._last < BETWEEN_STEPS

    @contextmanager
    def step(self) -> Iterator[None]:
        """While this lasts, it works."""
        self._stepping = True
        try:
            yield
        finally:
            self._stepping, self._last = False, time.monotonic()


class Workers:
    """One worker a device named; a device may be named more than once.

    Several on the CPU share its cores: each has its part of torch's threads.
    """

    def __init__(self, devices: Sequence[str | None] = (None,)):
        part = max(1, torch.get_num_threads() // len(devices)) if len(devices) > 1 else None
        self._workers = [Worker(device, part, len(devices)) for device in devices]
        self._runs: set[Run] = set()
        self._choosing = threading.Lock()

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def device(self) -> str | None:
        """That of the worker who asks; None for anybody else."""
        return next((worker.device for worker in self._workers if worker.here), None)

    def each(self, function: Callable) -> list:
        """What a function of a device makes, once a device, on a worker of that device."""
        by_device: dict[str | None, Worker] = {}
        for worker in self._workers:
            by_device.setdefault(worker.device, worker)
        return [worker.call(function, device) for device, worker in by_device.items()]

    def call(self, function: Callable, *args, **kwargs):
        """The function's result, from the worker who asks, else from the one with least to do.

        Raises:
            WorkerError: its thread came to an end meanwhile.
        """
        if any(worker.here for worker in self._workers):
            return function(*args, **kwargs)
        run = self._begun()
        try:
            with run.step():
                return run.worker.call(function, *args, **kwargs)
        finally:
            self._runs.discard(run)

    def iterate(self, generator: Iterator) -> Iterator:
        """The generator's items, all made by one worker; closing this closes the generator."""
        run, done = self._begun(), object()
        items = run.worker.iterate(generator)
        try:
            while True:
                with run.step():
                    item = next(items, done)
                if item is done:
                    return
                yield item
        finally:
            items.close()
            self._runs.discard(run)

    def _begun(self) -> Run:
        """A run of the worker with least to do. What ends a run takes no lock: the garbage
        collector may do it at any moment.
        """
        with self._choosing:
            alive = [run.worker for run in tuple(self._runs) if run.alive]
            run = Run(min(self._workers, key=alive.count))
            self._runs.add(run)
            return run
