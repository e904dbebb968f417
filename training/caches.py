"""Caches that several processes of one run want at the same time."""

from collections.abc import Callable
from pathlib import Path

from pdae_app.locks import locked


def make_once(last: Path, make: Callable[[], None]) -> None:
    """Make a cache whose `last` file says that it is whole, unless that is there.

    Of the processes that come meanwhile, as those of a distributed run, one makes it and the others
    wait: by a lock, for a barrier of torch's gives up after minutes, and a cache may take hours.
    """
    last.parent.mkdir(parents=True, exist_ok=True)
    lock = last.with_suffix(".lock")
    lock.touch()
    with locked(lock):
        if not last.exists():
            make()
