"""Paths such as ``"profile.languages[*].name"``: which texts of a value are embedded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

from ..errors import ConfigError

__all__ = ["checked_paths", "texts"]

Step = str | int | tuple[str, ...]
"""A field's name, a position in a list, or several names; ``"*"`` is every element."""

STEP = re.compile(
    r"""
      \[(?P<index>-?\d{1,9}|\*)\]
    | (?P<dot>\.|^)(?: \{(?P<names>[^\[\]{}.]+)\} | (?P<name>[^\[\]{}.]+) )
    """,
    re.VERBOSE,
)


def checked_paths(paths: Any, what: str) -> tuple[str, ...]:
    """Return the paths as a tuple.

    Raises:
        ConfigError: if it is not a list of paths that can be read.
    """
    if isinstance(paths, str) or not isinstance(paths, (list, tuple)):
        raise ConfigError(f"{what} is {paths!r}; give a list of paths, such as ['text', 'tags[*]']")
    for path in paths:
        steps(path)
    return tuple(paths)


@lru_cache(maxsize=512)
def steps(path: str) -> tuple[Step, ...]:
    """Return the steps of a path; ``"$"`` has none and means the whole value.

    Raises:
        ConfigError: if the path cannot be read.

    >>> steps("profile.tags[*].{name,label}")
    ('profile', 'tags', '*', ('name', 'label'))
    """
    if not isinstance(path, str) or not path or len(path) > 1000:
        raise ConfigError(f"{path!r} is not a path; write one such as 'profile.tags[*].name', or '$' for all")
    if path == "$":
        return ()
    found: list[Step] = []
    at = 0
    while at < len(path):
        match = STEP.match(path, at)
        if match is None or (match["dot"] == "" and at > 0) or (match["dot"] == "." and at == 0):
            raise ConfigError(f"the path {path!r} cannot be read from character {at + 1} on: {path[at:]!r}")
        found.append(step(match))
        at = match.end()
    return tuple(found)


def step(match: re.Match[str]) -> Step:
    """Return the step that one match spells."""
    index, names = match["index"], match["names"]
    if index is not None:
        return "*" if index == "*" else int(index)
    if names is not None:
        return tuple(name.strip() for name in names.split(","))
    return match["name"]


def texts(document: Any, paths: Iterable[str]) -> list[str]:
    """Return the texts found at the paths of a document of the JSON kind, each once, in order.

    >>> texts({"title": "Tea", "tags": [{"name": "hot"}, {"name": "green"}]}, ["title", "tags[*].name"])
    ['Tea', 'hot', 'green']
    """
    found = (text(leaf) for path in paths for leaf in leaves(document, steps(path)))
    return list(dict.fromkeys(one for one in found if one))


def leaves(value: Any, way: tuple[Step, ...]) -> Iterator[Any]:
    """Yield what the steps lead to; what is not there yields nothing."""
    if not way:
        yield value
        return
    first, rest = way[0], way[1:]
    for inner in children(value, first):
        yield from leaves(inner, rest)


def children(value: Any, step: Step) -> Iterator[Any]:
    """Yield the elements or fields of a value that one step names."""
    if isinstance(value, list):
        if step == "*":
            yield from value
        elif isinstance(step, int) and -len(value) <= step < len(value):
            yield value[step]
    elif isinstance(value, dict):
        names = step if isinstance(step, tuple) else value if step == "*" else (step,)
        for name in names:
            if name in value:
                yield value[name]


def text(leaf: Any) -> str:
    """Return what of a leaf is embedded: text as it is, anything else as JSON; None and blanks not at all."""
    if leaf is None:
        return ""
    if isinstance(leaf, str):
        return leaf if leaf.strip() else ""
    return msgspec.json.encode(leaf, order="sorted").decode()
