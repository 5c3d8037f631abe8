"""Threads and runs in one SQLite file, shared by any number of threads and processes of one machine."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, cast

from ...errors import ConfigError, DurablyError, ForeignDatabase, NewerSchema, StorageError
from ...serde import Serializer, TypedSerializer
from ..base import BaseCheckpointer, Busy, Chunk, Opened, OwnerRow, RunRow, ThreadRow, Work

__all__ = ["SqliteSaver"]

APPLICATION_ID = 0x64757262  # "durb", in the file's header
CHUNKS_A_RUN = 1 << 24

MIGRATIONS = (
    """
    create table thread (
        no integer primary key, thread_id text not null unique, fence integer not null, run_no integer not null,
        head_no integer not null, owner text not null, since real not null);
    create table run (
        no integer primary key, run_id text not null unique, thread_no integer not null, workflow text not null,
        status text not null, attempt integer not null, created_at real not null, updated_at real not null,
        parent text not null, head blob not null, input blob not null, outcome blob, saved blob,
        base_no integer not null, key text not null);
    create index run_of_thread on run (thread_no, no);
    create unique index run_of_key on run (thread_no, key) where key <> '';
    create index thread_held on thread (owner) where owner <> '';
    create table journal (key integer primary key, data blob not null);
    create table owner (owner text primary key, host text not null, until real not null) without rowid;
    """,
)
"""Numbered from 1; a file's ``user_version`` says how many it has had. Released ones are never edited."""

OPEN = """
    select t.no, t.thread_id, t.fence, t.run_no, t.head_no, t.owner, t.since, h.run_id, h.saved, r.*
    from thread t left join run h on h.no = t.head_no left join run r on r.no = t.run_no where t.thread_id = ?"""
RUN = "select * from run where no = ?"
FIND_RUN = "select * from run where run_id = ?"
FIND_KEY = "select * from run where thread_no = ? and key = ? and key <> ''"
RUNS = "select * from run where thread_no = ? and no < ? order by no desc limit ?"
HELD = """
    select t.no, t.thread_id, t.fence, t.run_no, t.head_no, t.owner, t.since, r.*
    from thread t join run r on r.no = t.run_no where t.owner <> ''"""
RECORDS = "select data from journal where key > ? and key < ? order by key"
PUT_THREAD = """
    insert into thread (no, thread_id, fence, run_no, head_no, owner, since) values (nullif(?, 0), ?, ?, ?, ?, ?, ?)
    on conflict (no) do update set fence = excluded.fence, run_no = excluded.run_no, head_no = excluded.head_no,
    owner = excluded.owner, since = excluded.since"""
INSERT_RUN = "insert into run values (nullif(?, 0), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
UPDATE_RUN = "update run set status = ?, attempt = ?, updated_at = ?, outcome = ?, saved = ? where no = ?"
APPEND = """
    insert into journal (key, data)
    select coalesce((select max(key) from journal where key between ? and ?), ?) + 1, ?
    where exists (select 1 from thread where no = ? and fence = ?)"""
RUN_COLUMNS = attrgetter(*(field.name for field in fields(RunRow)))
FENCE = "select fence from thread where no = ?"
OWNER = "select owner, host, until from owner where owner = ?"
PUT_OWNER = "insert or replace into owner values (?, ?, ?)"


