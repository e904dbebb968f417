"""Where a bundle lies: a local folder, or a repository on the Hugging Face Hub."""

import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from pdae_app.bundle import BundleError

FILES = ["config.json", "*.safetensors", "README.md"]


def local_folder(
    path_or_repo: str | Path, revision: str | None = None, token: str | None = None
) -> Path:
    """The folder of a bundle; a name "owner/name" that is no folder is fetched from the Hub.

    Raises:
        BundleError: neither a folder nor a repository that can be reached.
    """
    folder = Path(path_or_repo)
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(path_or_repo)):
        raise BundleError(f"there is no folder {path_or_repo}, and it is no name owner/name")
    try:
        return Path(
            snapshot_download(
                str(path_or_repo), revision=revision, token=token, allow_patterns=FILES
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BundleError(
            f"there is no folder {path_or_repo}, and it could not be fetched from the Hub: {reason}"
        ) from error
