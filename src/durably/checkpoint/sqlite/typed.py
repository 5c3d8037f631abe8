"""Rows as they have to be. SQLite lets any column hold any type, and somebody may have changed the file by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import UnionType
from typing import Any, Generic, TypeVar, get_args

import msgspec

from ...errors import DecodeError

__all__ = ["Typed", "bytes_of"]

CHANGED = "the database is damaged, or was changed by something other than durably"

R = TypeVar("R", bound=msgspec.Struct)


class Typed(Generic[R]):
    """Makes rows of one kind, whose columns have the types that its fields name.

    Args:
        kind: the class of the rows.
        table: what errors call it.
    """

    def __init__(self, kind: Callable[..., R], table: str) -> None:
        fields = msgspec.structs.fields(kind)  # type: ignore[arg-type]
        self._kind = kind
        self._table = table
        self._names = [field.encode_name for field in fields]
        self._allowed = [_types(field.type) for field in fields]
        self._known: set[tuple[type, ...]] = set()  # few: only what may be null differs

    def __call__(self, columns: Sequence[Any]) -> R:
        """A row.

        Raises:
            DecodeError: a column is missing, or of another type.
        """
        shape = tuple(map(type, columns))
        if shape not in self._known:
            self._check(shape)
            self._known.add(shape)
        return self._kind(*columns)

    def _check(self, shape: tuple[type, ...]) -> None:
        if len(shape) != len(self._names):
            raise DecodeError(
                f"the table {self._table} has {len(shape)} columns instead of {len(self._names)}: {CHANGED}"
            )
        for name, found, allowed in zip(self._names, shape, self._allowed, strict=True):
            if found not in allowed:
                raise DecodeError(f"{self._table}.{name} holds a value of type {found.__name__}: {CHANGED}")


def bytes_of(data: Any, column: str) -> bytes:
    """The value of a column that holds bytes.

    Raises:
        DecodeError: it holds something else.
    """
    if type(data) is not bytes:
        raise DecodeError(f"{column} holds a value of type {type(data).__name__}: {CHANGED}")
    return data


def _types(annotation: Any) -> set[type]:
    """The exact types of the values that an annotation allows."""
    if isinstance(annotation, type):
        return {annotation}
    if isinstance(annotation, UnionType):
        return set[type]().union(*map(_types, get_args(annotation)))
    return {type(value) for value in get_args(annotation)}  # a Literal
