"""A kind of thing that strangers send: how it is damaged, and how it is read."""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """One kind of thing that strangers send."""

    make: Callable[[random.Random], bytes]
    read: Callable[[bytes], bool]


def one_sentence(error: Exception) -> bool:
    """An error that a person can read: neither empty nor endless."""
    assert 0 < len(str(error)) < 3000, str(error)[:100]
    return True
