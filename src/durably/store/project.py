"""The JSON kind of a value: what filters compare and what texts are taken from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from math import isfinite
from pathlib import PurePath
from typing import Any
from uuid import UUID

__all__ = ["clean", "project"]

WIDEST = 2**63
"""Integers from here on are compared as floats: no database keeps them as integers."""


def project(value: Any) -> Any:
    """Return the JSON kind of a value: None, bool, int, float, str, list or dict.

    Sequences and sets become lists, records become dicts of their fields, dates become ISO text (in UTC when
    they have a zone, so that text order is time order), other numbers become floats. What has no such kind
    becomes a dict that describes it.

    >>> from datetime import date
    >>> project({"on": date(2024, 5, 17), "tags": ("a", "b")})
    {'on': '2024-05-17', 'tags': ['a', 'b']}
    """
    if value is None or isinstance(value, bool):
        return value
    if type(value) is str:
        return clean(value)
    if type(value) is int or type(value) is float:
        return as_number(value)
    if isinstance(value, Enum):
        return project(value.value)
    if (text := as_text(value)) is not None:
        return text
    if isinstance(value, (int, float, Decimal, Fraction)):
        return as_number(value)
    if isinstance(value, Mapping):
        return {clean(name): project(inner) for name, inner in value.items() if isinstance(name, str)}
    if isinstance(value, (list, tuple, set, frozenset, deque)) and not hasattr(value, "_fields"):
        return [project(inner) for inner in value]
    return {name: project(inner) for name, inner in members(value)}


def clean(text: str) -> str:
    """Return the text with lone surrogates spelled out, since JSON cannot hold them."""
    if text.isascii():
        return str(text)
    return text.encode("utf-8", "backslashreplace").decode()


def as_text(value: Any) -> str | None:
    """Return the text of a value that is best compared as one."""
    if isinstance(value, str):
        return clean(str.__str__(value))
    if isinstance(value, datetime):
        # Always six decimals, so that text order is time order.
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat(timespec="microseconds")
    if isinstance(value, (date, time)):
        return value.isoformat()
    return str(value) if isinstance(value, (UUID, PurePath)) else None


def as_number(value: float | Decimal | Fraction) -> Any:
    """Return a number as an int or a float; one that is neither, such as nan, as a dict that describes it."""
    if isinstance(value, int) and -WIDEST <= value < WIDEST:
        return int(value)
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return {"$number": str(value)}
    return number if isfinite(number) else {"$number": str(number)}


def members(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a record, whatever library declared it."""
    if isinstance(value, timedelta):
        yield "$timedelta", value.total_seconds()
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield field.name, getattr(value, field.name, None)
    elif (names := declared(type(value))) is not None:
        for name in names:
            yield name, getattr(value, name, None)
    else:
        yield "$type", f"{type(value).__module__}.{type(value).__qualname__}"


def declared(kind: type) -> tuple[str, ...] | None:
    """Return the field names of a pydantic model, msgspec struct, attrs class or named tuple."""
    for attribute in ("model_fields", "__struct_fields__", "_fields"):
        names = getattr(kind, attribute, None)
        if isinstance(names, (Mapping, tuple)):
            return tuple(names)
    described = getattr(kind, "__attrs_attrs__", None)
    return None if described is None else tuple(one.name for one in described)
