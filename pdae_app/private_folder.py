"""A private folder for pictures of visitors, which goes when its program does."""

import atexit
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

PREFIX = "pdae_app"


def private_folder() -> str:
    """Make the folder of this process, and delete those of processes that were killed.

    It is deleted at the end, also when the process is asked to terminate; after a plain kill, by
    the next start.
    """
    _delete_orphans(Path(tempfile.gettempdir()))
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-")  # readable by its owner only
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    return folder


def _delete_orphans(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}-*-*"):
        owner = re.fullmatch(rf"{PREFIX}-(\d+)-\w+", folder.name)
        if owner and not _runs(int(owner[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it runs, as somebody else's
    return True
