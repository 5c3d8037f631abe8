"""A store in this process's memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from heapq import nlargest
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, ClassVar

from .ops import IndexConfig, TTLConfig
from .rows import Namespace, Row, Rows, VectorRow, Write
from .scanning import ScanningStore

if TYPE_CHECKING:
    from ..serde.base import Serializer

__all__ = ["InMemoryStore"]


class InMemoryStore(ScanningStore):
    """Keeps items in memory, for as long as the process lives.

    Args:
        index: makes items searchable by meaning; without it, a query is left out.
        ttl: how long items live.
        serde: turns values into bytes and back.
        clock: returns the time in seconds since the epoch.

    Raises:
        ConfigError: if an argument cannot be.

    >>> store = InMemoryStore()
    >>> store.put(("users", "ada"), "tea", {"kind": "taste", "text": "likes green tea"})
    >>> store.get(("users", "ada"), "tea").value["text"]
    'likes green tea'
    >>> [item.key for item in store.search(("users",), filter={"kind": "taste"})]
    ['tea']
    """

    inline: ClassVar[bool] = True

    def __init__(
        self,
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        serde: Serializer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(index, ttl, serde, clock)
        self._lock = Lock()
        self._memory = MemoryRows()

    @contextmanager
    def _rows(self, *, writing: bool) -> Iterator[Rows]:
        with self._lock:
            yield self._memory


class MemoryRows(Rows):
    """Rows by namespace, by id and by age. Whoever uses them holds the store's lock."""

    def __init__(self) -> None:
        self._by_name: dict[Namespace, dict[str, Row]] = {}
        self._by_id: dict[int, Row] = {}
        self._ttl: dict[int, float] = {}
        self._vectors: dict[Namespace, dict[int, VectorRow]] = {}
        self._of_item: dict[int, list[int]] = {}
        self._once: dict[str, set[str]] = {}
        self._over: dict[str, float] = {}
        self._ids = count(1)
        self._vector_ids = count(1)
        self._order = count(1)
        self._updates: dict[int, int] = {}
        self._added = 0
        self._deleted = 0

    def find(self, namespace: Namespace, key: str) -> Row | None:
        return self._by_name.get(namespace, {}).get(key)

    def fetch(self, ids: Sequence[int]) -> dict[int, Row]:
        return {one: self._by_id[one] for one in ids if one in self._by_id}

    def recent(self, prefix: Namespace, live_at: float | None, limit: int | None) -> Sequence[int]:
        found = [
            row.id
            for namespace in self._under(prefix, self._by_name)
            for row in self._by_name[namespace].values()
            if live_at is None or row.is_live(live_at)
        ]
        if limit is not None and limit < len(found) // 4:
            return nlargest(limit, found, key=self._updates.__getitem__)
        return sorted(found, key=self._updates.__getitem__, reverse=True)

    def write(self, write: Write, now: float) -> None:
        old = self.find(write.namespace, write.key)
        created = old.created if old is not None and old.is_live(now) else now
        expires = None if write.ttl is None else now + write.ttl
        one = next(self._ids) if old is None else old.id
        row = Row(one, write.namespace, write.key, write.data, created, now, expires)
        self._keep(row)
        self._updates[one] = next(self._order)
        if write.ttl is None:
            self._ttl.pop(one, None)
        else:
            self._ttl[one] = write.ttl
        self._drop_vectors(row)
        if write.vectors:
            self._add_vectors(row, write.vectors)

    def delete(self, namespace: Namespace, key: str) -> None:
        row = self._by_name.get(namespace, {}).pop(key, None)
        if row is None:
            return
        if not self._by_name[namespace]:
            del self._by_name[namespace]
        del self._by_id[row.id], self._updates[row.id]
        self._ttl.pop(row.id, None)
        self._drop_vectors(row)

    def touch(self, ids: Iterable[int], now: float) -> None:
        for one in ids:
            row, ttl = self._by_id.get(one), self._ttl.get(one)
            if row is not None and ttl is not None:
                self._keep(row._replace(expires=now + ttl))

    def sweep(self, now: float, limit: int) -> int:
        gone = [self._by_id[one] for one in self._ttl if not self._by_id[one].is_live(now)][:limit]
        for row in gone:
            self.delete(row.namespace, row.key)
        return len(gone)

    def namespaces(self, live_at: float | None) -> Iterable[Namespace]:
        for namespace, rows in self._by_name.items():
            if live_at is None or any(row.is_live(live_at) for row in rows.values()):
                yield namespace

    def claim(self, once_key: str, now: float) -> bool:
        claims = self._once.setdefault(once_key.partition("/")[0], set())
        if once_key in claims:
            return False
        claims.add(once_key)
        return True

    def release(self, run_id: str, expires: float) -> None:
        if run_id in self._once:
            self._over.setdefault(run_id, expires)

    def sweep_claims(self, now: float, limit: int) -> int:
        gone = [run_id for run_id, expires in self._over.items() if expires <= now][:limit]
        for run_id in gone:
            del self._over[run_id], self._once[run_id]
        return len(gone)

    def changes(self) -> tuple[int, int]:
        return self._added, self._deleted

    def vector_ids(self, prefix: Namespace) -> list[int]:
        return sorted(one for namespace in self._under(prefix, self._vectors) for one in self._vectors[namespace])

    def vectors(self, prefix: Namespace, after: int) -> Sequence[VectorRow]:
        found: list[VectorRow] = []
        for namespace in self._under(prefix, self._vectors):
            # Ids grow in the order of insertion: the new ones are at the end.
            for one, row in reversed(self._vectors[namespace].items()):
                if one <= after:
                    break
                found.append(row)
        return sorted(found)

    def _under(self, prefix: Namespace, namespaces: Iterable[Namespace]) -> list[Namespace]:
        size = len(prefix)
        return [namespace for namespace in namespaces if namespace[:size] == prefix]

    def _keep(self, row: Row) -> None:
        self._by_name.setdefault(row.namespace, {})[row.key] = row
        self._by_id[row.id] = row

    def _add_vectors(self, row: Row, vectors: Iterable[bytes]) -> None:
        into = self._vectors.setdefault(row.namespace, {})
        for vector in vectors:
            one = next(self._vector_ids)
            self._added += 1
            into[one] = (one, row.id, vector)
            self._of_item.setdefault(row.id, []).append(one)

    def _drop_vectors(self, row: Row) -> None:
        old = self._of_item.pop(row.id, None)
        if not old:
            return
        self._deleted += len(old)
        kept = self._vectors[row.namespace]
        for one in old:
            del kept[one]
        if not kept:
            del self._vectors[row.namespace]
