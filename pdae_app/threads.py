"""How torch's threads wait for each other, and how many there is room for."""

import os
import time
from collections.abc import MutableMapping

import psutil

# What says it; where a person has set one, nothing is changed.
KNOWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
# Turns of a loop: enough where the others are at work too, and soon over where they are not.
BRIEFLY = "1000"

# Seconds between two looks at how busy the cores are; the system counts hundredths.
LOOK_EVERY = 0.2


def wait_patiently(environment: MutableMapping[str, str]) -> None:
    """Let them sleep soon, and on a shared Space at once. To be called before torch is imported.

    By themselves they spin for milliseconds, each on a core; where another program has a core, an
    edit then takes five times as long (benchmarks/README.md).
    """
    if any(name in environment for name in KNOWN):
        return
    if "SPACE_ID" in environment:
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    else:
        environment["GOMP_SPINCOUNT"] = BRIEFLY


class Room:
    """The cores that other programs leave to this one.

    Of two threads of which one has to share its core, the other waits for it in every layer of the
    model (benchmarks/README.md). Sums are of another order then: pictures differ by 1 of 255 here
    and there. Where a person has set `OMP_NUM_THREADS`, it holds.

    Args:
        most: the threads of one worker on an idle machine.
        workers: that share the cores, and this program's time.
    """

    def __init__(self, most: int, workers: int = 1):
        self.most, self.workers, self._threads = most, workers, most
        self._seen, self._mine = time.monotonic(), idle_or_ours()

    def threads(self) -> int:
        """How many there should be, from 1 to `most`: the cores that since the last look were
        idle, or were this program's own.
        """
        now = time.monotonic()
        if now - self._seen >= LOOK_EVERY and "OMP_NUM_THREADS" not in os.environ:
            mine = idle_or_ours()
            cores = (mine - self._mine) / (now - self._seen) / self.workers
            self._threads = min(max(round(cores), 1), self.most)
            self._seen, self._mine = now, mine
        return self._threads


def idle_or_ours() -> float:
    """Seconds of all cores since the machine started; of a system that does not tell, as many as
    ever there could be.
    """
    try:
        everybody, own = psutil.cpu_times(), os.times()
    except (OSError, psutil.Error):
        return time.monotonic() * (os.cpu_count() or 1)
    return everybody.idle + getattr(everybody, "iowait", 0.0) + own.user + own.system
