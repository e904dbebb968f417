"""A zip of finished pictures, written as they come: none is kept in memory."""

import uuid
import zipfile
from pathlib import Path

from gradio.utils import get_upload_folder

from pdae_app.engine.carry_out import Outcome
from pdae_app.export.credentials import signed_still
from pdae_app.export.names import FreeNames
from pdae_app.export.provenance import Provenance

MOST_BYTES = 2_000_000_000
FULL = "The zip is full: edit the rest in another run."


class ResultZip:
    """A context in which outcomes are added; what is not finished within it is deleted."""

    def __init__(self, provenance: Provenance, most: int = MOST_BYTES):
        self._provenance = provenance
        self._most, self._written, self._finished = most, False, False
        self._free_name = FreeNames(".png")
        self._path = Path(get_upload_folder()) / uuid.uuid4().hex / "edited.zip"

    def __enter__(self) -> "ResultZip":
        self._path.parent.mkdir(parents=True)
        self._archive = zipfile.ZipFile(self._path, "w", zipfile.ZIP_STORED)
        return self

    def __exit__(self, *_) -> None:
        try:
            self._archive.close()  # on a full disk it fails, and must not stay
        finally:
            if not self._finished:
                self._path.unlink(missing_ok=True)

    def add(self, outcome: Outcome) -> Outcome:
        """Write a picture, if it came out; the outcome without its pixels."""
        if outcome.whole is None:
            return outcome
        data = signed_still(outcome.whole, self._provenance)
        if self._path.stat().st_size + len(data) > self._most:
            return Outcome(outcome.name, error=FULL)
        self._archive.writestr(self._free_name(outcome.name), data)
        self._written = True
        return Outcome(outcome.name)

    def finish(self) -> str | None:
        """The path of the zip; None where nothing came out."""
        self._archive.close()
        self._finished = self._written
        return str(self._path) if self._finished else None
