"""Threads and runs in one SQLite file, shared by any number of threads and processes of one machine."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Literal, cast

from msgspec.structs import replace

from ..._sqlite import Database, Schema, Synchronous
from ..._wal import WriteAheadLog
from ...errors import ConfigError, DatabaseLocked, DurablyError
from ...serde import Serializer, TypedSerializer
from ..base import BaseCheckpointer, Busy, Chunk, Opened, OwnerRow, RunRow, ThreadQuery, ThreadRow, Work
from ..opening import Opening, Ready
from ..rows import CHANGING
from .session import SqliteSession
from .typed import Typed, bytes_of

__all__ = ["SqliteSaver"]

CHUNKS_A_RUN = 1 << 24
"""The journal's key is the run's number times this, plus the chunk's place: one index says both."""

SCHEMA = Schema(
    "checkpointer",
    (
        (
            """create table durably_thread (
                no integer primary key, thread_id text not null unique, fence integer not null, run_no integer not null,
                head_no integer not null, owner text not null, since real not null)""",
            """create table durably_run (
                no integer primary key, run_id text not null unique, thread_no integer not null, workflow text not null,
                status text not null, attempt integer not null, created_at real not null, updated_at real not null,
                parent text not null, head blob not null, input blob not null, outcome blob, saved blob,
                base_no integer not null, key text not null, saved_no integer not null, saved_base integer not null)""",
            "create index durably_run_thread on durably_run (thread_no, no)",
            "create unique index durably_run_key on durably_run (thread_no, key) where key <> ''",
            "create index durably_run_resting on durably_run (status, no) where status not in ('running', 'done')",
            "create index durably_thread_held on durably_thread (owner) where owner <> ''",
            "create table durably_journal (key integer primary key, data blob not null)",
            """create table durably_owner (
                owner text primary key, host text not null, until real not null) without rowid""",
        ),
        (
            "alter table durably_thread add column next_no integer not null default 0",
            "alter table durably_run add column due real",
            "create index durably_run_due on durably_run (workflow, due) where due is not null",
        ),
        (
            "drop index durably_run_resting",
            """create index durably_run_resting on durably_run (workflow, status, no)
                where status not in ('running', 'done')""",
            "create index durably_run_listed on durably_run (workflow, no)",
        ),
    ),
)

THREAD_WIDTH = len(ThreadRow.__struct_fields__)
JOURNAL = "durably_journal.data"

FLUSHES: dict[str, Synchronous] = {"full": "FULL", "normal": "NORMAL"}

thread_row = Typed(ThreadRow, "durably_thread")
run_row = Typed(RunRow, "durably_run")
owner_row = Typed(OwnerRow, "durably_owner")

OPEN = """
    select t.*, h.run_id, h.saved, r.*
    from durably_thread t left join durably_run h on h.no = t.head_no left join durably_run r on r.no = t.run_no
    where t.thread_id = ?"""
RUN = "select * from durably_run where no = ?"
SAVED_BASES = """
    with recursive bases (no) as (
        select saved_base from durably_run where no = ?
        union select r.saved_base from durably_run r join bases b on r.no = b.no)
    select r.* from bases b join durably_run r on r.no = b.no"""
SAVE = "update durably_run set saved = ?, saved_base = ? where no = ?"
DELETE_JOURNAL = "delete from durably_journal where key between ? and ?"
DELETE_RUN = "delete from durably_run where no = ?"
DELETE_THREAD = "delete from durably_thread where no = ?"
THREAD_NOS = "select no, thread_id from durably_thread where no > ? order by no limit ?"
FIND_RUN = "select * from durably_run where run_id = ?"
FIND_KEY = "select * from durably_run where thread_no = ? and key = ? and key <> ''"
RUNS = "select * from durably_run where thread_no = ? and no < ? order by no desc limit ?"
THREAD = "select * from durably_thread where no = ?"
DUE = """
    select t.*, r.* from durably_run r join durably_thread t on t.no = r.thread_no
    where r.workflow = ? and r.due <= ? and t.owner = '' order by r.due limit ?"""
