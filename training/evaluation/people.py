"""Which people edits are measured on: as different as the labels and the pictures tell."""

from itertools import zip_longest

from torch import Tensor

from training.evaluation.albums import Album, mapped

# People are drawn in equal parts from the groups that these labels make.
GROUPS = ("Male", "Young")

# Where the cheeks lie in a square that is framed as `pdae_app.faces.align` does, in its sides.
CHEEKS = (0.31, 0.69)
CHEEKS_FROM, CHEEKS_TO = 0.58, 0.68
GOLDEN = (5**0.5 - 1) / 2


def chosen_people(rows: list[dict[str, str]], squares: Album | Tensor, count: int) -> list[int]:
    """Numbers of `count` pictures, one a person, or fewer where there are no more.

    Age and sex come from the labels; no label tells the colour of skin, so within a group people
    are spread over the lightness of their cheeks. The first few are as different as all are.

    Args:
        squares: (N, 3, S, S) in [-1, 1].
    """
    first: dict[str, int] = {}
    for number, row in enumerate(rows):
        first.setdefault(row.get("person") or row["file"], number)
    groups: dict[tuple, list[int]] = {}
    for number in first.values():
        groups.setdefault(tuple(rows[number].get(name) for name in GROUPS), []).append(number)
    lightness = mapped(squares, cheek_lightness).tolist()
    spread = [
        spread_out(sorted(groups[key], key=lambda i: (lightness[i], i)))
        for key in sorted(groups, key=str)
    ]
    turns = (number for turn in zip_longest(*spread) for number in turn if number is not None)
    return [number for number, _ in zip(turns, range(count), strict=False)]


def spread_out(ordered: list[int]) -> list[int]:
    """The same numbers in an order of which every beginning is spread over the whole.

    It begins in the middle, and goes on by the golden ratio (as sequences of low discrepancy do).
    """
    middle = len(ordered) // 2
    places = sorted(range(len(ordered)), key=lambda i: (i - middle) * GOLDEN % 1)
    return [ordered[place] for place in places]


def cheek_lightness(squares: Tensor) -> Tensor:
    """Mean (N,) in [-1, 1] over both cheeks of squares (N, C, S, S)."""
    side = squares.shape[-1]
    top, bottom, left, right = (round(side * x) for x in (CHEEKS_FROM, CHEEKS_TO, *CHEEKS))
    return squares[:, :, top:bottom, left:right].mean(dim=(1, 2, 3))
