"""What looks at pictures: judge, features, LPIPS, embedder of faces; each made when asked for."""

from collections.abc import Callable, Mapping

from torch import Tensor

from training.evaluation.distances import PIXELS, Distance, feature_distance
from training.evaluation.features import Features, judge_features
from training.evaluation.judge import Judge
from training.evaluation.table import LeftOutError

Embed = Callable[[Tensor], Tensor]


class Tools:
    """Tools by their names, made when a table first asks for them, or known to be missing.

    `asked` are the names that were asked for; `missing` says by name why there is none.
    """

    def __init__(self, makers: Mapping[str, Callable[[], object]] | None = None):
        self._makers, self._made = dict(makers or {}), {}
        self.asked: set[str] = set()
        self.missing: dict[str, str] = {}

    def get(self, name: str) -> object | None:
        """A tool; None where it cannot be had."""
        self.asked.add(name)
        if name not in self._made and name not in self.missing:
            self._make(name)
        return self._made.get(name)

    def _make(self, name: str) -> None:
        if name not in self._makers:
            self.missing[name] = f"there is no {name}"
            return
        try:
            self._made[name] = self._makers[name]()
        except (ValueError, ImportError) as reason:
            self.missing[name] = str(reason)

    def needed(self, name: str) -> object:
        """A tool.

        Raises:
            LeftOutError: it is missing.
        """
        tool = self.get(name)
        if tool is None:
            raise LeftOutError(self.missing[name])
        return tool

    @property
    def judge(self) -> Judge | None:
        """The classifier on pixels."""
        return self.get("judge")

    @property
    def features(self) -> Features | None:
        """Those of distances of sets."""
        return self.get("features")

    @property
    def lpips(self) -> Distance | None:
        """LPIPS."""
        return self.get("lpips")

    @property
    def embed(self) -> Embed | None:
        """Faces to unit vectors."""
        return self.get("embed")

    @property
    def distance(self) -> Distance:
        """LPIPS, or what stands in for it: features that see small differences, or pixels."""
        if self.lpips is not None:
            return self.lpips
        features = self.features
        if features is not None and features.levels:
            features = None if self.judge is None else judge_features(self.judge)
        return PIXELS if features is None else feature_distance(features)
