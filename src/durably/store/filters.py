"""Filters: parsed and checked once into a tree of predicates, which every backend evaluates or translates.

A predicate compares the JSON kind of values (None, bool, int, float, str, list, dict), see `project`.
Nothing of a filter ever becomes part of a statement: a backend that translates the tree binds names and
operands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ConfigError
from .project import project

__all__ = [
    "MISSING",
    "All",
    "AnyOf",
    "Equal",
    "Exists",
    "Field",
    "IsObject",
    "Not",
    "OneOf",
    "Ordered",
    "Predicate",
    "holds",
    "parse",
]

MISSING: Any = type("Missing", (), {"__slots__": (), "__repr__": lambda _: "MISSING"})()
"""Stands for a field that is not there."""

DEPTH = 50
"""How deep a filter may be nested."""

Order = Literal["$gt", "$gte", "$lt", "$lte"]
Part = Callable[[Any, int], "Predicate"]


@dataclass(frozen=True, slots=True)
class Equal:
    """The value is this one, exactly: 1 is 1.0, True is not 1."""

    operand: Any


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value equals one of these."""

    operands: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Ordered:
    """The value is of the operand's kind, a number or a text, and lies on this side of it."""

    order: Order
    operand: float | str


@dataclass(frozen=True, slots=True)
class Exists:
    """The field is there, None included; or it is not."""

    wanted: bool


@dataclass(frozen=True, slots=True)
class IsObject:
    """The value is a dict."""


@dataclass(frozen=True, slots=True)
class Field:
    """The predicate holds for this field; it is MISSING where there is none, or the value is no dict."""

    name: str
    of: Predicate


@dataclass(frozen=True, slots=True)
class Not:
    """The predicate does not hold."""

    of: Predicate


