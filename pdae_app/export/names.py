"""Names of files that come from photographs' names."""

from pathlib import Path


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
