"""The contract of a store: long-term memory that threads, workflows and programs share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Literal, cast

from ..context import here
from ..errors import ConfigError
from .ops import (
    NOT_PROVIDED,
    Embed,
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    MatchCondition,
    NotProvided,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
)

__all__ = [
    "NOT_PROVIDED",
    "BaseStore",
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

Namespace = tuple[str, ...]
Index = Literal[False] | list[str] | None
Minutes = float | NotProvided | None


class BaseStore(ABC):
    """Dicts under a namespace and a key, found by name, by filter or by meaning.

    A namespace is a non-empty tuple of non-empty labels without dots, such as ``("users", "ada")``; the roots
    ``"langgraph"`` and ``"durably"`` are reserved. A value handed in or out is a copy: changing it changes
    nothing in the store. Every method may be called from any thread.

    A backend implements `batch` and `abatch`; everything else is made of them.
    """

    inline: ClassVar[bool] = False
    """Whether operations are so short that they may run on an event loop."""
    supports_ttl: bool = False
    ttl_config: TTLConfig | None = None

    @abstractmethod
    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations in their order, all in one transaction, and return their results.

        Raises:
            ConfigError: if one of them cannot be; then none is carried out.
        """

    @abstractmethod
    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations as `batch` does, without blocking the event loop."""

    def get(self, namespace: Namespace, key: str, *, refresh_ttl: bool | None = None) -> Item | None:
        """Return the item at a namespace and key, None when there is none.

        Args:
            namespace: where to look.
            key: the item's name there.
            refresh_ttl: whether reading starts the item's time anew; None does what the store is set to.
        """
        return cast("Item | None", self.batch([self._get(namespace, key, refresh_ttl)])[0])

    async def aget(self, namespace: Namespace, key: str, *, refresh_ttl: bool | None = None) -> Item | None:
        """Return what `get` returns."""
        return cast("Item | None", (await self.abatch([self._get(namespace, key, refresh_ttl)]))[0])

    def search(
        self,
        namespace_prefix: Namespace,
        /,
        *,
        query: str | None = None,
        filter: dict[str, Any] | None = None,
        limit: int = 10,
        offset: int = 0,
        refresh_ttl: bool | None = None,
    ) -> list[SearchItem]:
        """Return items under a namespace prefix.

        With a query and an index, items come by similarity to the query, best first, and only those that are
        indexed. Otherwise the query is left out, and the item updated last comes first.

        Args:
            namespace_prefix: what the items' namespaces begin with; ``()`` searches everywhere.
            query: a text to find similar items for.
            filter: what the value must satisfy: fields with the value they must have or with operators,
                ``$eq $ne $gt $gte $lt $lte $in $nin $exists``; a dict of field names looks into a nested
                dict; ``$and`` and ``$or`` take lists of filters.
            limit: how many items to return at most.
            offset: how many to skip.
            refresh_ttl: whether finding starts the items' time anew; None does what the store is set to.

        Raises:
            ConfigError: if an argument cannot be.
        """
        op = SearchOp(namespace_prefix, filter, limit, offset, query, self._refresh(refresh_ttl))
        return cast("list[SearchItem]", self.batch([op])[0])

    async def asearch(
        self,
        namespace_prefix: Namespace,
        /,
        *,
        query: str | None = None,
        filter: dict[str, Any] | None = None,
        limit: int = 10,
        offset: int = 0,
        refresh_ttl: bool | None = None,
    ) -> list[SearchItem]:
        """Return what `search` returns."""
        op = SearchOp(namespace_prefix, filter, limit, offset, query, self._refresh(refresh_ttl))
        return cast("list[SearchItem]", (await self.abatch([op]))[0])

    def put(
        self,
        namespace: Namespace,
        key: str,
        value: dict[str, Any],
        index: Index = None,
        *,
        ttl: Minutes = NOT_PROVIDED,
        once: bool = False,
    ) -> None:
        """Store a value, replacing an older one.

        Args:
            namespace: where to keep it.
            key: its name there.
            value: a dict; whatever a workflow may return may be in it.
            index: the paths whose texts make it searchable by meaning, such as ``["text", "tags[*]"]``; None
                takes the store's own, False makes it unsearchable.
            ttl: how long it lives, in minutes; None for ever; left out, what the store is set to.
            once: write it only if this call of the run has not written this item yet. A task that is retried,
                or run again after a crash, then leaves what its first attempt wrote.

        Raises:
            ConfigError: if an argument cannot be.
            EncodeError: if the value cannot be stored.
            OutsideRunError: if `once` is asked for outside a run.
        """
        self.batch([self._put(namespace, key, value, index, ttl, once)])

    async def aput(
        self,
        namespace: Namespace,
        key: str,
        value: dict[str, Any],
        index: Index = None,
        *,
        ttl: Minutes = NOT_PROVIDED,
        once: bool = False,
    ) -> None:
        """Store a value as `put` does."""
        await self.abatch([self._put(namespace, key, value, index, ttl, once)])

    def delete(self, namespace: Namespace, key: str) -> None:
        """Forget the item at a namespace and key, if there is one."""
        self.batch([PutOp(namespace, key, None)])

    async def adelete(self, namespace: Namespace, key: str) -> None:
        """Forget an item as `delete` does."""
        await self.abatch([PutOp(namespace, key, None)])

    def forget_once(self, run_id: str) -> None:
        """Let go of what ``put(..., once=True)`` has to remember of a run, after a day.

        The engine says this of every run that is over, since none of its calls is made again. Say it of runs that
        you delete while they could still go on. The day is for attempts that were superseded and do not know it yet.

        Args:
            run_id: the run.
        """
        return

    async def aforget_once(self, run_id: str) -> None:
        """Do what `forget_once` does."""
        import asyncio

        await asyncio.to_thread(self.forget_once, run_id)

    def list_namespaces(
        self,
        *,
        prefix: Namespace | None = None,
        suffix: Namespace | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Namespace]:
        """Return the namespaces that hold items, sorted.

        Args:
            prefix: what they begin with; ``"*"`` stands for any one label.
            suffix: what they end with; ``"*"`` stands for any one label.
            max_depth: cut them to this many labels, each result once.
            limit: how many to return at most.
            offset: how many to skip.
        """
        op = listing_op(prefix, suffix, max_depth, limit, offset)
        return cast("list[Namespace]", self.batch([op])[0])

    async def alist_namespaces(
        self,
        *,
        prefix: Namespace | None = None,
        suffix: Namespace | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Namespace]:
        """Return what `list_namespaces` returns."""
        op = listing_op(prefix, suffix, max_depth, limit, offset)
        return cast("list[Namespace]", (await self.abatch([op]))[0])

    def _refresh(self, asked: bool | None) -> bool:
        return bool((self.ttl_config or {}).get("refresh_on_read", True)) if asked is None else asked

    def _get(self, namespace: Namespace, key: str, refresh_ttl: bool | None) -> GetOp:
        return GetOp(namespace, key, self._refresh(refresh_ttl))

    def _put(self, namespace: Namespace, key: str, value: Any, index: Index, ttl: Minutes, once: bool) -> PutOp:
        if value is None:
            raise ConfigError("put() was given None; use delete() to remove an item")
        minutes = (self.ttl_config or {}).get("default_ttl") if isinstance(ttl, NotProvided) else ttl
        if minutes is not None and not self.supports_ttl:
            raise ConfigError(f"{type(self).__name__} does not support a ttl; leave it out")
        return PutOp(namespace, key, value, index, minutes, self._once_key() if once else None)

    def _once_key(self) -> str:
        # The run comes first: what is remembered of a run is found by it.
        return "/".join(here("put(..., once=True)").once(self))


def listing_op(
    prefix: Namespace | None, suffix: Namespace | None, max_depth: int | None, limit: int, offset: int
) -> ListNamespacesOp:
    """Return the operation that lists namespaces."""
    conditions = []
    if prefix:
        conditions.append(MatchCondition("prefix", prefix))
    if suffix:
        conditions.append(MatchCondition("suffix", suffix))
    return ListNamespacesOp(tuple(conditions), max_depth, limit, offset)
