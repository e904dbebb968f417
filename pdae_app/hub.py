"""Where a bundle lies: a local folder, or a repository on the Hugging Face Hub."""

import os
import re
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import (
    CommitOperationAdd,
    HfApi,
    ModelCard,
    ModelCardData,
    constants,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import tqdm

from pdae_app.bundle import Bundle, BundleError, bundle_files, check_config
from pdae_app.whole import restored

BUNDLED = Path(__file__).parent.parent / "checkpoints" / "faces128"
# Hashes of the pictures that a model learned from, which training scripts leave beside it.
TRAINING_PICTURES = "training-pictures.txt"
FILES = ["config.json", "*.safetensors", "README.md", TRAINING_PICTURES]


def default_model() -> str:
    """The environment's PDAE_MODEL, else the model that comes with the repository.

    Raises:
        BundleError: there is neither, as where the package was installed without the repository.
    """
    named = os.environ.get("PDAE_MODEL")
    if named or BUNDLED.is_dir():
        return named or str(BUNDLED)
    raise BundleError(
        "no model came with this installation; name one by --model or the environment variable "
        "PDAE_MODEL: a bundle's folder, or owner/name of the Hub"
    )


def local_folder(
    path_or_repo: str | Path, revision: str | None = None, token: str | None = None
) -> Path:
    """The folder of a bundle; a name "owner/name" that is no folder is fetched from the Hub.

    Raises:
        BundleError: neither a folder nor a repository that can be reached.
    """
    folder, repo = restored(path_or_repo), str(path_or_repo)
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo) or ".." in repo:
        raise BundleError(f"there is no folder {repo}, and it is no name owner/name")
    return fetch(repo, FILES, revision, token)


def fetch(
    repo: str, patterns: list[str], revision: str | None = None, token: str | None = None
) -> Path:
    """The folder with the files of a repository "owner/name" that match, cached ones at once.

    Raises:
        BundleError: it cannot be reached.
    """
    with _as_sentences(f"{repo} could not be fetched from the Hub", revision):
        return Path(
            snapshot_download(repo, revision=revision, token=token, allow_patterns=patterns)
        )


def fetch_public(
    repo: str, most: int, cache: str | Path, tell: Callable[[int, int], None] = lambda *_: None
) -> Path:
    """The folder of a bundle that a stranger named: without a token, and of `most` bytes.

    Sizes and configuration are looked at before any weights are fetched.

    Args:
        cache: the folder in which it will lie.
        tell: is called with the bytes that are there, and those of all.

    Raises:
        BundleError: it cannot be fetched, is too large, or is no bundle.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo) or ".." in repo:
        raise BundleError(f"{repo[:80]} is no name owner/name")
    failed = f"{repo} could not be fetched from the Hub"
    with _as_sentences(failed):
        found = HfApi(token=False).model_info(repo, files_metadata=True)
    sizes = _sizes(found.siblings)
    total = sum(sizes.values())
    if total > most:
        raise BundleError(
            f"{repo} is too large: {total / 1e6:.0f} MB, and {most / 1e6:.0f} MB are allowed"
        )
    if "config.json" not in sizes:
        raise BundleError(f"{repo} is not a bundle: it has no config.json")
    bar = _telling(lambda there: tell(there, total))
    fixed = {"revision": found.sha, "token": False, "cache_dir": cache, "tqdm_class": bar}
    with _as_sentences(failed):
        config = Path(hf_hub_download(repo, "config.json", **fixed))
    check_config(config.parent)
    for name in sizes:
        with _as_sentences(failed):
            hf_hub_download(repo, name, **fixed)
    return config.parent


def _sizes(files: Iterable) -> dict[str, int]:
    """Bytes of a repository's files that belong to a bundle."""
    named = {file.rfilename: file.size or 0 for file in files}
    return {n: size for n, size in named.items() if any(fnmatch(n, kind) for kind in FILES)}


