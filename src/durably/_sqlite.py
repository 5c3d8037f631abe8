"""One SQLite database, opened with care: shared by the threads of a process, and by many processes."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal

from ._schema import Schema
from ._wal import LONGEST_LOG, WriteAheadLog
from .errors import ConfigError, DatabaseLocked, ForeignDatabase, NewerSchema, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Database", "Schema", "Source"]

SOURCES = "give the path of a file, ':memory:' or a sqlite3.Connection"

Source = str | os.PathLike[str] | sqlite3.Connection
"""What a database is opened from: a path, ``":memory:"`` or an open connection."""

Synchronous = Literal["FULL", "NORMAL"]

WRITING, READING = "BEGIN IMMEDIATE", "BEGIN"

LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
REFUSALS = (sqlite3.Error, OverflowError)
"""What SQLite raises; the second one for a number that no column can hold."""
UNREADABLE = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})


class Database:
    """A connection that threads share under a lock, opened on first use and opened anew after a fork.

    Args:
        source: a path, ``":memory:"`` or an open connection, which stays its owner's to close.
        schema: the tables to create or to check.
        timeout: how long to wait for other processes' locks, in seconds.
        synchronous: ``"FULL"`` survives a power cut with every commit, ``"NORMAL"`` may lose the last ones.
        waits: whether every use waits for locks; otherwise only opening does, and the caller tries again.

    Raises:
        ConfigError: if `source` is none of these.
    """

    def __init__(
        self,
        source: Source,
        schema: Schema,
        *,
        timeout: float = 5.0,
        synchronous: Synchronous = "FULL",
        waits: bool = True,
    ) -> None:
        if not isinstance(source, (str, os.PathLike, sqlite3.Connection)):
            raise ConfigError(f"a database cannot be opened from {source!r}: {SOURCES}")
        self.schema = schema
        self.timeout = timeout
        self.lock = RLock()
        self._given = source if isinstance(source, sqlite3.Connection) else None
        self._path = "" if isinstance(source, sqlite3.Connection) else os.fspath(source)
        # A given connection has its own setting, until `flush` says what is needed.
        self._synchronous: Synchronous | None = None if self._given is not None else synchronous
        self._waits = waits
        self.log = WriteAheadLog("" if self._given is not None or self.is_memory else self._path)
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._closed = False

    @property
    def name(self) -> str:
        """What errors call this database."""
        return "the given connection" if self._given is not None else repr(self._path)

    @property
    def is_memory(self) -> bool:
        """Whether no other connection can see this database."""
        return self._given is None and self._path in {":memory:", ""}

    def rows(self, sql: str, bound: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one reading statement and return all its rows."""
        with self.lock, self._translated():
            return self.cursor().execute(sql, bound).fetchall()

    def run(self, sql: str, bound: Sequence[Any] = (), *, synchronous: Synchronous | None = None) -> int:
        """Run one writing statement as a transaction of its own; returns how many rows it changed.

        Args:
            sql: the statement.
            bound: its parameters.
            synchronous: what commits wait for from now on, None for what they do.
        """
        with self.lock:
            try:
                if synchronous is not None:
                    self.flush(synchronous)
                changed = self.cursor().execute(sql, bound).rowcount
                self.log.committed()
                return changed
            except REFUSALS as error:
                raise self.explained(error) from error

    def shrink(self) -> None:
        """Give the space of deleted rows back to the operating system."""
        with self.lock, self._translated():
            # A script is stepped to its end; a single statement without columns would free one page.
            self.cursor().executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")

    def flush(self, synchronous: Synchronous) -> None:
        """From now on have commits survive a power cut, or not."""
        if synchronous != self._synchronous:
            with self.lock, self._translated():
                self.cursor().execute(f"PRAGMA synchronous={synchronous}")
                self._synchronous = synchronous

    def transaction(self, *, writing: bool = True, synchronous: Synchronous | None = None) -> Transaction:
        """See one state of the database; what the block writes is committed whole, or not at all.

        Args:
            writing: hold the write lock from the start, so that nothing read in the block changes meanwhile.
            synchronous: what commits wait for from now on, None for what they do.
        """
        return Transaction(self, WRITING if writing else READING, synchronous)

    def open(self) -> None:
        """Open and check the database now, so that its owner learns of trouble at once."""
        with self.lock, self._translated():
            self.cursor()

    def close(self) -> None:
        """Close the connection, unless it was given; a closed database cannot be used any more."""
        with self.lock:
            self._closed = True
        self.log.rest()
        with self.lock:
            if self._connection is not None and self._given is None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def forget(self) -> None:
        """The connection is of no use any more: open another one when it is needed."""
        with self.lock:
            self._connection = None

    def __del__(self) -> None:
        if getattr(self, "lock", None) is not None:
            self.close()

    def cursor(self) -> sqlite3.Cursor:
        """The connection, opened if need be. The lock is held."""
        if self._closed:
            raise StorageError(f"the {self.schema.part} on {self.name} has been closed; make a new one")
        # SQLite forbids carrying a file's connection into a forked child. Memory has no other copy to open.
        stale = self._pid != os.getpid() and self._given is None and not self.is_memory
        if self._connection is None or stale:
            self._connection = self._given or self._connect()
            self._pid = os.getpid()
            self._connection.isolation_level = None
            prepare(self._connection, self.schema, self.name, strict=self._given is None)
            if not self._waits:
                self._connection.execute("PRAGMA busy_timeout=0")
        cursor = self._connection.cursor()
        cursor.row_factory = None
        return cursor

    def _connect(self) -> sqlite3.Connection:
        parent = Path(self._path).parent
        if not self.is_memory and not self._path.startswith("file:") and not parent.is_dir():
            raise StorageError(f"the folder {str(parent)!r} for the {self.schema.part} does not exist; create it")
        connection = sqlite3.connect(
            self._path,
            timeout=self.timeout,
            isolation_level=None,
            check_same_thread=False,
            uri=self._path.startswith("file:"),
        )
        try:
            refuse_foreign(connection.cursor(), self.name)  # before anything is written to it
            if connection.execute("PRAGMA page_count").fetchone() == (0,):  # elsewhere this would write to the file
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA trusted_schema=OFF")  # a file that somebody else has made may hold triggers
            use_wal(connection, self.timeout)
            connection.execute(f"PRAGMA wal_autocheckpoint={LONGEST_LOG}")
            connection.execute(f"PRAGMA synchronous={self._synchronous}")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except REFUSALS as error:
            raise self.explained(error) from error

    def explained(self, error: sqlite3.Error | OverflowError) -> StorageError | ConfigError:
        """What to raise in the place of an error of SQLite's."""
        part, name = self.schema.part, self.name
        # Extended codes carry the primary one in their low byte.
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code in LOCKED:
            return DatabaseLocked(
                f"the {part} database {name} stayed locked for {self.timeout:g} s; end the long transaction "
                f"of the other program, or give a longer timeout"
            )
        if code in UNREADABLE:
            return ForeignDatabase(f"{name} is corrupt or not an SQLite database: {error}; use another path")
        if "SQLite objects created in a thread" in str(error):
            return ConfigError(
                f"the connection given to the {part} works in one thread only; "
                f"open it with sqlite3.connect(..., check_same_thread=False)"
            )
        return StorageError(f"the {part} database {name} refused: {error}")


