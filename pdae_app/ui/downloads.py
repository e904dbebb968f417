"""Models of the Hub that visitors name, fetched beside the model's own thread."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from pdae_app.engine import EditError
from pdae_app.hub import fetch_public
from pdae_app.limits import Limits

MOST_WAITING = 4


class Downloads:
    """One download at a time; who asks meanwhile is told to come back."""

    def __init__(self):
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="download")
        self._jobs: dict[str, Future] = {}

    def folder(self, repo: str) -> Path:
        """Where a model lies that has been fetched.

        Raises:
            EditError: it is being fetched, or too many others are.
            BundleError: it could not be fetched, or is no bundle of an allowed size.
        """
        if repo not in self._jobs:
            if sum(not job.done() for job in self._jobs.values()) >= MOST_WAITING:
                raise EditError("Too many models are being fetched. Try again in some minutes.")
            most = int(Limits.of().model_mb * 1e6)
            self._jobs[repo] = self._pool.submit(fetch_public, repo, most)
        job = self._jobs[repo]
        if not job.done():
            raise EditError(f"{repo} is being fetched from the Hub. Choose it again in a minute.")
        if job.exception() is not None:
            del self._jobs[repo]  # it may be another time
        return job.result()
