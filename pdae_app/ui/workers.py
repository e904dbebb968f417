"""The threads that run the model: as a rule one, and one a GPU where there are several.

What waits for the model waits in one line; each worker takes the next when it is free.
"""

import contextvars
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

import torch

from pdae_app.engine import EditError, best_device

INTERRUPTED = "The model was interrupted. Try again."

# Seconds between two looks at whether a worker lives, while something waits for it.
LOOK_EVERY = 2


# More than a machine has GPUs; each holds the models once more.
MOST = 64


class WorkerError(RuntimeError):
    """A thread of the model came to an end while it worked."""


class Worker:
    """One thread that loads and runs the model, on one device.

    OpenMP keeps a pool of threads for every thread that calls it, and when the pools have more
    threads than the machine has cores, each parallel loop sleeps and wakes instead of spinning:
    the same edit takes twice as long. Gradio's handlers come on changing threads. `threads` are
    those of this one's pool; None is torch's own choice.
    """

    def __init__(self, device: str | None = None, threads: int | None = None):
        self.device, self._threads = device, threads
        self._process, self._lock = os.getpid(), threading.Lock()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._thread = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model", initializer=self._begin)

    def _begin(self) -> None:
        self._thread = threading.current_thread()
        if self._threads:
            torch.set_num_threads(self._threads)

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
            future = self._pool.submit(context.run, function, *args, **kwargs)
        return self._result(future)

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
        EditError: no such number.
    """
    if not 1 <= count <= MOST:
        raise EditError(f"There can be 1 to {MOST} workers, not {count}.")
    device = asked or best_device()
    if device != "cuda" or count == 1:
        return [device] * count
    return [f"cuda:{number % torch.cuda.device_count()}" for number in range(count)]


class Turn:
    """Whose turn it is, of one visitor's wishes."""

    def __init__(self):
        self.lock = threading.Lock()


class Workers:
    """One worker a device named; a device may be named more than once.

    Several on the CPU share its cores: each has its part of torch's threads.
    """

    def __init__(self, devices: Sequence[str | None] = (None,)):
        part = max(1, torch.get_num_threads() // len(devices)) if len(devices) > 1 else None
        self._workers = [Worker(device, part) for device in devices]
        self._busy = dict.fromkeys(self._workers, 0)
        self._lock = threading.Lock()
        self._turns: weakref.WeakValueDictionary[str, Turn] = weakref.WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def device(self) -> str | None:
        """That of the worker who asks; None for anybody else."""
        return next((worker.device for worker in self._workers if worker.here), None)

    def each(self, function: Callable) -> list:
        """What a function of a device makes, once a device, on a worker of that device."""
        by_device = {worker.device: worker for worker in reversed(self._workers)}
        return [by_device[name].call(function, name) for name in reversed(by_device)]

    def call(self, function: Callable, *args, **kwargs):
        """The function's result, from the worker who asks, else from the one with least to do.

        Raises:
            WorkerError: its thread came to an end meanwhile.
        """
        if any(worker.here for worker in self._workers):
            return function(*args, **kwargs)
        with self._chosen() as worker:
            return worker.call(function, *args, **kwargs)

    def iterate(self, generator: Iterator, visitor: str | None = None) -> Iterator:
        """The generator's items, all made by one worker; closing this closes the generator.

        Where there are several workers, a visitor's generators still run one after the other: they
        change what the visitor's page knows.
        """
        with self._turn(visitor), self._chosen() as worker:
            yield from worker.iterate(generator)

    @contextmanager
    def _chosen(self) -> Iterator[Worker]:
        with self._lock:
            worker = min(self._workers, key=self._busy.get)
            self._busy[worker] += 1
        try:
            yield worker
        finally:
            with self._lock:
                self._busy[worker] -= 1

    @contextmanager
    def _turn(self, visitor: str | None) -> Iterator[None]:
        if visitor is None or len(self) == 1:
            yield
            return
        with self._lock:
            turn = self._turns.setdefault(visitor, Turn())
        with turn.lock:
            yield
