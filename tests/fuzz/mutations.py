"""Bytes and configurations that were changed here and there, at random places."""

import copy
import json
import random

HOSTILE = (
    *(None, True, False, 0, 1, -1, 3, 64, 10**9, 2**31, 2**63, -(2**63), 10**400),
    *(0.5, -0.5, 1e-300, 1e300, -1e300, float("inf"), float("-inf"), float("nan")),
    *("", "a", "nan", "1e400", "9" * 5000, "../../etc/passwd", "\0", "\ud800", "Ünï", "a" * 5000),
    *([], [1], [0, -1, 10**9], [[]], ["a"], [None], list(range(100)), [10**9] * 17),
    *({}, {"a": 1}, {"": {}}, {"kind": "linear"}, {"image_size": 10**9}),
)
DEEPEST = 100_000


def hostile(chance: random.Random):
    """A value that nobody would write: of a wrong kind, or too large."""
    if chance.random() < 0.3:
        return chance.choice([chance.randrange(-(2**40), 2**40), chance.gauss(0, 1e6)])
    return copy.deepcopy(chance.choice(HOSTILE))


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    """A file with some bytes changed, cut off, doubled, left out, or set to an extreme."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        # Headers are short, and decide the most.
        most = min(len(changed), 200) if chance.random() < 0.4 else len(changed)
        place, length = chance.randrange(most + 1), chance.choice((1, 1, 2, 4, 8, 32))
        way = chance.choice(("bit", "change", "extreme", "cut", "double", "leave out"))
        if way == "bit" and place < len(changed):
            changed[place] ^= 1 << chance.randrange(8)
        elif way == "change":
            changed[place : place + length] = chance.randbytes(length)
        elif way == "extreme":
            changed[place : place + length] = chance.choice((b"\0", b"\xff", b"\x7f")) * length
        elif way == "cut" and chance.random() < 0.3:
            del changed[place:]
        elif way == "double":
            changed[place:place] = changed[place : place + length]
        elif way == "leave out":
            del changed[place : place + length]
    return bytes(changed)


def changed_json(whole: dict, chance: random.Random) -> bytes:
    """The text of a mapping, changed in its values, or in its bytes, or with lists in lists."""
    way = chance.random()
    if way < 0.15:
        return changed_bytes(json.dumps(whole).encode(), chance)
    text = json.dumps(changed_config(whole, chance)).encode()
    if way < 0.2:
        deep = chance.randrange(DEEPEST)
        text = text.replace(b"1", b"[" * deep + b"]" * deep, 1)
    return text


def paths(value, path=()):
    """The ways to every place in nested mappings and lists."""
    yield path
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(part, (*path, key))


def changed_config(whole: dict, chance: random.Random) -> dict:
    """A configuration with some values replaced, removed, or of surplus."""
    config = copy.deepcopy(whole)
    for _ in range(chance.randint(1, 3)):
        places = [path for path in paths(config) if path and len(path) < 20]
        if not places:
            break
        *parents, last = chance.choice(places)
        level = config
        for key in parents:
            level = level[key]
        way = chance.choice(("replace", "replace", "remove", "add"))
        if way == "replace":
            level[last] = hostile(chance)
        elif way == "remove":
            del level[last]
        elif isinstance(level, dict):
            level[chance.choice(("a", "", "kind", "unet", "format", "ü" * 50))] = hostile(chance)
    return config
