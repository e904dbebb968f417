"""Locks that end with their process, however it ends. The system keeps them, no file says whose."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked and nothing of others is cleaned up
    fcntl = None


class HeldError(RuntimeError):
    """Another process, or another part of this one, holds the lock."""


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Within this context nobody else holds the lock of a file or folder; waits for it."""
    if fcntl is None:
        yield
        return
    with _handle(path) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def take_lock(path: str | Path) -> int | None:
    """Take the lock of a file or folder: a handle for `os.close`; None where nothing is locked.

    It ends with the handle, or with the process and those of its forks that keep the handle.

    Raises:
        HeldError: another holds it.
    """
    if fcntl is None:
        return None
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise HeldError(f"{path} is in use by another process") from error
    return handle


@contextmanager
def _handle(path: str | Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)
