"""Where training pictures come from: a folder, Diff-AE's LMDB, torchvision, Hugging Face datasets.

A source knows its label rows, and opens one picture at a time, in whichever process asks: handles
that cannot be shared between processes are opened again in each.
"""

import csv
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from PIL import Image

from pdae_app.faces.photo import PhotoError, open_photo

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
TORCHVISION = ("CelebA", "CIFAR10", "LSUN", "MNIST")

Rows = list[dict[str, str]]

# For databases: threads take turns to open one.
_TURN = threading.Lock()


class Source:
    """Pictures with one row of labels each; every row names its picture in the column `file`."""

    rows: Rows

    def open(self, index: int) -> Image.Image:
        """The picture of row `index`, upright RGB.

        Raises:
            PhotoError: it is broken.
        """
        raise TypeError(f"{type(self).__name__} does not open pictures")

    def fingerprint(self, index: int) -> Any:
        """What changes when the picture does."""
        return self.rows[index]["file"]


class Chosen(Source):
    """Some pictures of a source, at these places."""

    def __init__(self, source: Source, places: list[int]):
        self.source, self.places = source, places
        self.rows = [source.rows[i] for i in places]

    def open(self, index: int) -> Image.Image:
        return self.source.open(self.places[index])

    def fingerprint(self, index: int) -> Any:
        return self.source.fingerprint(self.places[index])


def spread_places(length: int, count: int | None) -> list[int]:
    """So many places (None: all) from all over a row of this length, the ends among them."""
    if count is None or count >= length:
        return list(range(length))
    return [round(i * (length - 1) / max(1, count - 1)) for i in range(count)]


class PerProcess:
    """A handle that every process makes for itself, when it first needs it."""

    def __init__(self, make):
        self._make, self._made = make, {}

    def __call__(self) -> Any:
        pid = os.getpid()
        if pid not in self._made:
            self._made = {pid: self._make()}
        return self._made[pid]

    def __getstate__(self) -> dict:
        return {"_make": self._make, "_made": {}}


@dataclass(frozen=True)
class Folder(Source):
    """Picture files below a folder; without a file of labels, sorted by name.

    Then the column `class` holds the name of the folder that a picture lies in (ImageNet's layout).
    """

    folder: str
    labels: str | None = None

    @cached_property
    def rows(self) -> Rows:
        folder = Path(self.folder)
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}; set data.folder=PATH")
        if self.labels:
            return read_labels(self.labels)
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES)
        return [{"file": str(p.relative_to(folder)), "class": p.parent.name} for p in files]

    def open(self, index: int) -> Image.Image:
        return open_photo(Path(self.folder) / self.rows[index]["file"])

    def fingerprint(self, index: int) -> Any:
        path = Path(self.folder) / self.rows[index]["file"]
        found = path.stat() if path.exists() else None
        return str(path.resolve()), found and (found.st_size, found.st_mtime_ns)


class Lmdb(Source):
    """A database of encoded pictures, as Diff-AE's preparation scripts write it.

    Every value except that of the key `length` is a picture. A file of labels is matched by the
    number at the end of key and file name: `256-00012` is `12.jpg`.
    """

    def __init__(self, folder: str, labels: str | None = None):
        self.folder = folder
        with self._reading() as transaction:
            keys = [key.decode() for key in transaction.cursor().iternext(values=False)]
        self.rows = [{"file": key} for key in keys if key != "length"]
        if labels:
            known = {_number(row["file"]): row for row in read_labels(labels)}
            self.rows = [
                known[number] | row
                for row in self.rows
                if (number := _number(row["file"])) in known
            ]

    def open(self, index: int) -> Image.Image:
        with self._reading() as transaction:
            data = bytes(transaction.get(self.rows[index]["file"].encode()))
        return open_photo(data)

    def fingerprint(self, index: int) -> Any:
        return str(Path(self.folder).resolve()), self.rows[index]["file"]

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        """A transaction in a database that is opened for it, which takes 0.1 ms.

        A process may have a database open once only, and a fork may not use its parent's.
        """
        lmdb = optional_import("lmdb")
        with (
            _TURN,
            lmdb.open(self.folder, readonly=True, lock=False, create=False) as database,
            database.begin() as transaction,
        ):
            yield transaction


def _number(name: str) -> int:
    return int(re.findall(r"\d+", name)[-1])


class Torchvision(Source):
    """One of torchvision's data sets, with its own splits and labels.

    CelebA brings its 40 attributes and `person`; MNIST and CIFAR10 bring `class`.
    """

    def __init__(self, name: str, root: str, split: str | None, download: bool):
        if name not in TORCHVISION:
            raise ValueError(f"torchvision must be one of {', '.join(TORCHVISION)}, got {name!r}")
        self._set = PerProcess(partial(_torchvision, name, root, split, download))
        self.identity = (name, split)
        self.rows = _torchvision_rows(self._set(), name)

    def open(self, index: int) -> Image.Image:
        try:
            return open_photo(self._set()[index][0])
        except OSError as error:
            raise PhotoError(str(error)) from error

    def fingerprint(self, index: int) -> Any:
        return self.identity, index


