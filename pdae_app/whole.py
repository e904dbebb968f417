"""Files and folders that appear whole or not at all, whatever ends the program that writes them.

Everything is written in a hidden folder beside its place, which the writer keeps locked, and moved
there in one step, to be read by whom the user's umask lets read new files. What a killed writer
left is deleted by the next one to the same place.
"""

import ctypes
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pdae_app.locks import HeldError, locked, take_lock

PREFIX = ".partial"
OLD = "-old"

# Of Linux's renameat2(2).
AT_FDCWD, RENAME_EXCHANGE = -100, 2
UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path to write to, whose file takes the place of `path` at the end, and not before.

    Where `path` is a link, what it points to is replaced.
    """
    path = Path(os.path.realpath(path))
    with _partial(path) as folder:
        partial, mode = folder / path.name, _usual_mode(folder)
        yield partial
        partial.chmod(mode)
        _settle(partial)
        os.replace(partial, path)
        _settle(path.parent)


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to write in, which takes the place of `folder` at the end, and not before."""
    folder = Path(os.path.realpath(folder))
    with _partial(folder) as partial:
        mode = _usual_mode(partial)
        yield partial
        for path in (*partial.rglob("*"), partial):
            if not path.is_symlink():
                path.chmod(_searchable(mode) if path.is_dir() else mode)
                _settle(path)
        with locked(folder.parent):
            if folder.exists():
                _exchange(partial, folder)
            else:
                os.rename(partial, folder)
        _settle(folder.parent)


def restored(folder: str | Path) -> Path:
    """The folder; where its replacement was cut short, the old one is there again."""
    folder = Path(folder)
    if not folder.exists() and folder.parent.is_dir():
        place = Path(os.path.realpath(folder))
        if _abandoned(place, OLD):
            with locked(place.parent):
                _put_back(place)
    return folder


@contextmanager
def _partial(place: Path) -> Iterator[Path]:
    """A hidden folder beside `place`, locked; deleted at the end if it is still there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.parent):
        _put_back(place)
        _delete_abandoned(place)
        partial = Path(tempfile.mkdtemp(prefix=_prefix(place), dir=place.parent))
        handle = take_lock(partial)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def _prefix(place: Path) -> str:
    """Of the hidden folders of a place, whose own name may be as long as names can be."""
    return f"{PREFIX}-{hashlib.sha256(place.name.encode()).hexdigest()[:12]}-"


def _abandoned(place: Path, end: str = "") -> list[Path]:
    return sorted(place.parent.glob(f"{_prefix(place)}*{end}"))


def _delete_abandoned(place: Path) -> None:
    for folder in _abandoned(place):
        try:
            handle = take_lock(folder)
        except (HeldError, OSError):  # its writer lives
            continue
        if handle is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)


def _put_back(place: Path) -> None:
    for old in _abandoned(place, OLD):
        if not place.exists():
            os.rename(old, place)


def _exchange(partial: Path, folder: Path) -> None:
    """Let two folders change places; one of them is always there."""
    try:
        _rename_exchange(partial, folder)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        _exchange_by_steps(partial, folder)


def _rename_exchange(a: Path, b: Path) -> None:
    """In one step, where the system and its file system can."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError) as error:
        raise OSError(errno.ENOSYS, "no renameat2") from error
    if call(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(b))


def _exchange_by_steps(partial: Path, folder: Path) -> None:
    """Undone where a step fails; a kill between the steps is put right by `restored`."""
    old = partial.with_name(partial.name + OLD)
    os.rename(folder, old)
    try:
        os.rename(partial, folder)
    except BaseException:
        os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _usual_mode(folder: Path) -> int:
    """Of a new file of this user; some libraries make theirs for their owner alone."""
    probe = folder / ".mode"
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    return mode


def _searchable(mode: int) -> int:
    """Who may read a folder may look into it."""
    return mode | (mode & 0o444) >> 2


def _settle(path: Path) -> None:
    """Wait until what was written is on the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # folders on Windows
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
