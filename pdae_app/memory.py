"""How much memory this process takes, and how much there is for it."""

import ctypes
import functools
import gc
import math
import os
from pathlib import Path

# Of the machine's or container's memory; the rest is the system's and of work that is going on.
PART = 0.75


def resident_mb() -> float:
    """Megabytes of this process in memory; 0 where the system does not say (not Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@functools.cache
def usable_mb(root: str = "/") -> float:
    """Megabytes that this process may come to: three quarters of the machine's or container's.

    Infinite where the system does not say. `root` is where /proc and /sys are.
    """
    limits = [_machine(Path(root)), *_of_groups(Path(root))]
    return PART * min(limits) / 1e6


def give_back() -> None:
    """Return what is no longer used to the system; the C library keeps some of it for later."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return


def settle() -> None:
    """Tell the collector that what is there now stays.

    It looks through every object while nothing else runs: 0.6 s for those of a page and its model.
    """
    gc.collect()
    gc.freeze()


def _machine(root: Path) -> float:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return math.inf
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemTotal:")), None)
    return math.inf if kilobytes is None else int(kilobytes) * 1024


def _of_groups(root: Path) -> list[float]:
    """Bytes that the control groups of this process allow: its own, and those around it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":  # version 2
            found += _above(root / "sys/fs/cgroup", group, "memory.max")
        elif "memory" in controllers.split(","):
            found += _above(root / "sys/fs/cgroup/memory", group, "memory.limit_in_bytes")
    return found


def _above(top: Path, group: str, name: str) -> list[float]:
    """The numbers in the files `name` from a group up to the top, which a container sees as /."""
    inner = Path(group.lstrip("/"))
    texts = []
    for folder in (inner, *inner.parents):
        path = top / folder / name
        if path.is_file():
            texts.append(path.read_text().strip())
    return [float(text) for text in texts if text.isdigit()]