class Transaction:
    """See `Database.transaction`. A class, since a generator would take as long as a statement."""

    __slots__ = ("_begin", "_cursor", "_database", "_synchronous")
    _cursor: sqlite3.Cursor
    _synchronous: Synchronous | None

    def __init__(self, database: Database, begin: str, synchronous: Synchronous | None) -> None:
        self._database = database
        self._begin = begin
        self._synchronous = synchronous

    def __enter__(self) -> sqlite3.Cursor:
        database = self._database
        database.lock.acquire()
        try:
            if self._synchronous is not None:
                database.flush(self._synchronous)
            self._cursor = cursor = database.cursor()
            cursor.execute(self._begin)
        except BaseException as error:
            database.lock.release()
            if isinstance(error, REFUSALS):
                raise database.explained(error) from error
            raise
        return cursor

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        try:
            if kind is None:
                self._commit()
                if self._begin is WRITING:
                    self._database.log.committed()
            else:
                self._roll_back()
        except REFUSALS as trouble:
            raise self._database.explained(trouble) from trouble
        finally:
            self._database.lock.release()
        if isinstance(error, REFUSALS):
            raise self._database.explained(error) from error

    def _commit(self) -> None:
        try:
            self._cursor.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._cursor.connection.in_transaction:
            self._cursor.execute("ROLLBACK")


def use_wal(connection: sqlite3.Connection, timeout: float) -> None:
    """Let readers and a writer work at once; the switch itself does not wait for locks, so it is repeated."""
    end = time.monotonic() + timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if (error.sqlite_errorcode & 0xFF) not in LOCKED or time.monotonic() > end:
                raise
            time.sleep(0.01)


def prepare(connection: sqlite3.Connection, schema: Schema, name: str, *, strict: bool) -> None:
    """Create the schema's tables, or check that those found can be used.

    Raises:
        ForeignDatabase: if `strict` and the file belongs to another program.
        NewerSchema: if a newer version of the library wrote it.
    """
    cursor = connection.cursor()
    cursor.row_factory = None
    if found_version(cursor, schema) == schema.version:
        return
    cursor.execute("BEGIN IMMEDIATE")
    try:
        version = found_version(cursor, schema) or 0
        if not version and strict:
            refuse_foreign(cursor, name)
        if version <= schema.version:
            migrate(cursor, schema, version)
        else:
            raise NewerSchema(
                f"{name} holds a {schema.part} of format {version}, this version of durably reads up to "
                f"{schema.version}; upgrade durably, or use another path"
            )
        cursor.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            cursor.execute("ROLLBACK")
        raise


def found_version(cursor: sqlite3.Cursor, schema: Schema) -> int | None:
    """Return the version of the schema that the database holds; None when it holds none."""
    known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'durably_parts'"
    if cursor.execute(known).fetchone() is None:
        return None
    row = cursor.execute("SELECT version FROM durably_parts WHERE part = ?", (schema.part,)).fetchone()
    return None if row is None else int(row[0])


def refuse_foreign(cursor: sqlite3.Cursor, name: str) -> None:
    """Refuse a database in which another program keeps tables and this library none."""
    tables = [str(row[0]) for row in cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    if tables and not any(table.startswith("durably") for table in tables):
        raise ForeignDatabase(
            f"{name} belongs to another program (it has the table {tables[0]!r}); use another path, "
            f"or give an open connection to share it"
        )


def migrate(cursor: sqlite3.Cursor, schema: Schema, version: int) -> None:
    """Bring the tables up to date, and write down their version."""
    cursor.execute("CREATE TABLE IF NOT EXISTS durably_parts (part TEXT PRIMARY KEY, version INTEGER NOT NULL)")
    for statements in schema.migrations[version:]:
        for statement in statements:
            cursor.execute(statement)
    cursor.execute("INSERT OR REPLACE INTO durably_parts VALUES (?, ?)", (schema.part, schema.version))
