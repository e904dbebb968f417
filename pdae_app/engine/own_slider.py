"""Sliders of one's own, for the page, the endpoints and the command line.

From photographs of two kinds, from pairs before and after, or from a number for each photograph.
"""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from pdae_app.engine.aims import read_only
from pdae_app.engine.checks import by_known_names
from pdae_app.engine.code import Code, EditError
from pdae_app.engine.editor import Editor
from pdae_app.engine.sliders import code_statistics
from pdae_app.faces.photo import PhotoError
from pdae_app.latents.few_shot import FewShot
from pdae_app.latents.own_directions import FEWEST_NUMBERS, FEWEST_PAIRS, fit_numbers, fit_pairs
from pdae_app.latents.slider_file import LONGEST_NAME, NAME

FEWEST, MOST = 5, 200
# Characters of a table; a line a picture is far less.
LONGEST_TABLE = 100_000

Codes = Sequence[Code | None]


@dataclass(frozen=True)
class SliderRequest:
    """A slider's name, and picture files of people who have what it changes and who do not.

    Raises:
        EditError: a name that is none, or too many pictures.
    """

    name: str
    having: Sequence[str] = ()
    lacking: Sequence[str] = ()

    def __post_init__(self):
        check_name(self.name)
        check_count(self.having, self.lacking)

    @property
    def pictures(self) -> list[str]:
        """All picture files, in the order in which they are read."""
        return [*self.having, *self.lacking]

    def fitted(self, editor: Editor, codes: Codes, skipped: Sequence[str]) -> FewShot:
        """The slider from the pictures' codes, None for one that could not be used.

        Raises:
            EditError: too few usable pictures of a kind that was given.
        """
        count = len(self.having)
        having, lacking = (
            [code for code in part if code] for part in (codes[:count], codes[count:])
        )
        for kind, usable, needed in (("have", having, True), ("lack", lacking, bool(self.lacking))):
            if needed:
                check_enough(f"pictures that {kind} it", FEWEST, len(usable), skipped)
        return editor.fit_attribute(self.name.strip(), having, lacking)


@dataclass(frozen=True)
class PairsRequest:
    """A slider's name, and picture files before and after, the first with the first.

    `held` are attributes that the slider is to leave as they are.

    Raises:
        EditError: a name that is none, too many pictures, or not as many before as after.
    """

    name: str
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    held: Sequence[str] = ()

    def __post_init__(self):
        check_name(self.name)
        check_count(self.before, self.after)
        if len(self.before) != len(self.after):
            raise EditError(
                f"There are {len(self.before)} pictures before and {len(self.after)} after. Give "
                "every picture its partner, in the same order."
            )

    @property
    def pictures(self) -> list[str]:
        """All picture files, in the order in which they are read."""
        return [*self.before, *self.after]

    def fitted(self, editor: Editor, codes: Codes, skipped: Sequence[str]) -> FewShot:
        """The slider from the pictures' codes, None for one that could not be used.

        Raises:
            EditError: fewer than `FEWEST_PAIRS` whole pairs, or an attribute that is not known.
        """
        held = list(by_known_names(dict.fromkeys(self.held), editor.attributes))
        count = len(self.before)
        pairs = [pair for pair in zip(codes[:count], codes[count:], strict=True) if all(pair)]
        check_enough("pairs", FEWEST_PAIRS, len(pairs), skipped)
        before, after = (
            torch.stack([code.z for code in half]) for half in zip(*pairs, strict=True)
        )
        try:
            return fit_pairs(self.name.strip(), before, after, code_statistics(editor.bundle), held)
        except ValueError as error:
            raise EditError(f"{error}. Use pairs of which the second differs.") from error


@dataclass(frozen=True)
class NumbersRequest:
    """A slider's name, picture files, and a number for each by its file's name.

    Raises:
        EditError: a name that is none, or too many pictures.
    """

    name: str
    photographs: Sequence[str] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self):
        check_name(self.name)
        check_count(self.photographs)

    @property
    def pictures(self) -> list[str]:
        """The picture files that have a number."""
        return [path for path in self.photographs if spelled(path) in self._known]

    @property
    def _known(self) -> dict[str, float]:
        return {spelled(name): value for name, value in self.numbers.items()}

    def fitted(self, editor: Editor, codes: Codes, skipped: Sequence[str]) -> FewShot:
        """The slider from the pictures' codes, None for one that could not be used.

        Raises:
            EditError: fewer than `FEWEST_NUMBERS` usable pictures with a number, or numbers that
                are all the same.
        """
        known = self._known
        read = zip(self.pictures, codes, strict=True)
        usable = [(code, known[spelled(path)]) for path, code in read if code]
        check_enough("pictures with a number", FEWEST_NUMBERS, len(usable), skipped)
        z, values = torch.stack([code.z for code, _ in usable]), np.array([v for _, v in usable])
        try:
            return fit_numbers(self.name.strip(), z, values, code_statistics(editor.bundle))
        except ValueError as error:
            raise EditError(f"{error}. Use pictures whose numbers differ.") from error


