"""Every operation of a store, written once over the rows of a backend."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..serde import TypedSerializer
from .base import BaseStore
from .embed import Embedder, Vectors
from .filters import holds
from .names import check_text, listing
from .ops import IndexConfig, Item, Op, Result, SearchItem, TTLConfig
from .plan import Delete, Find, Get, List, Planned, Put, place, plan, seconds, to_embed
from .rows import Row, Rows, Write
from .sweeper import Sweeper
from .vectors import Matrices, numpy

if TYPE_CHECKING:
    from ..serde.base import Serializer

__all__ = ["ScanningStore"]

FETCH = 500
"""Rows that are read at once; also the limit of `Rows.fetch`."""
SWEEP_ROWS = 1000
"""Expired rows that a write deletes in passing at most."""
SWEEP_MINUTES = 5.0
ONCE_SECONDS = 24 * 60 * 60.0
"""How long after the end of a run its writes that were made once are remembered."""


class ScanningStore(BaseStore):
    """A store that filters and compares vectors in this process; its subclass keeps the rows."""

    supports_ttl = True

    def __init__(
        self,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        serde: Serializer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.index_config = index
        self.ttl_config = ttl
        self._omit_expired, self._sweep_every = checked_ttl(ttl or {})
        self._serde: Serializer = TypedSerializer() if serde is None else serde
        self._clock = clock
        self._embedder = None
        self._matrices = None
        if index is not None:
            numpy()
            self._embedder = Embedder(index)
            self._matrices = Matrices(self._embedder.dims)
        self._next_sweep = clock()
        self._sweeper: Sweeper | None = None

    @abstractmethod
    def _rows(self, *, writing: bool) -> AbstractContextManager[Rows]:
        """Open a transaction, which no other thread of this process shares."""

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        plans = plan(ops, self._serde, self._embedder)
        wanted = to_embed(plans)
        vectors = self._embedder.embed(wanted) if self._embedder is not None and wanted else NO_VECTORS
        return self._apply(plans, vectors)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        plans = plan(ops, self._serde, self._embedder)
        wanted = to_embed(plans)
        vectors = NO_VECTORS
        if self._embedder is not None and wanted:
            vectors = await self._embedder.aembed(wanted)
        if self.inline and not wanted:
            return self._apply(plans, vectors)
        import asyncio

        return await asyncio.to_thread(self._apply, plans, vectors)

    def forget_once(self, run_id: str) -> None:
        check_text(run_id, "the run id")
        with self._rows(writing=True) as rows:
            rows.release(run_id, self._clock() + ONCE_SECONDS)

    def sweep_ttl(self) -> int:
        """Delete every expired item now, and return how many there were. Writes also do this in passing."""
        swept = 0
        while True:
            now = self._clock()
            with self._rows(writing=True) as rows:
                found, claims = rows.sweep(now, SWEEP_ROWS), rows.sweep_claims(now, SWEEP_ROWS)
            swept += found
            if max(found, claims) < SWEEP_ROWS:
                return swept

    def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> None:
        """Also delete expired items in the background, now and at an interval.

        Args:
            sweep_interval_minutes: the interval; None takes the one the store is set to.
        """
        every = seconds(sweep_interval_minutes) or self._sweep_every
        self.stop_ttl_sweeper()
        self._sweeper = Sweeper(self.sweep_ttl, every)
        self._sweeper.start()

    def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """Stop the background sweeps; returns whether they have ended within `timeout` seconds."""
        sweeper, self._sweeper = self._sweeper, None
        return sweeper is None or sweeper.stop(timeout)

    def _apply(self, plans: list[Planned], vectors: Vectors) -> list[Result]:
        writing = any(isinstance(one, (Put, Delete)) for one in plans)
        now = self._clock()
        touched: set[int] = set()
        try:
            with self._rows(writing=writing) as rows:
                results = [self._one(one, rows, vectors, now, touched) for one in plans]
                if writing:
                    self._finish_writing(rows, now, touched)
        except BaseException:
            # What was loaded may belong to a transaction that has just been undone.
            if writing and self._matrices is not None:
                self._matrices.forget()
            raise
        if touched and not writing:
            with self._rows(writing=True) as rows:
                rows.touch(touched, now)
        return results

    def _finish_writing(self, rows: Rows, now: float, touched: set[int]) -> None:
        if touched:
            rows.touch(touched, now)
        if now >= self._next_sweep:
            left = max(rows.sweep(now, SWEEP_ROWS), rows.sweep_claims(now, SWEEP_ROWS)) == SWEEP_ROWS
            self._next_sweep = now if left else now + self._sweep_every

    def _one(self, planned: Planned, rows: Rows, vectors: Vectors, now: float, touched: set[int]) -> Result:
        match planned:
            case Get():
                return self._get_item(planned, rows, now, touched)
            case Find():
                return self._find(planned, rows, vectors, now, touched)
            case List(op):
                return listing(rows.namespaces(now if self._omit_expired else None), op)
            case Put() | Delete():
                self._write(planned, rows, vectors, now)
                return None

    def _write(self, planned: Put | Delete, rows: Rows, vectors: Vectors, now: float) -> None:
        if planned.once_key is not None and not rows.claim(planned.once_key, now):
            return
        if isinstance(planned, Delete):
            rows.delete(planned.namespace, planned.key)
            return
        found = tuple(vectors.documents[text].tobytes() for text in planned.texts)
        rows.write(Write(planned.namespace, planned.key, planned.data, planned.ttl, found), now)

    def _get_item(self, get: Get, rows: Rows, now: float, touched: set[int]) -> Item | None:
        row = rows.find(get.namespace, get.key)
        if row is None or not self._visible(row, now):
            return None
        if get.refresh and row.expires is not None:
            touched.add(row.id)
        return Item(**self._fields(row))

    def _find(self, find: Find, rows: Rows, vectors: Vectors, now: float, touched: set[int]) -> list[SearchItem]:
        if find.limit == 0:
            return []
        found: list[SearchItem] = []
        skip = find.offset
        for row, value, score in self._hits(find, rows, vectors, now):
            if skip:
                skip -= 1
                continue
            found.append(SearchItem(**self._fields(row, value), score=score))
            if find.refresh and row.expires is not None:
                touched.add(row.id)
            if len(found) == find.limit:
                break
        return found

    def _hits(
        self, find: Find, rows: Rows, vectors: Vectors, now: float
    ) -> Iterator[tuple[Row, dict[str, Any], float | None]]:
        """Yield what a search finds, best first."""
        ids, scores = self._candidates(find, rows, vectors, now)
        seen: set[int] = set()
        for start, end in chunks(len(ids), find.limit + find.offset):
            part = list(map(int, ids[start:end]))
            fetched = rows.fetch([one for one in dict.fromkeys(part) if one not in seen])
            for at, one in enumerate(part, start):
                row = fetched.get(one)
                # An item with several vectors counts once, by the best of them.
                if row is None or one in seen or not self._visible(row, now):
                    continue
                seen.add(one)
                value = self._value(row)
                if find.predicate is None or holds(find.predicate, value):
                    yield row, value, None if scores is None else float(scores[at])

    def _candidates(self, find: Find, rows: Rows, vectors: Vectors, now: float) -> tuple[Any, Any]:
        """Return the ids of the rows to look at, best first, and their scores, None without a query."""
        if find.query is not None and self._matrices is not None:
            matrix = self._matrices.get(find.prefix, rows)
            return matrix.ranking(vectors.queries[find.query])
        enough = None if find.predicate is not None else find.limit + find.offset
        live_at = now if self._omit_expired else None
        return list(rows.recent(find.prefix, live_at, enough)), None

    def _visible(self, row: Row, now: float) -> bool:
        return not self._omit_expired or row.is_live(now)

    def _value(self, row: Row) -> dict[str, Any]:
        value: dict[str, Any] = self._serde.loads(row.data, place(row.namespace, row.key))
        return value

    def _fields(self, row: Row, value: dict[str, Any] | None = None) -> dict[str, Any]:
        return {
            "namespace": row.namespace,
            "key": row.key,
            "value": self._value(row) if value is None else value,
            "created_at": datetime.fromtimestamp(row.created, UTC),
            "updated_at": datetime.fromtimestamp(row.updated, UTC),
        }


NO_VECTORS = Vectors({}, {})


def chunks(size: int, hits: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of the parts in which candidates are read, small ones first: few may do."""
    start, step = 0, max(16, hits)
    while start < size:
        end = min(size, start + min(step, FETCH))
        yield start, end
        start, step = end, step * 4


def checked_ttl(config: TTLConfig) -> tuple[bool, float]:
    """Return whether expired items are hidden, and the seconds between two sweeps.

    Raises:
        ConfigError: if the configuration cannot be.
    """
    for name in config:
        if name not in TTLConfig.__annotations__:
            raise ConfigError(f"the ttl configuration has the unknown entry {name!r}")
    seconds(config.get("default_ttl"))
    every = seconds(config.get("sweep_interval_minutes") or SWEEP_MINUTES)
    return bool(config.get("omit_expired", True)), every or 0.0
