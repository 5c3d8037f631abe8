"""The rows of a store as SQL. Every statement is constant; names and values are bound."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..._sqlite import Schema
from ...errors import DecodeError
from ..names import joined
from ..rows import Namespace, Row, Rows, VectorRow, Write

if TYPE_CHECKING:
    import sqlite3


__all__ = ["SCHEMA", "SqliteRows"]

SCHEMA = Schema(
    "store",
    (
        (
            """CREATE TABLE durably_store (
               id INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, key TEXT NOT NULL,
               data BLOB NOT NULL, created REAL NOT NULL, updated REAL NOT NULL, expires REAL, ttl REAL,
               UNIQUE (namespace, key))""",
            # Holds all that is needed to order or to list items without reading them.
            "CREATE INDEX durably_store_recent ON durably_store (namespace, updated, expires)",
            "CREATE INDEX durably_store_expires ON durably_store (expires) WHERE expires IS NOT NULL",
            # AUTOINCREMENT: ids only grow, so whoever keeps vectors in memory asks for those after its last.
            """CREATE TABLE durably_store_vectors (
               id INTEGER PRIMARY KEY AUTOINCREMENT, item INTEGER NOT NULL, namespace TEXT NOT NULL,
               vector BLOB NOT NULL)""",
            "CREATE INDEX durably_store_vectors_item ON durably_store_vectors (item)",
            "CREATE INDEX durably_store_vectors_namespace ON durably_store_vectors (namespace)",
            "CREATE TABLE durably_store_once (name TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID",
            "CREATE TABLE durably_store_changes (added INTEGER NOT NULL, deleted INTEGER NOT NULL)",
            "INSERT INTO durably_store_changes VALUES (0, 0)",
            """CREATE TRIGGER durably_store_deleted AFTER DELETE ON durably_store BEGIN
               DELETE FROM durably_store_vectors WHERE item = old.id; END""",
            """CREATE TRIGGER durably_store_vector_added AFTER INSERT ON durably_store_vectors BEGIN
               UPDATE durably_store_changes SET added = added + 1; END""",
            """CREATE TRIGGER durably_store_vector_deleted AFTER DELETE ON durably_store_vectors BEGIN
               UPDATE durably_store_changes SET deleted = deleted + 1; END""",
        ),
        (
            "ALTER TABLE durably_store_once ADD COLUMN expires REAL",
            "CREATE INDEX durably_store_once_expires ON durably_store_once (expires) WHERE expires IS NOT NULL",
        ),
    ),
)

COLUMNS = "id, namespace, key, data, created, updated, expires"
# A label holds no dot and "/" follows ".": the range is what begins with the prefix and a dot.
INSIDE = "namespace >= :prefix AND namespace < :prefix || '/' AND (namespace = :prefix OR namespace > :prefix || '.')"
EVERYWHERE = ":prefix = ''"

FIND = f"SELECT {COLUMNS} FROM durably_store WHERE namespace = ? AND key = ?"
FETCH = f"SELECT {COLUMNS} FROM durably_store WHERE id IN (SELECT value FROM json_each(?))"
RECENT = """
    SELECT id FROM durably_store WHERE {under} AND (:live_at IS NULL OR expires IS NULL OR expires > :live_at)
    ORDER BY updated DESC, id DESC LIMIT :size"""
WRITE = """
    INSERT INTO durably_store (namespace, key, data, created, updated, expires, ttl)
    VALUES (:namespace, :key, :data, :now, :now, :expires, :ttl)
    ON CONFLICT (namespace, key) DO UPDATE SET
        data = excluded.data, updated = excluded.updated, expires = excluded.expires, ttl = excluded.ttl,
        created = CASE WHEN expires IS NULL OR expires > :now THEN created ELSE excluded.created END
    RETURNING id"""
DELETE = "DELETE FROM durably_store WHERE namespace = ? AND key = ?"
TOUCH = """
    UPDATE durably_store SET expires = ? + ttl
    WHERE id IN (SELECT value FROM json_each(?)) AND ttl IS NOT NULL"""
SWEEP = """
    DELETE FROM durably_store WHERE id IN
    (SELECT id FROM durably_store WHERE expires IS NOT NULL AND expires <= ? LIMIT ?)"""
NAMESPACES = """
    SELECT DISTINCT namespace FROM durably_store
    WHERE :live_at IS NULL OR expires IS NULL OR expires > :live_at"""
CLAIM = "INSERT INTO durably_store_once (name, at) VALUES (?, ?) ON CONFLICT DO NOTHING"
# "0" follows "/": the range is what begins with the run's id and a slash.
RELEASE = """
    UPDATE durably_store_once SET expires = :expires
    WHERE name > :run || '/' AND name < :run || '0' AND expires IS NULL"""
SWEEP_CLAIMS = """
    DELETE FROM durably_store_once WHERE name IN
    (SELECT name FROM durably_store_once WHERE expires IS NOT NULL AND expires <= ? LIMIT ?)"""
CHANGES = "SELECT added, deleted FROM durably_store_changes"
VECTOR_IDS = "SELECT id FROM durably_store_vectors WHERE {under} ORDER BY id"
VECTORS = "SELECT id, item, vector FROM durably_store_vectors WHERE id > :after ORDER BY id"
# "+" keeps the planner from an index. All under a prefix are few of many: not by their order. What is new among them is
# at the end of the table: not by their namespace.
OF_PREFIX = f"SELECT id, item, vector FROM durably_store_vectors WHERE {INSIDE} ORDER BY +id"
NEWER = VECTORS.replace("WHERE", f"WHERE {INSIDE.replace('namespace', '+namespace')} AND")
ADD_VECTOR = "INSERT INTO durably_store_vectors (item, namespace, vector) VALUES (?, ?, ?)"
DROP_VECTORS = "DELETE FROM durably_store_vectors WHERE item = ?"


ITEM = {"id": int, "namespace": str, "key": str, "data": bytes, "created": float, "updated": float, "expires": float}
OPTIONAL = {"expires"}
VECTOR = {"id": int, "item": int, "vector": bytes}


class SqliteRows(Rows):
    """The rows, as the transaction of one cursor sees them."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    def find(self, namespace: Namespace, key: str) -> Row | None:
        found = self._cursor.execute(FIND, (joined(namespace), key)).fetchone()
        return None if found is None else as_row(found)

    def fetch(self, ids: Sequence[int]) -> dict[int, Row]:
        rows = map(as_row, self._cursor.execute(FETCH, (as_array(ids),)))
        return {row.id: row for row in rows}

    def recent(self, prefix: Namespace, live_at: float | None, limit: int | None) -> Sequence[int]:
        bound = {"prefix": joined(prefix), "live_at": live_at, "size": -1 if limit is None else limit}
        return [one for (one,) in self._cursor.execute(under(RECENT, prefix), bound)]

    def write(self, write: Write, now: float) -> None:
        namespace = joined(write.namespace)
        expires = None if write.ttl is None else now + write.ttl
        bound = {
            "namespace": namespace,
            "key": write.key,
            "data": write.data,
            "now": now,
            "expires": expires,
            "ttl": write.ttl,
        }
        [(item,)] = self._cursor.execute(WRITE, bound).fetchall()
        self._cursor.execute(DROP_VECTORS, (item,))
        for vector in write.vectors:
            self._cursor.execute(ADD_VECTOR, (item, namespace, vector))

    def delete(self, namespace: Namespace, key: str) -> None:
        self._cursor.execute(DELETE, (joined(namespace), key))

    def touch(self, ids: Iterable[int], now: float) -> None:
        self._cursor.execute(TOUCH, (now, as_array(ids)))

    def sweep(self, now: float, limit: int) -> int:
        return self._cursor.execute(SWEEP, (now, limit)).rowcount

    def namespaces(self, live_at: float | None) -> Iterable[Namespace]:
        rows = self._cursor.execute(NAMESPACES, {"live_at": live_at})
        return [tuple(typed(row, {"namespace": str}, "durably_store")[0].split(".")) for row in rows]

    def claim(self, once_key: str, now: float) -> bool:
        return self._cursor.execute(CLAIM, (once_key, now)).rowcount == 1

    def release(self, run_id: str, expires: float) -> None:
        self._cursor.execute(RELEASE, {"run": run_id, "expires": expires})

    def sweep_claims(self, now: float, limit: int) -> int:
        return self._cursor.execute(SWEEP_CLAIMS, (now, limit)).rowcount

    def changes(self) -> tuple[int, int]:
        found = self._cursor.execute(CHANGES).fetchone() or (None, None)
        added, deleted = typed(found, {"added": int, "deleted": int}, "durably_store_changes")
        return added, deleted

    def vector_ids(self, prefix: Namespace) -> list[int]:
        return [one for (one,) in self._cursor.execute(under(VECTOR_IDS, prefix), {"prefix": joined(prefix)})]

    def vectors(self, prefix: Namespace, after: int) -> Sequence[VectorRow]:
        statement = VECTORS if not prefix else NEWER if after else OF_PREFIX
        rows: list[Any] = self._cursor.execute(statement, {"prefix": joined(prefix), "after": after}).fetchall()
        for row in rows:
            typed(row, VECTOR, "durably_store_vectors")
        return rows


def under(statement: str, prefix: Namespace) -> str:
    """Return the statement for a prefix: one form for everything, one that uses the index on namespaces."""
    return statement.format(under=INSIDE if prefix else EVERYWHERE)


def as_array(ids: Iterable[int]) -> str:
    """Return ids as a JSON array, so that any number of them is one bound value."""
    return f"[{','.join(map(str, ids))}]"


def typed(found: tuple[Any, ...], kinds: Mapping[str, type], table: str) -> tuple[Any, ...]:
    """Return the columns as they are, if they are of the types that are stored: SQLite lets anybody store others.

    Raises:
        DecodeError: somebody has.
    """
    for value, (name, kind) in zip(found, kinds.items(), strict=True):
        if type(value) is not kind and not (value is None and name in OPTIONAL):
            raise DecodeError(
                f"{table}.{name} holds {value!r:.40}, which is no {kind.__name__} that this library has stored: "
                "somebody has changed the database"
            )
    return found


def as_row(found: tuple[Any, ...]) -> Row:
    """Return the row behind the columns of a statement."""
    typed(found, ITEM, "durably_store")
    one, namespace, key, data, created, updated, expires = found
    return Row(one, tuple(namespace.split(".")), key, data, created, updated, expires)
