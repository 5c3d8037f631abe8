"""Threads and runs in a PostgreSQL database, shared by any number of processes on any number of machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

from ..._postgres import Database, Options, Source
from ..._postgres.sources import driver
from ...serde import Serializer, TypedSerializer
from ..base import Away, BaseCheckpointer, Busy, Chunk, Work
from ..opening import Opening, Ready
from .batch import Batch, Known, decide
from .forms import numbers
from .lending import PostgresSession
from .listening import Ear
from .reading import THREADS_BY_NO
from .session import Conflict, Session
from .tables import SCHEMA
from .view import Writes
from .writers import Lost, Writers, translated
from .writing import CONFLICTS, appended

__all__ = ["PostgresSaver"]

TRIES: Final = 20  # each failure means that somebody else got on
MOST_KNOWN: Final = 10_000
FORGET_AFTER: Final = "7 days"


class PostgresSaver(BaseCheckpointer):
    """Keeps threads and runs in tables of one PostgreSQL schema, which `setup` makes.

    Args:
        database: a connection string; a `psycopg.Connection`, which stays yours to close and is put into autocommit mode;
            a `psycopg_pool.ConnectionPool`. Of an async connection or pool the parameters are taken, for connections of the
            saver's own.
        schema: the name of the PostgreSQL schema.
        pipeline: send several statements at once, and wait for their answers together.
        pgbouncer: keep to what works through a pooler that gives each transaction another connection.
        reconnect_for: for how many seconds a server that is busy or cannot be reached is tried again.
        serde: turns values into bytes and back; by default a `TypedSerializer`.

    Raises:
        ConfigError: it cannot be reached by that, or psycopg is not installed.
    """

    inline: ClassVar[bool] = False

    def __init__(
        self,
        database: Source,
        *,
        schema: str = "public",
        pipeline: bool = True,
        pgbouncer: bool = False,
        reconnect_for: float = 60.0,
        serde: Serializer | None = None,
    ) -> None:
        self.serde = serde or TypedSerializer()
        self.patience = reconnect_for
        self._database = Database(database, SCHEMA, Options(schema, pipeline, pgbouncer))
        self._known: Known = {}
        self._writers = Writers(self._database)
        self._ear = Ear(self._database)

    @classmethod
    def from_conn_string(cls, conn_string: str, **options: Any) -> Opening[PostgresSaver]:
        """Connect for the length of a ``with`` or ``async with`` block.

        Args:
            conn_string: as for `psycopg.connect`.
            options: as for the class.
        """

        def connect() -> PostgresSaver:
            saver = cls(conn_string, **options)
            saver._database.open()
            return saver

        return Opening(connect)

    def setup(self) -> Ready:
        """Make the schema and the tables, or bring them up to date; async programs may await it.

        Safe to call from many processes at once. It needs the right to create tables, which other methods do not.

        Raises:
            NewerSchema: a newer version of this library made them.
            StorageError: the server refuses.
        """
        self._database.setup()
        return Ready()

    def migrations_sql(self, after: int = 0) -> str:
        """What `setup` does, as an SQL script for somebody who may.

        Args:
            after: the version of the tables that are there; 0 where there are none.
        """
        return self._database.migrations.script(after)

    def transact(self, works: Sequence[Work], *, durable: bool = False) -> list[Any]:
        """See `BaseCheckpointer.transact`."""
        return Batch(works, lambda group: self._tried(lambda: self._transact(group, durable))).run()

    def append(self, chunks: Sequence[Chunk], *, durable: bool = False) -> list[bool]:
        """See `BaseCheckpointer.append`; a single statement."""
        if not chunks:
            return []
        results: list[bool] = self._tried(lambda: self._append(chunks, durable))
        return results

    def listen(self, heard: Callable[[], None]) -> Callable[[], None]:
        """See `BaseCheckpointer.listen`; behind pgbouncer, which lends no connection for longer, there are no hints."""
        return (lambda: None) if self._database.options.pgbouncer else self._ear.add(heard)

    def session(self, *, durable: bool = False, is_async: bool = False) -> PostgresSession:
        """See `BaseCheckpointer.session`: a new connection for each, beside those in use and those of a pool.

        A sync body is given a `psycopg.Connection`, an async one a `psycopg.AsyncConnection`.
        """
        return PostgresSession(self._database, self._writers, durable=durable, is_async=is_async)

    def reclaim(self) -> None:
        """Forget processes and commits of long ago; rows are vacuumed by the server itself."""
        with translated:
            self._database.run(f"delete from {{schema}}.durably_commit where at < now() - interval '{FORGET_AFTER}'")
            self._database.run(
                "delete from {schema}.durably_owner where "
                f"until < extract(epoch from now() - interval '{FORGET_AFTER}')::double precision"
            )

    def close(self) -> None:
        """Close the saver's own connections; what was given stays open."""
        self._ear.close()
        self._database.close()

    # Transactions.

    def _tried(self, transaction: Callable[[], list[Any]]) -> list[Any]:
        """Have works decide anew when something has changed since they read it."""
        for _ in range(TRIES):
            try:
                return transaction()
            except Conflict:
                self._known.clear()
        raise Busy(f"others changed the same threads of {self._database.name}, {TRIES} times in a row")

    def _transact(self, works: list[Work], durable: bool) -> list[Any]:
        writer, outcome = self._writers.take(), None
        session = Session(self._database, durable=durable)
        try:
            with translated, session:
                outcome = decide(works, session, self._known)
                if outcome.writes or session.has_flushed:
                    session.commit(outcome.writes, writer.name, writer.no)
                else:
                    session.end()
        except Lost as lost:
            if outcome is None or not session.committing:
                raise Away(str(lost)) from lost
            results, writes = outcome.results, outcome.writes
            raise self._writers.uncertain(lost, writer, lambda: self._kept(results, writes)) from lost
        self._writers.give(writer)
        return self._kept(outcome.results, outcome.writes)

    def _append(self, chunks: Sequence[Chunk], durable: bool) -> list[Any]:
        writer = self._writers.take()
        try:
            with translated, self._database.connection() as connection:
                try:
                    ((kept, *_),) = self._database.ask(connection, *appended(chunks, writer.name, writer.no, durable))
                except driver().Error as error:
                    if error.sqlstate in CONFLICTS:
                        raise Conflict(str(error)) from None
                    raise
        except Lost as lost:
            raise self._writers.uncertain(lost, writer, lambda: self._still_held(chunks)) from lost
        self._writers.give(writer)
        return [place in kept for place in range(1, len(chunks) + 1)]

    def _kept(self, results: list[Any], writes: Writes) -> list[Any]:
        """Remember the threads that were written, as they are now."""
        if len(self._known) > MOST_KNOWN:
            self._known.clear()
        for no in writes.untold | writes.dead_threads:
            self._known.pop(no, None)
        for no, row in writes.threads.items():
            before = -1 if no in writes.new_threads else writes.versions.get(no)
            if before is None or no in writes.dead_threads:
                self._known.pop(no, None)
            else:
                self._known[no] = row, before + 1
        return results

    def _still_held(self, chunks: Sequence[Chunk]) -> list[bool]:
        """Whether chunks were kept: they were where the fence holds now, and elsewhere their attempt is over anyway."""
        rows = self._database.rows(THREADS_BY_NO, (numbers(chunk.thread_no for chunk in chunks),))
        fences = {row[0]: row[2] for row in rows}
        return [fences.get(chunk.thread_no) == chunk.fence for chunk in chunks]
