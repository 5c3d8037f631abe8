"""Statements about rows, and several of them as the parts of one.

A statement costs about as much as the rows it writes, in this process and on the server. So what is written together is one
statement where that does the same, and a statement by itself is its own transaction: no ``begin``, no ``commit``, and nothing
that is locked while the server waits for a client.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from ..._postgres import Blobs

__all__ = ["Form", "Part", "Statement", "joined", "numbers"]

AMONG: Final = re.compile(r"AMONG (\S+)")
SPECIAL: Final = re.compile(r'["\\]')

Statement: TypeAlias = tuple[str, tuple[Any, ...]]
"""What is sent, and its parameters."""


class Form:
    """A statement about rows.

    One row has a parameter for each of its columns, several have an array for each. The server keeps its plan for the first
    kind of statement, and makes a new one each time for the second, because it depends on how many rows there are.

    Args:
        template: the statement. In it ``ROWS`` stands for the rows, which it calls ``w``, and behind that ``AMONG t.no`` for
            "and `t.no` is one of the first columns", by which the server finds several rows in an index.
        columns: their names and types.
    """

    __slots__ = ("_has_among", "_kinds", "_numbers", "one", "several")

    def __init__(self, template: str, columns: dict[str, str]) -> None:
        names, self._kinds = ", ".join(columns), tuple(columns.values())
        values = ", ".join(f"%s::{kind}" for kind in self._kinds)
        arrays = ", ".join(f"%s::{kind}[]" for kind in self._kinds)
        one, several = AMONG.sub("", template), AMONG.sub(rf"and \1 = any(%s::{self._kinds[0]}[])", template)
        self._numbers = [place for place, kind in enumerate(self._kinds) if kind == "bigint"]
        self._has_among = one != several
        self.one = one.replace("ROWS", f"(values ({values})) w ({names})")
        self.several = several.replace("ROWS", f"unnest({arrays}) w ({names})")

    def of(self, rows: Sequence[Sequence[Any]]) -> Statement:
        """The statement about these rows."""
        if len(rows) == 1:
            values = list(rows[0])
            for place in self._numbers:  # whose types would depend on how many digits they have
                if values[place] is not None:
                    values[place] = str(values[place])
            return self.one, tuple(values)
        columns = zip(self._kinds, zip(*rows, strict=True), strict=True)
        bound = [ARRAYS[kind](column) for kind, column in columns]
        return self.several, (*bound, bound[0]) if self._has_among else tuple(bound)


def numbers(values: Iterable[float | None]) -> str:
    """An array of numbers as a parameter, always of the same type: the type is a part of what the server has prepared."""
    return "{" + ",".join(["null" if value is None else str(value) for value in values]) + "}"


def texts(values: Sequence[str]) -> str:
    """An array of texts as a parameter."""
    joined = '","'.join(values)
    if "\\" in joined or joined.count('"') != 2 * (len(values) - 1):
        joined = '","'.join([SPECIAL.sub(r"\\\g<0>", value) for value in values])
    return '{"' + joined + '"}'


ARRAYS: Final[dict[str, Callable[[Sequence[Any]], Any]]] = {
    "bigint": numbers,
    "double precision": numbers,
    "text": texts,
    "bytea": Blobs,
}


class Part(NamedTuple):
    """What a statement does beside others.

    Args:
        name: what it is called among them.
        sql: the statement that it would be by itself.
        bound: the parameters.
        answer: what is asked of it, by its name. A part that only reads, or fails, does so when it is asked.
        apart: whether it has to see what those before it have done, or those after it what it does.
    """

    name: str
    sql: str
    bound: tuple[Any, ...] = ()
    answer: str = ""
    apart: bool = False


def joined(parts: Iterable[Part]) -> Iterator[Statement]:
    """The fewest statements that do what the parts do, in this order.

    The parts of one statement see the same state of the database, and take effect in no order. So no two may write the same
    row, and none may rely on more of what another one does than that it waits for the same locks.
    """
    together: list[Part] = []
    for part in parts:
        if part.apart and together:
            yield _one(together)
            together = []
        if part.apart:
            yield part.sql, part.bound
        else:
            together.append(part)
    if together:
        yield _one(together)


def _one(parts: list[Part]) -> Statement:
    bound = tuple([value for part in parts for value in part.bound])
    return _text(tuple([(part.name, part.sql, part.answer) for part in parts])), bound


@lru_cache(maxsize=1024)
def _text(parts: tuple[tuple[str, str, str], ...]) -> str:
    answers = ", ".join([answer for *_, answer in parts if answer])
    if len(parts) == 1 and not answers:
        return parts[0][1]
    return f"with {', '.join([f'{name} as ({sql})' for name, sql, _ in parts])} select {answers or '1'}"
