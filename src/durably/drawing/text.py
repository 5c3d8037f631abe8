"""Words for pictures: what a program or a database holds, made harmless and short."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

__all__ = ["between", "cut", "duration", "many", "printable"]

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


def printable(text: str) -> str:
    """A text without characters that cannot be seen, that break lines, or that turn the direction of writing.

    >>> printable("two\\nlines, \\u202enrut")
    'two\\\\nlines, \\\\u202enrut'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def cut(text: str, most: int) -> str:
    """The beginning of a text, in at most so many printable characters.

    >>> cut("a long story", 6)
    'a lon…'
    """
    text = printable(text[: most + 1])
    return text if len(text) <= most else f"{text[: most - 1]}…"


def many(count: int) -> str:
    """How often something was done; empty for once.

    >>> many(1), many(12000)
    ('', ' ×12,000')
    """
    return f" ×{count:,}" if count > 1 else ""


def duration(seconds: float) -> str:
    """A stretch of time, to two or three digits.

    >>> [duration(s) for s in (0, 0.0000123, 0.0456, 7.891, 83, 7380, 200000)]
    ['0 s', '12 µs', '46 ms', '7.9 s', '1 min 23 s', '2 h 3 min', '2 d 8 h']
    """
    if seconds < MINUTE:
        return _below_a_minute(seconds)
    for unit, name, lower, lower_name in (
        (DAY, "d", HOUR, "h"),
        (HOUR, "h", MINUTE, "min"),
        (MINUTE, "min", 1, "s"),
    ):
        if seconds >= unit:
            whole, rest = divmod(round(seconds / lower), unit // lower)
            return f"{whole} {name} {rest} {lower_name}" if rest else f"{whole} {name}"
    raise AssertionError


def between(seconds: Collection[float]) -> str:
    """From the shortest to the longest time.

    >>> between([0.5, 0.2, 0.3]), between([2.0, 0.5]), between([2.0]), between([])
    ('200 – 500 ms', '500 ms – 2 s', '2 s', '')
    """
    if not seconds:
        return ""
    shortest, longest = duration(min(seconds)), duration(max(seconds))
    if shortest == longest:
        return longest
    number, _, unit = shortest.rpartition(" ")
    return f"{number if longest.rpartition(' ')[2] == unit and ' ' not in number else shortest} – {longest}"


def _below_a_minute(seconds: float) -> str:
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            value = seconds / unit
            return f"{value:.0f} {name}" if value >= 10 else f"{value:.1f}".removesuffix(".0") + f" {name}"
    return "0 s"
