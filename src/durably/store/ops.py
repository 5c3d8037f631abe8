"""What a store is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypedDict

from ..serde import register

__all__ = [
    "NOT_PROVIDED",
    "Embed",
    "GetOp",
    "IndexConfig",
    "Item",
    "ListNamespacesOp",
    "MatchCondition",
    "NotProvided",
    "Op",
    "PutOp",
    "Result",
    "SearchItem",
    "SearchOp",
    "TTLConfig",
]

Embed = Callable[[Sequence[str]], Any]
"""Turns texts into vectors: returns one sequence of floats a text, or an awaitable of that."""


class NotProvided:
    """Tells an argument that was left out from None."""

    def __repr__(self) -> str:
        return "NOT_PROVIDED"


NOT_PROVIDED = NotProvided()


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One stored value and where it is kept.

    Args:
        namespace: the folder-like place, such as ``("users", "ada")``.
        key: the name within the namespace.
        value: the stored dict, a copy of the caller's own.
        created_at: when this key was first put, in UTC.
        updated_at: when it was last put, in UTC.
    """

    namespace: tuple[str, ...]
    key: str
    value: dict[str, Any]
    created_at: datetime
    updated_at: datetime

    def __hash__(self) -> int:
        return hash((self.namespace, self.key))

    def dict(self) -> dict[str, Any]:
        """Return the item as a plain dict, its times in ISO format."""
        return {
            "namespace": list(self.namespace),
            "key": self.key,
            "value": self.value,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
        }


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class SearchItem(Item):
    """An item that a search found; ``score`` is its cosine similarity to the query, None without a query."""

    score: float | None = None

    def __hash__(self) -> int:
        return hash((self.namespace, self.key))

    def dict(self) -> dict[str, Any]:
        """Return the item as a plain dict, its times in ISO format."""
        return {**Item.dict(self), "score": self.score}


class GetOp(NamedTuple):
    """Read one item; answered by an `Item` or None."""

    namespace: tuple[str, ...]
    key: str
    refresh_ttl: bool = True


class SearchOp(NamedTuple):
    """Find items under a namespace prefix; answered by a list of `SearchItem`."""

    namespace_prefix: tuple[str, ...]
    filter: dict[str, Any] | None = None
    limit: int = 10
    offset: int = 0
    query: str | None = None
    refresh_ttl: bool = True


class PutOp(NamedTuple):
    """Write one item, or delete it when the value is None; answered by None.

    ``ttl`` is in minutes, None for ever. ``once_key`` names the write: a second one with this name does
    nothing.
    """

    namespace: tuple[str, ...]
    key: str
    value: dict[str, Any] | None
    index: Literal[False] | list[str] | None = None  # type: ignore[assignment]
    ttl: float | None = None
    once_key: str | None = None


class MatchCondition(NamedTuple):
    """What a namespace must begin or end with; ``"*"`` in the path stands for any one label."""

    match_type: Literal["prefix", "suffix"]
    path: tuple[str, ...]


class ListNamespacesOp(NamedTuple):
    """List the namespaces that hold items; answered by a sorted list of tuples."""

    match_conditions: tuple[MatchCondition, ...] | None = None
    max_depth: int | None = None
    limit: int = 100
    offset: int = 0


Op = GetOp | SearchOp | PutOp | ListNamespacesOp
Result = Item | None | list[Item] | list[SearchItem] | list[tuple[str, ...]]


class IndexConfig(TypedDict, total=False):
    """How items are made searchable by meaning.

    ``dims`` is the length of a vector. ``embed`` turns texts into vectors: a function of a list of texts, an
    async one, or a LangChain ``Embeddings``. ``fields`` are the paths whose text is embedded, ``["$"]`` (the
    whole value) when left out.
    """

    dims: int
    embed: Any
    fields: list[str] | None


class TTLConfig(TypedDict, total=False):
    """How long items live.

    ``default_ttl`` is for a `put` that says nothing, in minutes, None for ever. ``refresh_on_read`` (True)
    starts an item's time anew when it is read. ``sweep_interval_minutes`` (5) is how often expired items are
    deleted. ``omit_expired`` (True) hides expired items that have not been deleted yet.
    """

    default_ttl: float | None
    refresh_on_read: bool
    sweep_interval_minutes: float | None
    omit_expired: bool
