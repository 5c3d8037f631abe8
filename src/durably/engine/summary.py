"""Arguments in a few words, for people who look at a run. Runs none of the arguments' code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

__all__ = ["summary_of"]

MOST_CHARACTERS: Final = 120
MOST_OF_A_STRING: Final = 32
SHOWN: Final = frozenset((bool, float, type(None)))
SIZED: Final = frozenset((bytes, bytearray, dict, frozenset, list, set, tuple))


def summary_of(arguments: Sequence[Any]) -> str:
    """What a call was given: small values as they are, larger ones by type and size.

    >>> summary_of(("rivers", 3, [1, 2], None))
    "'rivers', 3, list of 2, None"
    >>> summary_of(("a very long text that goes on and on and on", object()))
    "'a very long text that goes on an'..., object"
    """
    text = _word(arguments[0]) if len(arguments) == 1 else ", ".join(map(_word, arguments))
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."


def _word(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return repr(value) if len(value) <= MOST_OF_A_STRING else f"{value[:MOST_OF_A_STRING]!r}..."
    if kind in SHOWN or (kind is int and value.bit_length() <= 64):
        return repr(value)
    if kind in SIZED:
        return f"{kind.__name__} of {len(value)}"
    name: str = type.__getattribute__(kind, "__name__")
    return name