WAITING = "select * from durably_run where thread_no = ? and no > ? and status = 'pending' order by no limit 1"
HOLDERS = """
    select distinct t.owner, coalesce(o.host, ''), coalesce(o.until, 0.0)
    from durably_thread t left join durably_owner o on o.owner = t.owner where t.owner <> ''"""
HELD = """
    select t.*, r.* from durably_thread t join durably_run r on r.no = t.run_no where t.owner = ? and t.owner <> ''"""
# The order of the tables is forced: the latest runs are mostly the current ones of their threads.
THREADS = """
    select t.*, r.* from {} on t.no = r.thread_no and t.run_no = r.no
    where {} and r.workflow = ? and r.updated_at >= ? and r.updated_at < ? and r.no < ? order by r.no desc limit ?"""
BY_RUN = "durably_run r cross join durably_thread t"
ANY_THREADS = THREADS.format(BY_RUN, "r.status <> ?")
DONE_THREADS = THREADS.format(BY_RUN, "r.status = ?")
RESTING_THREADS = THREADS.format(BY_RUN, "r.status = ? and r.status not in ('running', 'done')")
RUNNING_THREADS = THREADS.format("durably_thread t cross join durably_run r", "r.status = ? and t.owner <> ''")
THREADS_BY_STATUS = {"": ANY_THREADS, "done": DONE_THREADS, "running": RUNNING_THREADS}
RECORDS = "select data from durably_journal where key > ? and key < ? order by key"
PUT_THREAD = """
    insert into durably_thread values (nullif(?, 0), ?, ?, ?, ?, ?, ?, ?)
    on conflict (no) do update set fence = excluded.fence, run_no = excluded.run_no, head_no = excluded.head_no,
    owner = excluded.owner, since = excluded.since, next_no = excluded.next_no"""
INSERT_RUN = "insert into durably_run values (nullif(?, 0), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
UPDATE_RUN = f"update durably_run set {', '.join(f'{name} = ?' for name in CHANGING)} where no = ?"
# A fence that does not hold makes the data null, which the column refuses, so that the row is left out. A select with a
# condition would say it more plainly, but what is selected from the table it goes into is written to a temporary one first.
APPEND = """
    insert or ignore into durably_journal (key, data) values (
        coalesce((select max(key) from durably_journal where key between ? and ?), ?) + 1,
        case when exists (select 1 from durably_thread where no = ? and fence = ?) then ? end)"""
THREAD_COLUMNS = attrgetter(*ThreadRow.__struct_fields__)
RUN_COLUMNS = attrgetter(*RunRow.__struct_fields__)
CHANGING_COLUMNS = attrgetter(*CHANGING, "no")
OWNER = "select owner, host, until from durably_owner where owner = ?"
PUT_OWNER = "insert or replace into durably_owner values (?, ?, ?)"
DELETE_OWNERS = """
    delete from durably_owner
    where until < ? and not exists (select 1 from durably_thread t where t.owner = durably_owner.owner and t.owner <> '')"""


