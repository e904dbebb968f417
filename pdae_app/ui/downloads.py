"""Models that visitors name, fetched beside everything else, and looked at before they are loaded.

They lie where visitors' pictures lie, and like these for an hour.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gradio.utils import get_upload_folder

from pdae_app.engine import EditError
from pdae_app.hub import fetch_public
from pdae_app.limits import Limits

MOST_WAITING = 4


@dataclass
class Download:
    """One model on its way: so many bytes are there, of `total`."""

    job: Future
    there: int = 0
    total: int = 0

    def note(self, there: int, total: int) -> None:
        """How far it is."""
        self.there, self.total = there, total

    @property
    def progress(self) -> str:
        """In words."""
        return f"{self.there / 1e6:.0f} of {self.total / 1e6:.0f} MB" if self.total else "waiting"


class Downloads:
    """One download at a time; who asks meanwhile is told to come back."""

    def __init__(self):
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="download")
        self._downloads: dict[str, Download] = {}

    def begun(self, repo: str) -> Download:
        """The download of a model, which begins now if it has not yet.

        Raises:
            EditError: too many others are being fetched.
        """
        known = self._downloads.get(repo)
        if known is not None and not _gone(known):
            return known
        if sum(not download.job.done() for download in self._downloads.values()) >= MOST_WAITING:
            raise EditError("Too many models are being fetched. Try again in some minutes.")
        self._downloads = {n: d for n, d in self._downloads.items() if not _gone(d)}
        self._downloads[repo] = download = Download(Future())
        download.job = self._pool.submit(self._fetch, repo, download)
        return download

    def folder(self, repo: str) -> Path:
        """Where a model lies that has been fetched.

        Raises:
            EditError: it is being fetched, or too many others are.
            BundleError: it could not be fetched, or is no bundle of an allowed size.
        """
        download = self.begun(repo)
        if not download.job.done():
            raise EditError(
                f"{repo} is being fetched from the Hub ({download.progress}). "
                "Choose it again in a minute."
            )
        if download.job.exception() is not None:
            self._downloads.pop(repo, None)  # it may be another time
        return download.job.result()

    def _fetch(self, repo: str, download: Download) -> Path:
        most, cache = int(Limits.of().model_mb * 1e6), Path(get_upload_folder()) / "models"
        return fetch_public(repo, most, cache, download.note)


def _gone(download: Download) -> bool:
    """Whether it was here and is no longer: deleted after its hour."""
    job = download.job
    if not job.done() or job.exception() is not None:
        return False
    return not (job.result() / "config.json").exists()
