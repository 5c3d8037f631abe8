"""Every operation of a store, written once over the rows of a backend that is searched by scanning."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from .embed import Vectors
from .filters import holds
from .names import check_text, listing
from .ops import IndexConfig, Item, Result, SearchItem, TTLConfig
from .plan import Delete, Find, Get, List, Planned, Put
from .prepared import ONCE_SECONDS, SWEEP_ROWS, PreparedStore
from .rows import Row, Rows, Write
from .vectors import Matrices

if TYPE_CHECKING:
    from ..serde.base import Serializer

__all__ = ["ScanningStore"]

FETCH = 500
"""Rows that are read at once; also the limit of `Rows.fetch`."""


class ScanningStore(PreparedStore):
    """A store that filters and compares vectors in this process; its subclass keeps the rows."""

    def __init__(
        self,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        serde: Serializer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(index, ttl, serde, clock)
        self._matrices = None if self._embedder is None else Matrices(self._embedder.dims)

    @abstractmethod
    def _rows(self, *, writing: bool) -> AbstractContextManager[Rows]:
        """Open a transaction, which no other thread of this process shares."""

    def forget_once(self, run_id: str) -> None:
        check_text(run_id, "the run id")
        with self._rows(writing=True) as rows:
            rows.release(run_id, self._clock() + ONCE_SECONDS)

    def _sweep(self, now: float) -> tuple[int, int]:
        with self._rows(writing=True) as rows:
            return rows.sweep(now, SWEEP_ROWS), rows.sweep_claims(now, SWEEP_ROWS)

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
            self._swept(now, rows.sweep(now, SWEEP_ROWS), rows.sweep_claims(now, SWEEP_ROWS))

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


def chunks(size: int, hits: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of the parts in which candidates are read, small ones first: few may do."""
    start, step = 0, max(16, hits)
    while start < size:
        end = min(size, start + min(step, FETCH))
        yield start, end
        start, step = end, step * 4