@dataclass(frozen=True)
class SliderStep:
    """So many of all pictures read; at last the slider, and what could not be used."""

    read: int
    pictures: int
    fitted: FewShot | None = None
    skipped: tuple[str, ...] = ()


def fit_slider(
    editor: Editor, request: SliderRequest | PairsRequest | NumbersRequest
) -> Iterator[SliderStep]:
    """Encode the pictures and fit the slider, yielding before each picture and at the end.

    Raises:
        EditError: too few usable pictures, or a model that lacks what this needs.
    """
    codes, skipped, pictures = [], [], request.pictures
    for read, path in enumerate(pictures):
        yield SliderStep(read, len(pictures))
        try:
            codes.append(read_only(editor, path))
        except PhotoError as error:
            codes.append(None)
            skipped.append(f"{Path(path).name}: {error}")
    fitted = request.fitted(editor, codes, skipped)
    yield SliderStep(len(pictures), len(pictures), fitted, tuple(skipped))


def parse_numbers(text: str) -> dict[str, float]:
    """The numbers by picture files' names, from a table with a line "file,value" a picture.

    A first line that has no number is a heading; commas, semicolons or tabs part the two.

    Raises:
        EditError: the message names the first line that is none.
    """
    if len(text) > LONGEST_TABLE:
        raise EditError(f"This is too long for a table of pictures: {len(text)} characters.")
    text = re.sub(r"[;\t]", ",", text.removeprefix("\ufeff"))
    found = {}
    for line, row in enumerate(csv.reader(io.StringIO(text)), 1):
        if not any(cell.strip() for cell in row):
            continue
        value = _number(row[1]) if len(row) > 1 else None
        if value is None and line > 1:
            raise EditError(f"Line {line} of the table is no “file,value”: {','.join(row)[:60]}")
        if value is not None:
            found[row[0].strip()] = value
    if not found:
        raise EditError("The table is empty. Give a line “file,value” for every picture.")
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def spelled(path: str) -> str:
    """A file's name as it is compared: browsers and servers change its other signs."""
    return "".join(re.findall(r"\w", Path(path).name)).casefold()


def check_name(name: object) -> None:
    """Whether a slider can be called so.

    Raises:
        EditError: it cannot.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name.strip()):
        raise EditError(
            f"Give the slider a name of letters, digits and spaces, at most {LONGEST_NAME}."
        )


def check_count(*kinds: Sequence[str]) -> None:
    """Whether so many pictures of a kind can be read.

    Raises:
        EditError: they are too many.
    """
    for paths in kinds:
        if len(paths) > MOST:
            raise EditError(f"Use at most {MOST} pictures of a kind, not {len(paths)}.")


def check_enough(what: str, fewest: int, count: int, skipped: Sequence[str]) -> None:
    """Enough to fit a slider, or a sentence that says how many there are.

    Raises:
        EditError: they are too few.
    """
    if count < fewest:
        raise EditError(
            f"At least {fewest} usable {what} are needed, got {count}. {skipped_in_words(skipped)}"
        )


def skipped_in_words(skipped: Sequence[str]) -> str:
    """The pictures that could not be used, as a sentence."""
    return f"Skipped: {'; '.join(skipped)}" if skipped else ""


def score_in_words(fitted: FewShot) -> str:
    """What a slider's held-out score says."""
    facts = fitted.attribute
    if facts.measure == "cosine":
        text = f"Score {facts.score:.2f} on pairs left out (0 is chance, 1 the very same change)"
        good, text = facts.score > 0.2, f"{text}, of {facts.positives} pairs."
    elif facts.measure == "pearson r":
        count = facts.positives + facts.negatives
        text = f"Score {facts.score:.2f} on pictures left out (Pearson's r: 0 is chance, 1 perfect)"
        good, text = facts.score > 0.3, f"{text}, of {count} pictures."
    elif facts.measure == "explained variance":
        return f"{facts.score:.1%} of how codes that were left out differ."
    else:
        others = f"{facts.negatives} without" if facts.negatives else "made-up people"
        good = facts.auroc > 0.7
        text = f"Score {facts.auroc:.2f} on pictures left out, {facts.positives} with it, {others}."
    return text if good else f"{text} That is little better than chance: use more."
