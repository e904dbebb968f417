"""Tables in Markdown, for README, model cards and benchmarks."""

from collections.abc import Iterable


def table(columns: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A table of these column titles and rows; every cell is written by `str`."""
    titles = [str(column) for column in columns]
    cells = [[str(cell) for cell in row] for row in rows]
    lines = [titles, ["---"] * len(titles), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
