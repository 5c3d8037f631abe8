"""A cache in an SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from .._sqlite import Database, Schema, Source
from .base import BaseCache, deadline

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SqliteCache"]

SWEEP_EVERY = 60.0
"""Seconds between two deletions of expired rows."""
SWEEP_ROWS = 1000
"""Rows that one sweep deletes at most, so that no single `set` takes long."""

SCHEMA = Schema(
    "cache",
    (
        (
            """CREATE TABLE durably_cache (
               id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
               expires REAL, UNIQUE (namespace, key))""",
            "CREATE INDEX durably_cache_expires ON durably_cache (expires) WHERE expires IS NOT NULL",
        ),
    ),
)

GET = "SELECT value FROM durably_cache WHERE namespace = ? AND key = ? AND (expires IS NULL OR expires > ?)"
SET = (
    "INSERT INTO durably_cache (namespace, key, value, expires) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value, expires = excluded.expires"
)
SWEEP = (
    "DELETE FROM durably_cache WHERE id IN "
    "(SELECT id FROM durably_cache WHERE expires IS NOT NULL AND expires <= ? LIMIT ?)"
)


class SqliteCache(BaseCache):
    """Keeps results in an SQLite database, for any number of threads and processes.

    Expired rows are deleted in passing, about once a minute. A result without a ttl stays until cleared.

    Args:
        path: the file, created when missing; ``":memory:"``; or an open connection, made with
            ``check_same_thread=False``, which stays yours to close.
        timeout: how long to wait for another process's lock, in seconds.
        clock: returns the time in seconds since the epoch, the same for all who share the file.

    Raises:
        ForeignDatabase: if the file is corrupt or belongs to another program.
        NewerSchema: if a newer version of this library wrote it.
        DatabaseLocked: if it stays locked for longer than `timeout`.

    >>> cache = SqliteCache(":memory:")
    >>> cache.set("squares", b"7", b"49", ttl=3600)
    >>> cache.get("squares", b"7")
    b'49'
    >>> cache.clear("squares")
    >>> cache.get("squares", b"7") is None
    True
    >>> cache.close()
    """

    inline: ClassVar[bool] = True

    def __init__(self, path: Source, *, timeout: float = 5.0, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        # A cache may lose its last entries in a power cut, so no commit waits for the disk.
        self._database = Database(path, SCHEMA, timeout=timeout, synchronous="NORMAL")
        self._database.open()
        self._next_sweep = clock()

    def get(self, namespace: str, key: bytes) -> bytes | None:
        rows = self._database.rows(GET, (namespace, key, self._clock()))
        return rows[0][0] if rows else None

    def set(self, namespace: str, key: bytes, value: bytes, ttl: float | None = None) -> None:
        now = self._clock()
        expires = deadline(ttl, now)
        with self._database.transaction() as cursor:
            cursor.execute(SET, (namespace, key, value, expires))
            if now >= self._next_sweep:
                cursor.execute(SWEEP, (now, SWEEP_ROWS))
                # A full sweep has left rows behind: the next `set` goes on with them.
                self._next_sweep = now if cursor.rowcount == SWEEP_ROWS else now + SWEEP_EVERY

    def clear(self, namespace: str | None = None) -> None:
        with self._database.transaction() as cursor:
            if namespace is None:
                cursor.execute("DELETE FROM durably_cache")
            else:
                cursor.execute("DELETE FROM durably_cache WHERE namespace = ?", (namespace,))

    def close(self) -> None:
        self._database.close()
