"""Hypothesis strategies: bytes and configurations that were changed here and there."""

import copy

from hypothesis import strategies as st

HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**9, 10**400, -1, 0, 2**31, 2**63]),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


@st.composite
def mutated_bytes(draw, whole: st.SearchStrategy[bytes]) -> bytes:
    """A file with some bytes changed, cut off, doubled or left out."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(1, 32))
        way = draw(st.sampled_from(["change", "cut", "double", "leave out"]))
        if way == "change":
            data[place : place + length] = draw(st.binary(min_size=1, max_size=length))
        elif way == "cut":
            del data[place:]
        elif way == "double":
            data[place:place] = data[place : place + length]
        else:
            del data[place : place + length]
    return bytes(data)


def paths(value, path=()):
    """The ways to every place in nested mappings and lists."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in inner if isinstance(value, dict | list) else ():
        yield from paths(part, (*path, key))


@st.composite
def mutated_config(draw, whole: dict) -> dict:
    """A configuration with some values replaced, removed, or of surplus."""
    config = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from([path for path in paths(config) if path]))
        level = config
        for key in parents:
            level = level[key]
        way = draw(st.sampled_from(["replace", "remove", "add"]))
        if way == "replace":
            level[last] = draw(HOSTILE)
        elif way == "remove":
            del level[last]
        elif isinstance(level, dict):
            level[draw(st.text(max_size=8))] = draw(HOSTILE)
        if not config:
            break
    return config
