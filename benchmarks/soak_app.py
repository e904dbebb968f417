"""`app.py` that can be harmed from outside: for `benchmarks.soak`, and nothing else.

SIGUSR1 ends the model's thread wherever it is; SIGUSR2 sets the clock two hours on or two hours
back, for some seconds. What visitors leave is swept every few seconds instead of every minute.
"""

import ctypes
import functools
import itertools
import signal
import sys
import threading
import time

import app
from pdae_app.private_folder import Sweep

SWEEP_EVERY = 2
JUMPS = (7200, -7200)
# Files get their dates from the system, whose clock is right: a clock that stayed wrong would find
# everything new two hours old.
WRONG_FOR = 5


def end_model_thread(*_) -> None:
    """Raise SystemExit in the model's thread, between two steps of Python."""
    for thread in threading.enumerate():
        if thread.name.startswith("model"):
            ident = ctypes.c_ulong(thread.ident)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit))


def clock_that_jumps():
    """A handler that sets `time.time`, the clock of all Python code, off by the next of `JUMPS`."""
    right, jumps = time.time, itertools.cycle(JUMPS)

    def correct() -> None:
        time.time = right

    def jump(*_) -> None:
        off = next(jumps)
        time.time = lambda: right() + off
        threading.Timer(WRONG_FOR, correct).start()

    return jump


if __name__ == "__main__":
    Sweep.start = functools.partialmethod(Sweep.start, SWEEP_EVERY)
    signal.signal(signal.SIGUSR1, end_model_thread)
    signal.signal(signal.SIGUSR2, clock_that_jumps())
    sys.exit(app.main())
