"""JSON and TOML: anything at all, and real documents with something changed."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

LEAVING = ("/etc/passwd", "../canary", "a/../../canary", "C:\\x", "..\\canary", "//host/share", "~/x", "a//b", ".", "")
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [*LEAVING, "\x1b[31mred", "two\nlines", "nul\0", "\ud800", "é" * 300, "NaN", "Infinity", "a" * 5000]
    ),
)
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 2**63, -(2**63), 2**64 - 1, 10**400, 1e308, -0.0, float("nan"), float("inf")]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


REPLACEMENTS = st.one_of(VALUES, st.sampled_from([_deep(50), _deep(300), [], {}, [[]], {"": {}}]))


def places(document: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a document."""
    found = [above] if above else []
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        found += places(value, (*above, key))
    return found


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """``document`` with one to three of its values deleted, replaced, repeated or renamed, or strangers added."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        known = places(document)
        if not known:
            break
        *above, key = draw(st.sampled_from(known))
        parent = document
        for step in above:
            parent = parent[step]
        how = draw(st.sampled_from(["replace", "delete", "rename", "add", "another's"]))
        if how == "replace":
            parent[key] = copy.deepcopy(draw(REPLACEMENTS))
        elif how == "delete":
            del parent[key]
        elif how == "another's":
            value = document
            for step in draw(st.sampled_from(known)):
                value = value[step]
            parent[key] = copy.deepcopy(value)
        elif isinstance(parent, dict):
            value = parent.pop(key) if how == "rename" else copy.deepcopy(draw(REPLACEMENTS))
            parent[draw(TEXTS)] = value
        else:
            parent.append(copy.deepcopy(draw(REPLACEMENTS)))
    return document


@st.composite
def broken(draw: st.DrawFn, content: bytes) -> bytes:
    """A file's bytes cut off, with some flipped, some left out or some put in."""
    content = bytes(content)
    how = draw(st.sampled_from(["cut", "flip", "drop", "insert", "swap"]))
    place = draw(st.integers(0, max(0, len(content) - 1)))
    if how == "cut":
        return content[:place]
    if how == "flip":
        changed = bytearray(content)
        for offset in draw(st.lists(st.integers(0, max(0, len(content) - 1)), min_size=1, max_size=8)):
            if offset < len(changed):
                changed[offset] = draw(st.integers(0, 255))
        return bytes(changed)
    length = draw(st.integers(1, 64))
    if how == "drop":
        return content[:place] + content[place + length :]
    if how == "insert":
        return content[:place] + draw(st.binary(min_size=1, max_size=64)) + content[place:]
    return content[place:] + content[:place]
