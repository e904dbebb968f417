"""Short names of folders and files that are told apart by them."""

from pathlib import Path


def told_apart(paths: list[Path]) -> list[str]:
    """The ends of paths, as short as they may be for no two to be alike.

    Raises:
        ValueError: two are the same.
    """
    for count in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["-".join(part for part in p.parts[-count:] if part != p.anchor) for p in paths]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"{', '.join(map(str, paths))}: the same is named twice")