class _Statements:
    """The operations of a `Transaction`, each one statement."""

    def __init__(self, cursor: sqlite3.Cursor, log: WriteAheadLog) -> None:
        self._execute = cursor.execute
        self._log = log

    def open(self, thread_id: str) -> Opened:
        row = self._execute(OPEN, (thread_id,)).fetchone()
        if row is None:
            return Opened()
        name, saved, *run = row[THREAD_WIDTH:]
        return Opened(
            thread_row(row[:THREAD_WIDTH]),
            None if run[0] is None else run_row(run),
            None if saved is None else (str(name), bytes_of(saved, "durably_run.saved")),
        )

    def run(self, run_no: int) -> RunRow | None:
        return self._one_run(RUN, (run_no,))

    def saved_bases(self, run_no: int) -> list[RunRow]:
        return [run_row(row) for row in self._execute(SAVED_BASES, (run_no,))]

    def save(self, run_no: int, saved: bytes | None, saved_base: int) -> None:
        self._execute(SAVE, (saved, saved_base, run_no))

    def delete_runs(self, run_nos: Sequence[int]) -> None:
        for run_no in run_nos:
            self._execute(DELETE_JOURNAL, (run_no * CHUNKS_A_RUN, (run_no + 1) * CHUNKS_A_RUN - 1))
            self._execute(DELETE_RUN, (run_no,))

    def delete_thread(self, thread_no: int) -> None:
        self._execute(DELETE_THREAD, (thread_no,))

    def thread_nos(self, after: int, limit: int) -> list[tuple[int, str]]:
        return self._execute(THREAD_NOS, (after, limit)).fetchall()

    def find_run(self, run_id: str) -> RunRow | None:
        return self._one_run(FIND_RUN, (run_id,))

    def find_key(self, thread_no: int, key: str) -> RunRow | None:
        return self._one_run(FIND_KEY, (thread_no, key))

    def runs(self, thread_no: int, before: int, limit: int) -> list[RunRow]:
        return [run_row(row) for row in self._execute(RUNS, (thread_no, before, limit))]

    def due(self, workflows: Sequence[str], now: float, limit: int) -> list[tuple[ThreadRow, RunRow]]:
        found = [pair for name in workflows for pair in self._pairs(DUE, (name, now, limit))]
        return sorted(found, key=lambda pair: pair[1].due or 0.0)[:limit]

    def waiting(self, thread_no: int, after: int) -> RunRow | None:
        return self._one_run(WAITING, (thread_no, after))

    def holders(self) -> list[OwnerRow]:
        return [owner_row(row) for row in self._execute(HOLDERS)]

    def held(self, owner: str) -> list[tuple[ThreadRow, RunRow]]:
        return self._pairs(HELD, (owner,))

    def threads(self, query: ThreadQuery, before: int, limit: int) -> list[tuple[ThreadRow, RunRow]]:
        statement = THREADS_BY_STATUS.get(query.status, RESTING_THREADS)
        return self._pairs(statement, (query.status, query.workflow, query.since, query.until, before, limit))

    def _pairs(self, statement: str, bound: tuple[Any, ...]) -> list[tuple[ThreadRow, RunRow]]:
        rows = self._execute(statement, bound)
        return [(thread_row(row[:THREAD_WIDTH]), run_row(row[THREAD_WIDTH:])) for row in rows]

    def _one_run(self, statement: str, parameters: tuple[int | str, ...]) -> RunRow | None:
        row = self._execute(statement, parameters).fetchone()
        return None if row is None else run_row(row)

    def records(self, run_no: int, after: int = 0) -> list[bytes]:
        base = run_no * CHUNKS_A_RUN  # places are numbered from one, without gaps
        return [bytes_of(data, JOURNAL) for (data,) in self._execute(RECORDS, (base + after, base + CHUNKS_A_RUN))]

    def put_thread(self, row: ThreadRow) -> ThreadRow:
        cursor = self._execute(PUT_THREAD, THREAD_COLUMNS(row))
        return row if row.no else replace(row, no=cast(int, cursor.lastrowid))

    def put_run(self, row: RunRow) -> RunRow:
        if row.no:
            self._execute(UPDATE_RUN, CHANGING_COLUMNS(row))
            return row
        cursor = self._execute(INSERT_RUN, RUN_COLUMNS(row))
        return replace(row, no=cast(int, cursor.lastrowid))

    def append(self, chunk: Chunk) -> bool:
        self._log.grows(len(chunk.data))
        return self._execute(APPEND, _appended(chunk)).rowcount == 1

    def thread(self, thread_no: int) -> ThreadRow | None:
        row = self._execute(THREAD, (thread_no,)).fetchone()
        return None if row is None else thread_row(row)

    def owner(self, owner: str) -> OwnerRow | None:
        row = self._execute(OWNER, (owner,)).fetchone()
        return None if row is None else owner_row(row)

    def put_owner(self, row: OwnerRow) -> None:
        self._execute(PUT_OWNER, (row.owner, row.host, row.until))

    def delete_owners(self, before: float) -> None:
        self._execute(DELETE_OWNERS, (before,))


def _appended(chunk: Chunk) -> tuple[Any, ...]:
    base = chunk.run_no * CHUNKS_A_RUN
    return (base, base + CHUNKS_A_RUN - 1, base, chunk.thread_no, chunk.fence, chunk.data)


