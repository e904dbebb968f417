"""Names of files that come from photographs' names."""

import re
from collections.abc import Mapping
from pathlib import Path

MOST_WORDS = 3
# Bytes of a photograph's name, and of the words: with suffixes a name may have 255.
LONGEST, LONGEST_WORDS = 80, 80


def edited_name(photograph: str, sliders: Mapping[str, float]) -> str:
    """A name without a suffix for an edited photograph: its own, and what was changed most."""
    strongest = sorted(filter(sliders.get, sliders), key=lambda name: -abs(sliders[name]))
    words = ["-".join(re.findall(r"\w+", name.lower())) for name in strongest[:MOST_WORDS]]
    signed = [f"not-{w}" if sliders[n] < 0 else w for n, w in zip(strongest, words, strict=False)]
    stem = _cut(Path(photograph).name.rsplit(".", 1)[0], LONGEST) or "picture"
    changes = "".join(f"-{word.replace('_', '-')}" for word in signed)
    return stem + _cut(changes, LONGEST_WORDS)


def _cut(text: str, most: int) -> str:
    """Its beginning of so many bytes, as file systems count."""
    return text.encode("utf-8", "ignore")[:most].decode("utf-8", "ignore")


class FreeNames:
    """Names of one suffix after photographs', counted up where one is taken; never a path."""

    def __init__(self, suffix: str):
        self._suffix, self._taken = suffix, set()

    def __call__(self, given: str) -> str:
        stem = Path(given).name.rsplit(".", 1)[0] or "picture"
        name, number = f"{stem}{self._suffix}", 2
        while name in self._taken:
            name, number = f"{stem}-{number}{self._suffix}", number + 1
        self._taken.add(name)
        return name