@dataclass(frozen=True, slots=True)
class All:
    """Every predicate holds."""

    of: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one predicate holds."""

    of: tuple[Predicate, ...]


Predicate = Equal | OneOf | Ordered | Exists | IsObject | Field | Not | All | AnyOf


def parse(filter: Any) -> Predicate:
    """Return the predicate that a filter describes.

    Args:
        filter: field names with the value they must have, or with operators: ``$eq $ne $gt $gte $lt $lte $in
            $nin $exists``. A dict of further names looks into a nested dict. ``$and`` and ``$or`` take a list
            of filters.

    Raises:
        ConfigError: if a name, an operator or an operand cannot be.

    >>> holds(parse({"age": {"$gte": 18}, "home": {"city": "Riga"}}), {"age": 36, "home": {"city": "Riga"}})
    True
    """
    if not isinstance(filter, Mapping):
        raise ConfigError(f"the filter is {filter!r}; give a dict such as {{'kind': 'note'}}")
    try:
        return document(filter, 0)
    except RecursionError:
        raise ConfigError("the filter compares with a value that is nested too deep") from None


def document(filter: Mapping[Any, Any], depth: int) -> Predicate:
    """Return the predicate of a whole filter, which is about a document and not about one of its fields."""
    for name in filter:
        if isinstance(name, str) and name.startswith("$") and name not in ("$and", "$or"):
            raise ConfigError(f"{name!r} stands at the top of a filter; write it under a field's name")
    return all_of([entry(name, value, depth, document) for name, value in filter.items()])


def entry(name: Any, value: Any, depth: int, part: Part) -> Predicate:
    """Return the predicate of one entry of a dict; `part` reads the filters of an ``$and`` or ``$or``."""
    if depth > DEPTH:
        raise ConfigError(f"the filter is nested deeper than {DEPTH} levels")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"the filter has the field name {name!r}; names are non-empty strings")
    if name in ("$and", "$or"):
        return branches(name, value, depth + 1, part)
    if name.startswith("$"):
        return operator(name, value)
    return Field(name, condition(value, depth + 1))


def condition(value: Any, depth: int) -> Predicate:
    """Return what a field must satisfy: a plain value, operators, or the filter of a nested dict."""
    if not isinstance(value, Mapping):
        return Equal(project(value))
    parts = [entry(name, inner, depth, condition) for name, inner in value.items()]
    names = sum(isinstance(part, Field) for part in parts)
    if 0 < names < len(parts):
        raise ConfigError(f"the filter mixes operators and field names in {dict(value)!r}; join them with $and")
    return All((IsObject(), *parts)) if names == len(parts) else all_of(parts)


def branches(name: str, value: Any, depth: int, part: Part) -> Predicate:
    """Return the predicate of ``$and`` or ``$or``."""
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(v, Mapping) for v in value):
        raise ConfigError(f"{name} takes a non-empty list of filters, not {value!r}")
    parts = tuple(part(one, depth) for one in value)
    return All(parts) if name == "$and" else AnyOf(parts)


def operator(name: str, value: Any) -> Predicate:
    """Return the predicate of one comparison."""
    match name:
        case "$eq":
            return Equal(project(value))
        case "$ne":
            return Not(Equal(project(value)))
        case "$in":
            return OneOf(operands(name, value))
        case "$nin":
            return Not(OneOf(operands(name, value)))
        case "$exists":
            if not isinstance(value, bool):
                raise ConfigError(f"$exists takes True or False, not {value!r}")
            return Exists(value)
        case "$gt" | "$gte" | "$lt" | "$lte":
            return Ordered(name, ordered_operand(name, value))
    raise ConfigError(f"{name!r} is not an operator; there are $eq $ne $gt $gte $lt $lte $in $nin $exists $and $or")


def operands(name: str, value: Any) -> tuple[Any, ...]:
    """Return the values of ``$in`` or ``$nin``."""
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise ConfigError(f"{name} takes a list of values, not {value!r}")
    return tuple(project(one) for one in value)


def ordered_operand(name: str, value: Any) -> float | str:
    """Return a value that has an order."""
    plain = project(value)
    if isinstance(plain, bool) or not isinstance(plain, (int, float, str)):
        raise ConfigError(f"{name} compares numbers, texts and dates, not {value!r}")
    return plain


def all_of(parts: list[Predicate]) -> Predicate:
    """Return the conjunction, which is the part itself when there is one."""
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def holds(predicate: Predicate, value: Any) -> bool:
    """Return whether the predicate holds for a value, or for `MISSING`."""
    match predicate:
        case Field(name, of):
            return holds(of, field(value, name))
        case Equal(operand):
            return same(project(value), operand)
        case OneOf(operands):
            plain = project(value)
            return any(same(plain, one) for one in operands)
        case Ordered(order, operand):
            return in_order(order, project(value), operand)
        case Exists(wanted):
            return (value is not MISSING) is wanted
        case IsObject():
            return value is not MISSING and isinstance(project(value), dict)
        case Not(of):
            return not holds(of, value)
        case All(parts):
            return all(holds(part, value) for part in parts)
        case AnyOf(parts):
            return any(holds(part, value) for part in parts)


def field(value: Any, name: str) -> Any:
    """Return one field of a dict or a record, `MISSING` when it has none of this name."""
    if isinstance(value, dict):
        return value.get(name, MISSING)
    if value is None or value is MISSING or isinstance(value, (str, int, float, list, tuple)):
        return project(value).get(name, MISSING) if hasattr(value, "_fields") else MISSING
    plain = project(value)
    return plain.get(name, MISSING) if isinstance(plain, dict) else MISSING


def same(left: Any, right: Any) -> bool:
    """Return whether two JSON values are equal, where a bool is no number."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    return bool(left == right)


def in_order(order: Order, value: Any, operand: float | str) -> bool:
    """Return whether the value is comparable with the operand and lies on the side asked for."""
    if isinstance(operand, str) is not isinstance(value, str) or isinstance(value, bool):
        return False
    if not isinstance(value, (int, float, str)):
        return False
    left: Any = value
    if order == "$gt":
        return bool(left > operand)
    if order == "$gte":
        return bool(left >= operand)
    return bool(left < operand) if order == "$lt" else bool(left <= operand)
