"""Namespaces and keys: what is a good one, and which match a condition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import ConfigError
from .ops import ListNamespacesOp, MatchCondition

__all__ = [
    "check_text",
    "checked_count",
    "checked_key",
    "checked_namespace",
    "checked_prefix",
    "joined",
    "listing",
    "matches",
]

RESERVED = frozenset({"langgraph", "durably"})


def checked_namespace(namespace: Any) -> tuple[str, ...]:
    """Return the namespace of an item as a tuple.

    Raises:
        ConfigError: if it is empty or reserved, or a label is empty, holds a dot or is not text.
    """
    labels = checked_prefix(namespace)
    if not labels:
        raise ConfigError("the namespace is empty; give at least one label, such as ('users', 'ada')")
    if labels[0] in RESERVED:
        raise ConfigError(f"the namespace {labels!r} begins with the reserved {labels[0]!r}; use another root")
    return labels


def checked_prefix(prefix: Any) -> tuple[str, ...]:
    """Return a namespace prefix as a tuple; it may be empty.

    Raises:
        ConfigError: if it is not a tuple of good labels.
    """
    if not isinstance(prefix, (tuple, list)):
        raise ConfigError(f"{prefix!r} is not a namespace; give a tuple of labels, such as ('users', 'ada')")
    for label in prefix:
        check_text(label, f"a label of the namespace {prefix!r}")
        if "." in label:
            raise ConfigError(f"the label {label!r} of the namespace {prefix!r} holds a dot; labels cannot")
    return tuple(prefix)


def checked_key(key: Any) -> str:
    """Return the key of an item.

    Raises:
        ConfigError: if it is empty or not text that every database can keep.
    """
    check_text(key, "the key of an item")
    return str(key)


def check_text(text: Any, what: str) -> None:
    """Refuse what is not text that every database can keep."""
    if not isinstance(text, str) or not text:
        raise ConfigError(f"{what} is {text!r}; it must be a non-empty string")
    if "\x00" in text or not encodable(text):
        raise ConfigError(f"{what} is {text!r}; NUL and lone surrogates cannot be stored there")


def encodable(text: str) -> bool:
    """Return whether the text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_count(value: Any, what: str) -> int:
    """Return a limit, an offset or a depth.

    Raises:
        ConfigError: if it is not a whole number from 0.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{what} is {value!r}; give a whole number from 0")
    return value


def joined(namespace: Sequence[str]) -> str:
    """Return a namespace as one text; labels hold no dots."""
    return ".".join(namespace)


def matches(namespace: Sequence[str], condition: MatchCondition) -> bool:
    """Return whether a namespace begins or ends with the condition's path.

    >>> matches(("users", "ada", "notes"), MatchCondition("prefix", ("users", "*")))
    True
    >>> matches(("users", "ada", "notes"), MatchCondition("suffix", ("ada",)))
    False
    """
    size = len(condition.path)
    if size > len(namespace):
        return False
    part = namespace[:size] if condition.match_type == "prefix" else namespace[len(namespace) - size :]
    return all(wanted in ("*", label) for wanted, label in zip(condition.path, part, strict=True))


def listing(namespaces: Iterable[tuple[str, ...]], op: ListNamespacesOp) -> list[tuple[str, ...]]:
    """Return the page of namespaces that an operation asks for: matched, cut to its depth, sorted."""
    conditions = op.match_conditions or ()
    found = {
        namespace[: op.max_depth]
        for namespace in namespaces
        if all(matches(namespace, condition) for condition in conditions)
    }
    return sorted(found)[op.offset : op.offset + op.limit]
