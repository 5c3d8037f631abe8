"""A store in an SQLite file, shared by the threads and processes of one machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from ..._sqlite import Database, Source
from ..ops import IndexConfig, TTLConfig
from ..rows import Rows
from ..scanning import ScanningStore
from .rows import SCHEMA, SqliteRows

if TYPE_CHECKING:
    from ...serde.base import Serializer

__all__ = ["SqliteStore"]


class SqliteStore(ScanningStore):
    """Keeps items in an SQLite database, for any number of threads and processes.

    A write has reached the disk when its method returns. Expired items are deleted in passing by later
    writes.

    Args:
        path: the file, created when missing; ``":memory:"``; or an open connection, made with
            ``check_same_thread=False``, which stays yours to close.
        index: makes items searchable by meaning; without it, a query is left out.
        ttl: how long items live.
        serde: turns values into bytes and back. An encrypting one keeps values secret; namespaces, keys and the vectors
            of an index are stored as they are, and there are no filters.
        timeout: how long to wait for another process's lock, in seconds.
        clock: returns the time in seconds since the epoch, the same for all who share the file.

    Raises:
        ConfigError: if an argument cannot be.
        ForeignDatabase: if the file is corrupt or belongs to another program.
        NewerSchema: if a newer version of this library wrote it.
        DatabaseLocked: if it stays locked for longer than `timeout`.

    >>> with SqliteStore(":memory:") as store:
    ...     store.put(("users", "ada"), "tea", {"text": "likes green tea"})
    ...     store.search(("users",))[0].value
    {'text': 'likes green tea'}
    """

    def __init__(
        self,
        path: Source,
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        serde: Serializer | None = None,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(index, ttl, serde, clock)
        self._database = Database(path, SCHEMA, timeout=timeout)
        self._database.open()

    @classmethod
    def from_conn_string(
        cls, conn_string: str, *, index: IndexConfig | None = None, ttl: TTLConfig | None = None
    ) -> Self:
        """Open a store, for a ``with`` or an ``async with`` block that closes it.

        Args:
            conn_string: the path of a file, or ``":memory:"``.
            index: makes items searchable by meaning.
            ttl: how long items live.
        """
        return cls(conn_string, index=index, ttl=ttl)

    def setup(self) -> None:
        """Do nothing: the tables are there once the store is."""

    def close(self) -> None:
        """Close the database, unless it was given as an open connection."""
        self.stop_ttl_sweeper()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _rows(self, *, writing: bool) -> Iterator[Rows]:
        with self._database.transaction(writing=writing) as cursor:
            yield SqliteRows(cursor)
