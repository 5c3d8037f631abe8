"""Operations, checked and prepared before anything is locked or written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..serde import EncryptedSerializer
from .embed import Embedder, Texts
from .filters import Predicate, parse
from .names import checked_count, checked_key, checked_namespace, checked_prefix
from .ops import GetOp, ListNamespacesOp, MatchCondition, PutOp, SearchOp
from .paths import checked_paths, texts
from .project import project

if TYPE_CHECKING:
    from ..serde.base import Serializer

__all__ = ["Delete", "Find", "Get", "List", "Planned", "Put", "place", "plan", "to_embed"]

Namespace = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Get:
    """Read one item."""

    namespace: Namespace
    key: str
    refresh: bool


@dataclass(frozen=True, slots=True)
class Find:
    """Search: ``query`` is None where there is nothing to search by meaning with."""

    prefix: Namespace
    predicate: Predicate | None
    query: str | None
    limit: int
    offset: int
    refresh: bool


@dataclass(frozen=True, slots=True)
class Put:
    """Write one item; ``data`` is the encoded value, ``texts`` are what it is found by, ``ttl`` is in seconds."""

    namespace: Namespace
    key: str
    value: dict[str, Any]
    data: bytes
    texts: tuple[str, ...]
    ttl: float | None
    once_key: str | None


@dataclass(frozen=True, slots=True)
class Delete:
    """Forget one item."""

    namespace: Namespace
    key: str
    once_key: str | None


@dataclass(frozen=True, slots=True)
class List:
    """List namespaces."""

    op: ListNamespacesOp


Planned = Get | Find | Put | Delete | List


def plan(ops: Iterable[Any], serde: Serializer, embedder: Embedder | None) -> list[Planned]:
    """Check the operations and encode their values.

    Raises:
        ConfigError: if one of them cannot be.
        EncodeError: if a value cannot be stored.
    """
    return [planned(op, serde, embedder) for op in ops]


def planned(op: Any, serde: Serializer, embedder: Embedder | None) -> Planned:
    """Check one operation."""
    if isinstance(op, GetOp):
        return Get(checked_namespace(op.namespace), checked_key(op.key), op.refresh_ttl)
    if isinstance(op, SearchOp):
        return planned_search(op, serde, searchable=embedder is not None)
    if isinstance(op, PutOp):
        return planned_put(op, serde, embedder)
    if isinstance(op, ListNamespacesOp):
        return List(checked_listing(op))
    raise ConfigError(f"{op!r} is not an operation of a store; give GetOp, PutOp, SearchOp or ListNamespacesOp")


def planned_search(op: SearchOp, serde: Serializer, *, searchable: bool) -> Find:
    """Check a search."""
    if op.filter and isinstance(serde, EncryptedSerializer):
        raise ConfigError(
            "the store's values are encrypted, so it cannot be searched with a filter: "
            "put what you search by into the namespace or the key"
        )
    if op.query is not None and not isinstance(op.query, str):
        raise ConfigError(f"the query is {op.query!r}; give a text")
    query = op.query if searchable and op.query and op.query.strip() else None
    return Find(
        checked_prefix(op.namespace_prefix),
        parse(op.filter) if op.filter else None,
        query,
        checked_count(op.limit, "limit"),
        checked_count(op.offset, "offset"),
        op.refresh_ttl,
    )


def planned_put(op: PutOp, serde: Serializer, embedder: Embedder | None) -> Put | Delete:
    """Check and encode a write."""
    namespace, key = checked_namespace(op.namespace), checked_key(op.key)
    once_key = None if op.once_key is None else once_name(op.once_key, namespace, key)
    if op.value is None:
        return Delete(namespace, key, once_key)
    if not isinstance(op.value, dict):
        raise ConfigError(f"the value for {key!r} is a {type(op.value).__name__}; a store keeps dicts")
    found = indexed_texts(op, embedder)
    data = serde.dumps(op.value, place(namespace, key))
    return Put(namespace, key, op.value, data, found, seconds(op.ttl), once_key)


def indexed_texts(op: PutOp, embedder: Embedder | None) -> tuple[str, ...]:
    """Return the texts by which an item is found."""
    if op.index is None or op.index is False:
        paths = embedder.fields if embedder is not None and op.index is None else ()
    else:
        paths = checked_paths(op.index, "index")
    return tuple(texts(project(op.value), paths)) if embedder is not None and paths else ()


def seconds(minutes: Any) -> float | None:
    """Return a ttl in seconds."""
    if minutes is None:
        return None
    number = isinstance(minutes, (int, float)) and not isinstance(minutes, bool)
    if not number or not isfinite(minutes) or minutes <= 0:
        raise ConfigError(f"ttl is {minutes!r}; give a positive number of minutes, or None to keep the item")
    return float(minutes) * 60


def once_name(once_key: str, namespace: Namespace, key: str) -> str:
    """Return the name of a write that is made once: of this call, to this item."""
    return "\x1f".join((checked_key(once_key), ".".join(namespace), key))


def place(namespace: Namespace, key: str) -> bytes:
    """Return where a value is kept, which an encrypting serializer binds to it."""
    return b"\x1f".join([b"store", ".".join(namespace).encode(), key.encode()])


def checked_listing(op: ListNamespacesOp) -> ListNamespacesOp:
    """Check a listing."""
    conditions = []
    for match_type, path in op.match_conditions or ():
        if match_type not in ("prefix", "suffix"):
            raise ConfigError(f"the match type is {match_type!r}; it is 'prefix' or 'suffix'")
        conditions.append(MatchCondition(match_type, checked_prefix(path)))
    depth = None if op.max_depth is None else checked_count(op.max_depth, "max_depth")
    if depth == 0:
        raise ConfigError("max_depth is 0; give at least 1, or None for whole namespaces")
    limit, offset = checked_count(op.limit, "limit"), checked_count(op.offset, "offset")
    return ListNamespacesOp(tuple(conditions), depth, limit, offset)


def to_embed(plans: Iterable[Planned]) -> Texts:
    """Return the texts that must be embedded before the operations can be carried out."""
    documents: dict[str, None] = {}
    queries: dict[str, None] = {}
    for one in plans:
        if isinstance(one, Put):
            documents.update(dict.fromkeys(one.texts))
        elif isinstance(one, Find) and one.query is not None:
            queries[one.query] = None
    return Texts(tuple(documents), tuple(queries))