class SqliteSaver(BaseCheckpointer):
    """Keeps threads and runs in one SQLite file (WAL mode), created when it is missing.

    Args:
        database: a path, ``":memory:"``, or an open `sqlite3.Connection` made with ``check_same_thread=False``,
            which stays yours to close. It is used in autocommit mode: keep your own transactions on another one.
        patience: for how many seconds a database that somebody else has locked is tried again.
        synchronous: what durability ``"sync"`` waits for: ``"full"``, that a commit survives a power cut; ``"normal"``, that
            it survives the end of the process, as commits of the other durabilities do.
        serde: turns values into bytes and back; by default a `TypedSerializer`.

    Raises:
        ConfigError: `database` or `synchronous` is none of these.
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
        database: str | os.PathLike[str] | sqlite3.Connection,
        *,
        patience: float = 30.0,
        synchronous: Literal["full", "normal"] = "full",
        serde: Serializer | None = None,
    ) -> None:
        if synchronous not in FLUSHES:
            raise ConfigError(f"synchronous={synchronous!r} is not known: use 'full' or 'normal'")
        self.serde = serde or TypedSerializer()
        self.patience = patience
        self._durable: Synchronous = FLUSHES[synchronous]
        if isinstance(database, sqlite3.Connection):
            _check_borrowed(database)
        # Opening waits for locks here; from then on the engine does the waiting.
        self._database = Database(database, SCHEMA, timeout=patience, synchronous="NORMAL", waits=False)
        self._database.open()

    @classmethod
    def from_conn_string(cls, conn_string: str, **options: Any) -> Opening[SqliteSaver]:
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
        try:
            with self._database.transaction(synchronous=self._waits_for(durable)) as cursor:
                statements = _Statements(cursor, self._database.log)
                return [_attempt(work, statements) for work in works]
        except DatabaseLocked as locked:
            raise Busy(str(locked)) from locked

    def read(self, work: Work) -> Any:
        """See `BaseCheckpointer.read`; nobody who writes is kept waiting."""
        try:
            with self._database.transaction(writing=False) as cursor:
                return work(_Statements(cursor, self._database.log))
        except DatabaseLocked as locked:
            raise Busy(str(locked)) from locked

    def append(self, chunks: Sequence[Chunk], *, durable: bool = False) -> list[bool]:
        """See `BaseCheckpointer.append`; a single chunk is a single statement."""
        if len(chunks) != 1:
            return super().append(chunks, durable=durable)
        try:
            return [self._append_one(chunks[0], self._waits_for(durable))]
        except DatabaseLocked as locked:
            raise Busy(str(locked)) from locked

    def _append_one(self, chunk: Chunk, synchronous: Synchronous | None = None) -> bool:
        self._database.log.grows(len(chunk.data))
        return self._database.run(APPEND, _appended(chunk), synchronous=synchronous) == 1

    def session(self, *, durable: bool = False, is_async: bool = False) -> SqliteSession:
        """See `BaseCheckpointer.session`: the saver's own connection, and with it the database's write lock."""
        if is_async:
            raise ConfigError(
                "an async task cannot be transactional on SQLite, whose write lock it would hold while other tasks of its "
                "event loop run: make it a plain `def`; async workflows call it with `await` all the same"
            )
        return SqliteSession(self._database, self._transaction(durable), self._append_one)

    @contextmanager
    def _transaction(self, durable: bool) -> Iterator[sqlite3.Cursor]:
        with self._using(durable), self._database.transaction() as cursor:
            yield cursor

    def reclaim(self) -> None:
        """Shrink the file to what is in use."""
        self._database.shrink()

    def close(self) -> None:
        """Close the connection, unless it was given."""
        self._database.close()

    def _waits_for(self, durable: bool) -> Synchronous:
        return self._durable if durable else "NORMAL"

    @contextmanager
    def _using(self, durable: bool) -> Iterator[None]:
        with self._database.lock:
            try:
                self._database.flush(self._waits_for(durable))
                yield
            except DatabaseLocked as locked:
                raise Busy(str(locked)) from locked


def _attempt(work: Work, statements: _Statements) -> Any:
    try:
        return work(statements)
    except DurablyError as error:
        return error


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
