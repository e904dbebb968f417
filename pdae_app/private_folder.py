"""A private folder for pictures of visitors, which are deleted in time and go with the program."""

import atexit
import math
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pdae_app.locks import HeldError, take_lock

PREFIX = "pdae_app_visitors-"

# Seconds: how old a file may become, and how often that is looked at.
AGE, EVERY = 3600, 60
# After the pictures are deleted, so long may the rest of an ending program take.
GRACE = 5


def private_folder(parent: str | Path | None = None) -> str:
    """Make the folder of this process, and delete those of processes that are gone.

    It is readable by its owner only, and deleted first of all when the process is asked to end:
    by SIGTERM, SIGINT (Ctrl-C) or SIGHUP (a closed terminal). After a plain kill, the next start
    deletes it: a folder that nobody holds the lock of is nobody's.
    """
    parent = Path(parent or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    _delete_orphans(parent)
    # Locked before it has the name by which orphans are known.
    new = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent))
    take_lock(new)  # till the end of the process
    folder = parent / new.name.lstrip(".")
    new.rename(folder)
    atexit.register(_delete, folder)
    _end_on_signals(folder)
    return str(folder)


def missing(path: str | Path) -> str:
    """What a person is told of a file that is not there; its folder is nobody's business."""
    return (
        f"There is no file {Path(path).name}. Uploads are deleted after an hour: if it was one, "
        "upload it again."
    )


def _delete_orphans(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            handle = take_lock(folder)
        except (HeldError, OSError):  # its owner runs, or is somebody else
            continue
        if handle is not None:
            _delete(folder)
            os.close(handle)


def _delete(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _end_on_signals(folder: Path) -> None:
    """Delete before anything else: a container is killed some seconds after it is asked to end."""

    def give_up() -> None:
        _delete(folder)
        os._exit(0)

    def end(number: int, _) -> None:
        _delete(folder)
        watchdog = threading.Timer(GRACE, give_up)
        watchdog.daemon = True
        watchdog.start()
        if hasattr(signal, "SIGALRM"):  # of the system: Python's threads stand still as it ends
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(GRACE + 2)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(0)

    default = (signal.SIG_DFL, signal.default_int_handler)  # a program under nohup keeps ignoring
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) in default:
            signal.signal(number, end)


class Sweep:
    """Deletes what has lain in a folder for `age` seconds, whoever wrote it.

    What is there at the beginning belongs to the page and stays. Ages are counted by the clock and
    by a second one that cannot be set, so that a clock that jumps back keeps nothing longer.
    `bytes` lie there: as the last sweep measured, and what was announced since; `most` may.
    """

    def __init__(self, folder: str | Path, age: float = AGE, most: float = math.inf):
        self.folder, self.age, self.most, self.bytes = Path(folder), age, most, 0
        self._kept = set(self._files())
        self._seen: dict[tuple[Path, int], float] = {}

    def start(self, every: float = EVERY, also: Callable[[], None] = lambda: None) -> None:
        """Sweep again and again, and do what is `also` to be done then.

        It has a thread of its own, which ends with the program.
        """

        def run() -> None:
            while True:
                time.sleep(every)
                # A folder that vanishes while it is listed: the next sweep comes soon.
                with suppress(OSError):
                    self.sweep()
                try:
                    also()
                except Exception:  # the sweep goes on, whatever is wrong with the rest
                    traceback.print_exc()

        threading.Thread(target=run, name="sweep", daemon=True).start()

    def take_room(self, size: int) -> bool:
        """Whether there is room for so many bytes more, which are counted from now on."""
        if size > min(self.most - self.bytes, shutil.disk_usage(self.folder).free):
            return False
        self.bytes += size
        return True

    def sweep(self) -> None:
        """Delete what is too old, and folders that are empty; measure what is left."""
        seen, total = {}, 0
        for path in self._files():
            try:
                found = path.lstat()
            except OSError:  # somebody deleted it meanwhile
                continue
            key = path, found.st_mtime_ns
            since = self._seen.get(key, time.monotonic())
            old = max(time.time() - found.st_mtime, time.monotonic() - since) > self.age
            if not (old and path not in self._kept and _deleted(path)):
                seen[key], total = since, total + found.st_size
        self._seen, self.bytes = seen, total
        self._delete_empty_folders()

    def _files(self) -> list[Path]:
        """Whatever is no folder; what others delete meanwhile may be among it."""
        # Not by `rglob`, which raises where a folder goes while it looks.
        walked = list(os.walk(self.folder))
        links = [Path(at, name) for at, below, _ in walked for name in below]
        files = [Path(at, name) for at, _, names in walked for name in names]
        return files + [path for path in links if path.is_symlink()]

    def _delete_empty_folders(self) -> None:
        for folder, _, _ in os.walk(self.folder, topdown=False):
            path = Path(folder)
            try:
                # A new folder may be about to get its file.
                if path != self.folder and time.time() - path.stat().st_mtime > self.age:
                    path.rmdir()
            except OSError:
                continue


def _deleted(path: Path) -> bool:
    """Delete a file; False where that cannot be done now, as while somebody reads it on Windows."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
