"""A cache in an SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from .._sqlite import Database, Schema, Source
from ..errors import DecodeError
from .base import BaseCache, checked_bound, deadline

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

__all__ = ["SqliteCache"]

SWEEP_EVERY = 60.0
"""Seconds between two deletions of expired rows."""
DELETE_ROWS = 1000
"""Rows that one statement deletes at most, so that no single `set` takes long."""
RECENT = 60.0
"""Seconds for which a use counts as the last one: the next ones within them need not be noted."""
REMEMBERED = 100_000
"""Uses that are noted at most between two evictions, the first of which writes them down: reading writes nothing."""

SCHEMA = Schema(
    "cache",
    (
        (
            """CREATE TABLE durably_cache (
               id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
               expires REAL, UNIQUE (namespace, key))""",
            "CREATE INDEX durably_cache_expires ON durably_cache (expires) WHERE expires IS NOT NULL",
        ),
        (
            "ALTER TABLE durably_cache ADD COLUMN size INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE durably_cache ADD COLUMN used REAL NOT NULL DEFAULT 0",
            "UPDATE durably_cache SET size = length(namespace) + length(key) + length(value)",
            "CREATE INDEX durably_cache_used ON durably_cache (used)",
            # Kept by triggers, so that nobody has to add the sizes up.
            "CREATE TABLE durably_cache_total (bytes INTEGER NOT NULL)",
            "INSERT INTO durably_cache_total SELECT coalesce(sum(size), 0) FROM durably_cache",
            """CREATE TRIGGER durably_cache_added AFTER INSERT ON durably_cache BEGIN
               UPDATE durably_cache_total SET bytes = bytes + new.size; END""",
            """CREATE TRIGGER durably_cache_replaced AFTER UPDATE OF size ON durably_cache BEGIN
               UPDATE durably_cache_total SET bytes = bytes - old.size + new.size; END""",
            """CREATE TRIGGER durably_cache_deleted AFTER DELETE ON durably_cache BEGIN
               UPDATE durably_cache_total SET bytes = bytes - old.size; END""",
        ),
    ),
)

GET = """
    SELECT value, id, used FROM durably_cache
    WHERE namespace = ? AND key = ? AND (expires IS NULL OR expires > ?)"""
SET = """
    INSERT INTO durably_cache (namespace, key, value, expires, size, used) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (namespace, key) DO UPDATE SET
        value = excluded.value, expires = excluded.expires, size = excluded.size, used = excluded.used"""
UNSET = "DELETE FROM durably_cache WHERE namespace = ? AND key = ?"
USED = "UPDATE durably_cache SET used = max(used, ?) WHERE id = ?"
TOTAL = "SELECT bytes FROM durably_cache_total"
EVICT = """
    DELETE FROM durably_cache WHERE id IN (
        SELECT id FROM (
            SELECT id, sum(size) OVER (ORDER BY used, id) - size AS freed
            FROM (SELECT id, size, used FROM durably_cache ORDER BY used, id LIMIT ?))
        WHERE freed < ?)"""
SWEEP = (
    "DELETE FROM durably_cache WHERE id IN "
    "(SELECT id FROM durably_cache WHERE expires IS NOT NULL AND expires <= ? LIMIT ?)"
)


class SqliteCache(BaseCache):
    """Keeps results in an SQLite database, for any number of threads and processes.

    Expired rows are deleted in passing, about once a minute. When the results take more than their limit, the least
    recently used ones go; the space of what was deleted is used again, so the file stays about that large.

    Args:
        path: the file, created when missing; ``":memory:"``; or an open connection, made with
            ``check_same_thread=False``, which stays yours to close.
        max_bytes: how much the names, keys and values take at most, in bytes. A single larger value is not kept.
        timeout: how long to wait for another process's lock, in seconds.
        clock: returns the time in seconds since the epoch, the same for all who share the file.

    Raises:
        ConfigError: if `max_bytes` is not a positive whole number.
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
    waits_to_set: ClassVar[bool] = True

    def __init__(
        self,
        path: Source,
        *,
        max_bytes: int = 1024 * 1024 * 1024,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.max_bytes = checked_bound("max_bytes", max_bytes)
        self._clock = clock
        # A cache may lose its last entries in a power cut, so no commit waits for the disk.
        self._database = Database(path, SCHEMA, timeout=timeout, synchronous="NORMAL")
        self._database.open()
        self._next_sweep = clock()
        self._used: dict[int, float] = {}

    def get(self, namespace: str, key: bytes) -> bytes | None:
        now = self._clock()
        with self._database.lock:
            rows = self._database.rows(GET, (namespace, key, now))
            if not rows:
                return None
            [(value, one, used)] = rows
            if type(value) is not bytes or type(used) is not float:
                raise DecodeError(
                    f"durably_cache holds {value!r:.40}, used at {used!r:.40}, which this library has not stored: somebody "
                    f"has changed the database. Clear namespace {namespace!r} of the cache."
                )
            if now - used > RECENT and len(self._used) < REMEMBERED:
                self._used[one] = now
        found: bytes = value
        return found

    def set(self, namespace: str, key: bytes, value: bytes, ttl: float | None = None) -> None:
        now = self._clock()
        expires = deadline(ttl, now)
        size = len(namespace) + len(key) + len(value)
        with self._database.transaction() as cursor:
            if size > self.max_bytes:
                cursor.execute(UNSET, (namespace, key))
            else:
                cursor.execute(SET, (namespace, key, value, expires, size, now))
            self._make_room(cursor, now)

    def clear(self, namespace: str | None = None) -> None:
        with self._database.transaction() as cursor:
            if namespace is None:
                cursor.execute("DELETE FROM durably_cache")
            else:
                cursor.execute("DELETE FROM durably_cache WHERE namespace = ?", (namespace,))

    def close(self) -> None:
        self._database.close()

    def _make_room(self, cursor: sqlite3.Cursor, now: float) -> None:
        """Delete what has expired, now and then, and what was not used for longest while there is too much."""
        if now >= self._next_sweep:
            cursor.execute(SWEEP, (now, DELETE_ROWS))
            # A full sweep has left rows behind: the next `set` goes on with them.
            self._next_sweep = now if cursor.rowcount == DELETE_ROWS else now + SWEEP_EVERY
        while (excess := _total(cursor) - self.max_bytes) > 0:
            cursor.executemany(USED, [(used, one) for one, used in self._used.items()])
            self._used.clear()
            cursor.execute(EVICT, (DELETE_ROWS, excess))
            if not cursor.rowcount:  # there is nothing left: somebody has changed the total
                _add_up(cursor)
                break


def _total(cursor: sqlite3.Cursor) -> int:
    """How much the results take; added up where somebody has changed what the triggers keep."""
    found = cursor.execute(TOTAL).fetchone()
    if found is None or type(found[0]) is not int:
        return _add_up(cursor)
    return int(found[0])


def _add_up(cursor: sqlite3.Cursor) -> int:
    cursor.execute("DELETE FROM durably_cache_total")
    cursor.execute("INSERT INTO durably_cache_total SELECT CAST(total(size) AS INTEGER) FROM durably_cache")
    return int(cursor.execute(TOTAL).fetchone()[0])
