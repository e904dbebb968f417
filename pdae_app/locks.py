"""Locks that end with their process, however it ends. The system keeps them, no file says whose."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked and nothing of others is cleaned up
    fcntl = None


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Within this context nobody else holds the lock of a file or folder; waits for it."""
    if fcntl is None:
        yield
        return
    with _handle(path) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def try_lock(path: str | Path) -> int | None:
    """Take the lock of a file or folder: a handle for `os.close`; None where another holds it.

    It ends with the handle, or with the process and its forks.
    """
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


@contextmanager
def _handle(path: str | Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)
