"""The models that visitors may choose from, loaded when they are first asked for."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pdae_app.bundle import load_bundle
from pdae_app.engine import EditError, Editor
from pdae_app.latents.few_shot import FewShot
from pdae_app.limits import Limits
from pdae_app.ui.downloads import Downloads
from pdae_app.ui.events import ModelWorkers

# Of models beside the first one, so many stay in memory.
KEPT = 2
# A file of half precision takes twice its size when it is loaded, and once more meanwhile.
LOADED = 3


@dataclass(frozen=True)
class Chosen:
    """A visitor's model and the sliders made in this session."""

    title: str
    own: tuple[FewShot, ...] = ()

    def with_slider(self, fitted: FewShot) -> "Chosen":
        """With one more slider, in place of its namesake."""
        others = tuple(f for f in self.own if f.attribute.name != fitted.attribute.name)
        return replace(self, own=(*others, fitted))


class Models:
    """Names for people, and the editors behind them.

    `places` are bundles' folders or Hub names, the first being already loaded as `first`, and as
    `copies` on the devices of other workers; with `free`, any Hub name may be asked for. Models are
    loaded by the model's workers, whoever asks; every worker has those of its own device.
    """

    def __init__(
        self,
        first: Editor,
        places: Sequence[str] = (),
        free: bool = False,
        precision: str = "auto",
        model: ModelWorkers | None = None,
        copies: Sequence[Editor] = (),
    ):
        self.first, self.free, self.precision = first, free, precision
        self._firsts = {editor.device: editor for editor in (first, *copies)}
        self._places = {first.title: first.name}
        for place in places:
            title = Path(place).name if Path(place).is_dir() else place
            self._places.setdefault(title, place)
        self._workers = model or ModelWorkers()
        self._loaded: OrderedDict[str, dict[torch.device, Editor]] = OrderedDict()
        self._downloads = Downloads()
        self._lock = threading.Lock()
        # One worker alone needs none, and a process that is forked meanwhile would inherit it.
        self._loading = threading.Lock() if len(self._workers) > 1 else nullcontext()

    @property
    def titles(self) -> list[str]:
        """What a visitor may choose, the first being the default."""
        return list(self._places)

    def of(self, chosen: Chosen) -> Editor:
        """The editor of a visitor's choice, with the visitor's own sliders."""
        return self.named(chosen.title).with_attributes(*chosen.own)

    def named(self, title: str | None) -> Editor:
        """The editor of a title; of none, the default.

        Raises:
            EditError: a title that is not offered, or not here yet.
            BundleError: it cannot be loaded.
            BusyError: there is no memory for it.
        """
        if not title or title == self.first.title:
            return self._firsts[self._device]
        return self._found(title) or self._workers.call(self._load, title)

    @property
    def _device(self) -> torch.device:
        """That of the worker who asks; for anybody else, the first."""
        device = self._workers.device
        return torch.device(device) if device else self.first.device

    def fetching(self, title: str | None) -> Iterator[str]:
        """How far the download of a free name is, every second until it has ended in any way."""
        if not title or title in self._places or self._found(title):
            return
        try:
            download = self._downloads.begun(self._free_name(title))
        except EditError:  # told where it is loaded
            return
        while not download.job.done():
            yield f"Fetching {title}: {download.progress}…"
            wait([download.job], timeout=1)

    def _found(self, title: str) -> Editor | None:
        with self._lock:
            if title not in self._loaded:
                return None
            self._loaded.move_to_end(title)
            return self._loaded[title][self._device]

    def _load(self, title: str) -> Editor:
        """By a worker, one after the other; another visitor may just have loaded it.

        For all devices at once: the files may be gone when another worker asks.
        """
        with self._loading:
            if editor := self._found(title):
                return editor
            editors = {device: self._opened(title, device) for device in self._firsts}
            with self._lock:
                self._loaded[title] = editors
                while len(self._loaded) > KEPT:
                    self._loaded.popitem(last=False)
            return editors[self._device]

    def _opened(self, title: str, device: torch.device) -> Editor:
        if title in self._places:
            place = self._places[title]
            return Editor.from_pretrained(place, device=device, precision=self.precision)
        folder = self._downloads.folder(self._free_name(title))
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        Limits.of().check_memory(LOADED * size / 1e6)
        return Editor(load_bundle(folder, device), title, device, precision=self.precision)

    def _free_name(self, title: str) -> str:
        # A free name is the Hub's: no visitor may point at the server's own folders.
        if not self.free or Path(title).exists() or title.count("/") != 1 or ".." in title:
            offered = ", ".join(self.titles)
            raise EditError(f"The model {title[:80]!r} is not offered here. Choose of: {offered}.")
        return title


def bundles_in(folder: Path) -> list[str]:
    """The bundles in a folder of checkpoints, by their paths."""
    return [str(path.parent) for path in sorted(folder.glob("*/config.json"))]
