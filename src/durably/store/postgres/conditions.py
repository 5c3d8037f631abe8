"""Filters as conditions on jsonb. Only their structure becomes SQL; every name and operand is bound."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ...errors import ConfigError
from ..filters import All, AnyOf, Equal, Exists, Field, IsObject, Not, OneOf, Ordered, Predicate
from ..project import clean, project

__all__ = ["Condition", "document"]

MOST_BOUND: Final = 10_000
"""Values that a filter may bind; the protocol has room for 65,535 in a statement."""

ORDERS: Final = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def document(value: Mapping[Any, Any]) -> str:
    """Return what filters see of a value, as JSON that PostgreSQL keeps exactly."""
    return as_json(project(value))


def as_json(plain: Any) -> str:
    """Return a value of the JSON kind as the text of a jsonb value."""
    return json.dumps(exact(plain), ensure_ascii=False, allow_nan=False)


def exact(plain: Any) -> Any:
    """Return the value in the form in which jsonb compares it as this library does.

    jsonb keeps numbers as decimals. The shortest decimal of a float is in the order of the floats, but that of a large
    whole one is not the integer that it equals; so whole ones are written as integers.
    """
    if isinstance(plain, str):
        return escaped(plain)
    if isinstance(plain, float):
        return int(plain) if plain.is_integer() else plain
    if isinstance(plain, list):
        return [exact(one) for one in plain]
    if isinstance(plain, dict):
        return {escaped(name): exact(inner) for name, inner in plain.items()}
    return plain


def escaped(text: str) -> str:
    """Return the text without NUL, which PostgreSQL does not keep; different texts stay so, and in their order.

    >>> escaped("a\\0b") < escaped("a\\1b") < escaped("a\\2b")
    True
    """
    return text.translate(ESCAPES) if "\0" in text or "\1" in text else text


ESCAPES: Final = {0: "\1\1", 1: "\1\2"}


class Condition:
    """A filter as a condition on the column ``doc``.

    Args:
        predicate: the filter, None for one that everything satisfies.

    Raises:
        ConfigError: it is too large for a statement.

    >>> condition = Condition(Field("kind", Exists(True)))
    >>> condition.sql, condition.bound
    ('(doc -> %(f0)s::text) is not null', {'f0': 'kind'})
    """

    def __init__(self, predicate: Predicate | None) -> None:
        self.bound: dict[str, Any] = {}
        self.sql = "true" if predicate is None else self._holds(predicate, "doc")

    def _bind(self, value: Any) -> str:
        if len(self.bound) == MOST_BOUND:
            raise ConfigError(f"the filter has more than {MOST_BOUND} names and values; use $in, or a smaller one")
        name = f"f{len(self.bound)}"
        self.bound[name] = value
        return f"%({name})s"

    def _holds(self, predicate: Predicate, at: str) -> str:
        """The condition on the value at ``at``, an expression that is null where nothing is. It is never null itself."""
        match predicate:
            case Field(name, of):
                return self._holds(of, f"({at} -> {self._bind(escaped(clean(name)))}::text)")
            case Equal(operand):
                return f"coalesce({at} = {self._bind(as_json(operand))}::jsonb, false)"
            case OneOf(operands):
                values = self._bind([as_json(one) for one in operands])
                return f"coalesce({at} = any({values}::text[]::jsonb[]), false)"
            case Ordered():
                return self._ordered(predicate, at)
            case Exists(wanted):
                return f"{at} is {'not ' if wanted else ''}null"
            case IsObject():
                return f"coalesce(jsonb_typeof({at}) = 'object', false)"
            case Not(of):
                return f"not {self._holds(of, at)}"
            case All(parts):
                return self._joined(parts, at, " and ", "true")
            case AnyOf(parts):
                return self._joined(parts, at, " or ", "false")

    def _joined(self, parts: tuple[Predicate, ...], at: str, word: str, empty: str) -> str:
        return f"({word.join(self._holds(part, at) for part in parts)})" if parts else empty

    def _ordered(self, predicate: Ordered, at: str) -> str:
        order, operand = ORDERS[predicate.order], predicate.operand
        if isinstance(operand, str):
            # By code points, as Python compares; jsonb compares texts by the collation of the database.
            text = f"""({at} #>> '{{}}') collate "C" {order} {self._bind(escaped(operand))}::text"""
            return f"coalesce(jsonb_typeof({at}) = 'string' and {text}, false)"
        return f"coalesce(jsonb_typeof({at}) = 'number' and {at} {order} {self._bind(as_json(operand))}::jsonb, false)"