def _telling(tell: Callable[[int], None]) -> type:
    """A progress bar that shows nothing, and tells how many bytes all of its kind have seen."""
    there = 0

    class Telling(tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **(kwargs | {"disable": True}))

        def update(self, n: float | None = 1) -> None:
            nonlocal there
            there += int(n or 0)
            tell(there)

    return Telling


def push(
    bundle: Bundle, repo_id: str, private: bool | None = None, token: str | None = None
) -> str:
    """Upload a loaded bundle's files and its model card; the commit's address.

    Raises:
        BundleError: the bundle was not loaded from a folder, or the Hub refuses or is unreachable.
    """
    if bundle.folder is None:
        raise BundleError("this bundle is not on disk; save it with save_bundle and load it first")
    api = HfApi(token=token)
    files = [CommitOperationAdd(name, bundle.folder / name) for name in _kept(bundle)]
    card = CommitOperationAdd("README.md", str(_card(bundle, repo_id)).encode())
    with _as_sentences(f"{repo_id} could not be uploaded to the Hub"):
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.create_commit(
            repo_id, [*files, card], commit_message="Upload a pdae_app bundle"
        )
    return commit.commit_url


def _kept(bundle: Bundle) -> list[str]:
    """The names of a bundle's files, and of what training left beside it."""
    beside = (bundle.folder / TRAINING_PICTURES).is_file()
    return [*bundle_files(bundle), *([TRAINING_PICTURES] if beside else [])]


def _card(bundle: Bundle, repo_id: str) -> ModelCard:
    """The folder's own model card, or a plain one; with the metadata by which the Hub finds it."""
    path = bundle.folder / "README.md"
    if path.is_file():
        card = ModelCard.load(path)
    else:
        title = repo_id.split("/")[-1]
        text = f"A {bundle.family.name} bundle of {bundle.unet.config.image_size} px for pdae_app."
        card = ModelCard(f"---\n{ModelCardData().to_yaml()}\n---\n\n# {title}\n\n{text}\n")
    card.data.library_name = card.data.library_name or "pdae_app"
    card.data.pipeline_tag = card.data.pipeline_tag or "image-to-image"
    card.data.tags = sorted({*(card.data.tags or []), "pdae_app", bundle.family.name, "diffusion"})
    return card


@contextmanager
def _as_sentences(what: str, revision: str | None = None):
    """Turn what huggingface_hub raises into one sentence: what happened and what to do."""
    try:
        yield
    except GatedRepoError as error:
        raise BundleError(
            f"{what}: it is gated. Ask for access on its page, then log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise BundleError(f"{what}: it has no revision {revision!r}.") from error
    except RepositoryNotFoundError as error:
        raise BundleError(
            f"{what}: there is no such repository, or it is private. Check the name; for a private "
            "one log in with `hf auth login`, or give a token."
        ) from error
    except LocalTokenNotFoundError as error:
        raise BundleError(
            f"{what}: log in first, with `hf auth login`, or give a token."
        ) from error
    except HFValidationError as error:
        raise BundleError(f"{what}: {error}") from error
    except LocalEntryNotFoundError as error:
        raise BundleError(_unreachable(what)) from error
    except HfHubHTTPError as error:
        raise BundleError(f"{what}: {_refusal(error)}") from error
    except Exception as error:  # of the HTTP library, which changes with huggingface_hub's version
        raise BundleError(
            f"{what}: {_first_line(error)}. Run the command again; what was fetched is kept."
        ) from error


def _unreachable(what: str) -> str:
    if constants.HF_HUB_OFFLINE:
        return f"{what}: HF_HUB_OFFLINE is set, and it is not in the cache. Unset it to download."
    return f"{what}: the Hub cannot be reached, and it is not in the cache. Check the network."


def _refusal(error: HfHubHTTPError) -> str:
    status = error.response.status_code if error.response is not None else None
    if status in (401, 403):
        return "the Hub does not accept the token. Log in with `hf auth login`, or give another."
    return _first_line(error)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