class _Statements:
    """The operations of a `Transaction`, each one statement."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def open(self, thread_id: str) -> Opened:
        row = self._execute(OPEN, (thread_id,)).fetchone()
        if row is None:
            return Opened()
        saved = None if row[8] is None else (row[7], row[8])
        return Opened(ThreadRow(*row[:7]), None if row[9] is None else RunRow(*row[9:]), saved)

    def run(self, run_no: int) -> RunRow | None:
        return self._one_run(RUN, (run_no,))

    def find_run(self, run_id: str) -> RunRow | None:
        return self._one_run(FIND_RUN, (run_id,))

    def find_key(self, thread_no: int, key: str) -> RunRow | None:
        return self._one_run(FIND_KEY, (thread_no, key))

    def runs(self, thread_no: int, before: int, limit: int) -> list[RunRow]:
        return [RunRow(*row) for row in self._execute(RUNS, (thread_no, before, limit))]

    def held(self) -> list[tuple[ThreadRow, RunRow]]:
        return [(ThreadRow(*row[:7]), RunRow(*row[7:])) for row in self._execute(HELD)]

    def _one_run(self, statement: str, parameters: tuple[int | str, ...]) -> RunRow | None:
        row = self._execute(statement, parameters).fetchone()
        return None if row is None else RunRow(*row)

    def records(self, run_no: int) -> list[bytes]:
        base = run_no * CHUNKS_A_RUN
        return [data for (data,) in self._execute(RECORDS, (base, base + CHUNKS_A_RUN))]

    def put_thread(self, row: ThreadRow) -> ThreadRow:
        cursor = self._execute(
            PUT_THREAD, (row.no, row.thread_id, row.fence, row.run_no, row.head_no, row.owner, row.since)
        )
        return row if row.no else replace(row, no=cast(int, cursor.lastrowid))

    def put_run(self, row: RunRow) -> RunRow:
        if row.no:
            self._execute(UPDATE_RUN, (row.status, row.attempt, row.updated_at, row.outcome, row.saved, row.no))
            return row
        cursor = self._execute(INSERT_RUN, RUN_COLUMNS(row))
        return replace(row, no=cast(int, cursor.lastrowid))

    def append(self, chunk: Chunk) -> bool:
        base = chunk.run_no * CHUNKS_A_RUN
        place = (base, base + CHUNKS_A_RUN - 1, base)
        return self._execute(APPEND, (*place, chunk.data, chunk.thread_no, chunk.fence)).rowcount == 1

    def fence(self, thread_no: int) -> int:
        row = self._execute(FENCE, (thread_no,)).fetchone()
        return 0 if row is None else row[0]

    def owner(self, owner: str) -> OwnerRow | None:
        row = self._execute(OWNER, (owner,)).fetchone()
        return None if row is None else OwnerRow(*row)

    def put_owner(self, row: OwnerRow) -> None:
        self._execute(PUT_OWNER, (row.owner, row.host, row.until))


class SqliteSaver(BaseCheckpointer):
    """Keeps threads and runs in one SQLite file (WAL mode), created when it is missing.

    Args:
        database: a path, ``":memory:"``, or an open `sqlite3.Connection` made with ``check_same_thread=False``,
            which stays yours to close. It is used in autocommit mode: keep your own transactions on another one.
        patience: for how many seconds a database that somebody else has locked is tried again.
        serde: turns values into bytes and back; by default a `TypedSerializer`.

    Raises:
        ForeignDatabase: the file is corrupt or belongs to another program.
        NewerSchema: a newer version of this library has written it.
        StorageError: it cannot be opened.

    >>> from durably.func import entrypoint
    >>> @entrypoint(checkpointer=SqliteSaver(":memory:"))
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> double.invoke(4, thread_id="a")
    8
    """

    def __init__(
        self,
        database: str | Path | sqlite3.Connection,
        *,
        patience: float = 30.0,
        serde: Serializer | None = None,
    ) -> None:
        self.serde = serde or TypedSerializer()
        self.patience = patience
        self._lock = threading.Lock()
        self._durable = False
        self._borrowed = isinstance(database, sqlite3.Connection)
        if isinstance(database, sqlite3.Connection):
            _check_borrowed(database)
            self._connection = database
        else:
            self._connection = _connect(database)
        self._name = "the given connection" if self._borrowed else str(database)
        # A saver that nobody closes is closed with the program, or when nothing refers to it any more.
        self._closing = None if self._borrowed else weakref.finalize(self, self._connection.close)
        self._statements = _Statements(self._connection)
        try:
            _prepare(self._connection, self._name, patience)
        except BaseException:
            self.close()
            raise

    @classmethod
    def from_conn_string(cls, conn_string: str, **options: Any) -> Opening:
        """Open for the length of a ``with`` or ``async with`` block.

        Args:
            conn_string: a path or ``":memory:"``.
            options: as for the class.

        >>> with SqliteSaver.from_conn_string(":memory:") as saver:
        ...     saver.inline
        True
        """
        return Opening(lambda: cls(conn_string, **options))

    def setup(self) -> Ready:
        """Nothing to do: the tables are made on opening. Ported programs call it, or await it."""
        return Ready()

    def transact(self, works: Sequence[Work], *, durable: bool = False) -> list[Any]:
        """See `BaseCheckpointer.transact`."""
        with self._lock, self._translated():
            self._flush_fully(durable)
            self._connection.execute("begin immediate")
            try:
                results = [self._attempt(work) for work in works]
                self._connection.execute("commit")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("rollback")
                raise
            return results

    def append(self, chunks: Sequence[Chunk], *, durable: bool = False) -> list[bool]:
        """See `BaseCheckpointer.append`; a single chunk is a single statement."""
        if len(chunks) != 1:
            return super().append(chunks, durable=durable)
        with self._lock, self._translated():
            self._flush_fully(durable)
            return [self._statements.append(chunks[0])]

    def close(self) -> None:
        """Close the connection, unless it was given."""
        if self._closing is not None:
            self._closing()

    def _attempt(self, work: Work) -> Any:
        try:
            return work(self._statements)
        except DurablyError as error:
            return error

    def _flush_fully(self, durable: bool) -> None:
        if durable != self._durable:
            self._connection.execute(f"pragma synchronous = {'full' if durable else 'normal'}")
            self._durable = durable

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _translate(error, self._name) from error


class Ready:
    """What has been done already; awaiting it takes no time."""

    def __await__(self) -> Iterator[None]:
        return iter(())


class Opening:
    """A checkpointer that a ``with`` or ``async with`` block opens and closes."""

    def __init__(self, make: Callable[[], SqliteSaver]) -> None:
        self._make = make
        self._saver: SqliteSaver | None = None

    def __enter__(self) -> SqliteSaver:
        self._saver = self._make()
        return self._saver

    def __exit__(self, *_: object) -> None:
        if self._saver is not None:
            self._saver.close()

    async def __aenter__(self) -> SqliteSaver:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


def _connect(database: str | Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(database, timeout=0, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise StorageError(
            f"cannot open the database {str(database)!r}: {error}. Does its folder exist, and may this process write there?"
        ) from error


def _check_borrowed(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        raise ConfigError("the given connection is in the middle of a transaction: commit or roll it back first")
    refusals: list[sqlite3.Error] = []

    def use() -> None:
        try:
            connection.execute("select 1")
        except sqlite3.Error as error:
            refusals.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    if refusals and "thread" in str(refusals[0]):
        raise ConfigError(
            "the given connection can only be used in the thread that made it, and results are also written from others: "
            "make it with sqlite3.connect(..., check_same_thread=False)"
        )


def _prepare(connection: sqlite3.Connection, name: str, patience: float) -> None:
    """Check that the file is ours or empty, and bring its tables up to date."""
    connection.isolation_level = None
    try:
        connection.execute(f"pragma busy_timeout = {int(patience * 1000)}")
        _version(connection, name)  # a file that is not ours stays as it is
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        connection.execute("begin immediate")
        try:
            _migrate(connection, name)
            connection.execute("commit")
        except BaseException:
            connection.execute("rollback")
            raise
        connection.execute("pragma busy_timeout = 0")  # from here on the engine does the waiting
    except sqlite3.Error as error:
        raise _translate(error, name) from error


def _version(connection: sqlite3.Connection, name: str) -> int:
    """How many migrations the file has had; refuses what another program, or a newer version, has written."""
    (application,) = connection.execute("pragma application_id").fetchone()
    (version,) = connection.execute("pragma user_version").fetchone()
    (tables,) = connection.execute("select count(*) from sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or tables or version):
        raise ForeignDatabase(
            f"{name!r} is a database of another program (application_id {application}, {tables} tables). "
            "Give durably a file of its own."
        )
    if version > len(MIGRATIONS):
        raise NewerSchema(
            f"{name!r} has schema {version}, and this version of durably knows up to {len(MIGRATIONS)}: upgrade durably."
        )
    return int(version)


def _migrate(connection: sqlite3.Connection, name: str) -> None:
    version = _version(connection, name)
    for migration in MIGRATIONS[version:]:
        for statement in filter(str.strip, migration.split(";")):
            connection.execute(statement)
    connection.execute(f"pragma application_id = {APPLICATION_ID}")
    connection.execute(f"pragma user_version = {len(MIGRATIONS)}")


def _translate(error: sqlite3.Error, name: str) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy(f"{name!r} is locked: {error}")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return ForeignDatabase(
            f"{name!r} is corrupt or not a SQLite database: {error}. Restore it, or give another file."
        )
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
        return ConfigError(f"{name!r} is closed: keep the checkpointer open for as long as its workflows run.")
    return StorageError(f"{name!r}: {error}")