def _torchvision(name: str, root: str, split: str | None, download: bool):
    from torchvision import datasets

    kind = getattr(datasets, name)
    try:
        if name == "LSUN":
            return kind(root, classes=[split or "bedroom_train"])
        if name == "CelebA":
            return kind(root, split or "train", ["attr", "identity"], download=download)
        return kind(root, train=split != "test", download=download)
    except (RuntimeError, ImportError, OSError, ValueError) as error:
        raise ValueError(
            f"torchvision's {name} cannot be read from {root}: {error} "
            "(data.download=true fetches what can be fetched)"
        ) from error


def _torchvision_rows(pictures, name: str) -> Rows:
    if name == "CelebA":
        names = [attribute for attribute in pictures.attr_names if attribute]
        table = zip(pictures.filename, pictures.attr, pictures.identity, strict=True)
        return [
            {"file": file, "person": str(int(person))}
            | {attribute: str(int(v)) for attribute, v in zip(names, values, strict=True)}
            for file, values, person in table
        ]
    if name == "LSUN":
        return [{"file": str(i)} for i in range(len(pictures))]
    classes = [pictures.classes[int(target)] for target in pictures.targets]
    return [{"file": str(i), "class": kind} for i, kind in enumerate(classes)]


class HubDataset(Source):
    """A data set of Hugging Face's `datasets`, by name or path.

    The first column of pictures is taken; columns of numbers, words and class labels become labels.
    """

    def __init__(self, name: str, split: str | None):
        self._pictures, self.identity = _hub_dataset(name, split or "train"), (name, split)
        features = self._pictures.features
        images = [c for c, f in features.items() if type(f).__name__ == "Image"]
        if not images:
            raise ValueError(f"no column of {name} holds pictures: {', '.join(features)}")
        self._column = images[0]
        columns = {c: _words(self._pictures, c) for c in features if c not in (*images, "file")}
        columns = {c: words for c, words in columns.items() if words is not None}
        self.rows = [
            {"file": str(i)} | {c: words[i] for c, words in columns.items()}
            for i in range(len(self._pictures))
        ]

    def open(self, index: int) -> Image.Image:
        try:
            return open_photo(self._pictures[index][self._column])
        except (OSError, AttributeError, TypeError) as error:
            raise PhotoError(str(error)) from error

    def fingerprint(self, index: int) -> Any:
        return self.identity, getattr(self._pictures, "_fingerprint", ""), index


def _hub_dataset(name: str, split: str):
    datasets = optional_import("datasets")
    try:
        if (Path(name) / "dataset_info.json").exists() or (Path(name) / "state.json").exists():
            return datasets.load_from_disk(name)
        if (Path(name) / "dataset_dict.json").exists():
            return datasets.load_from_disk(name)[split]
        return datasets.load_dataset(name, split=split)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"split {split!r} of {name} cannot be read: {error}") from error


def _words(pictures, column: str) -> list[str] | None:
    """The column as words, or None if it holds something else."""
    feature = pictures.features[column]
    if hasattr(feature, "int2str"):
        return [feature.int2str(value) for value in pictures[column]]
    if not re.match(r"u?int|float|bool|(large_)?string", str(getattr(feature, "dtype", ""))):
        return None
    values = pictures[column]
    return [str(int(v)) if isinstance(v, bool) else str(v) for v in values]


def read_labels(path: str | Path) -> Rows:
    """A CSV with a column `file`, or CelebA's text file of attributes (-1 and 1).

    Raises:
        ValueError: no such file, or no column `file`.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file of labels {path}")
    with open(path, newline="") as file:
        if file.readline().strip().isdigit():
            return _celeba_rows(file.read().splitlines())
        file.seek(0)
        rows = list(csv.DictReader(file))
    if rows and "file" not in rows[0]:
        raise ValueError(f"{path} has no column `file`; it has {', '.join(rows[0])}")
    return rows


def _celeba_rows(lines: list[str]) -> Rows:
    names, rows = lines[0].split(), []
    for line in filter(None, lines[1:]):
        file, *values = line.split()
        labels = {name: str(int(v == "1")) for name, v in zip(names, values, strict=True)}
        rows.append({"file": file} | labels)
    return rows


def optional_import(name: str) -> Any:
    """A module that only some data sets need.

    Raises:
        ValueError: it is not installed; the message says how to get it.
    """
    try:
        return __import__(name)
    except ImportError as error:
        raise ValueError(f"this data set needs the package {name}: pip install {name}") from error
