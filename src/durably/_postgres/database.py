"""A database as a part of the library sees it: its tables in one schema, and what its errors mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from .._schema import Schema
from ..errors import (
    ConfigError,
    DatabaseLocked,
    DatabaseUnavailable,
    DurablyError,
    StorageError,
)
from .blobs import teach
from .migrations import Migrations
from .sources import Connections, Source, connections, driver, patient

if TYPE_CHECKING:
    import psycopg

__all__ = ["Database", "Options"]

BUSY: Final = frozenset({"40001", "40P01", "55P03"})
"""Others were faster: serialization failure, deadlock, lock not available."""
AWAY: Final = frozenset({"25006", "53300", "57P01", "57P02", "57P03", "57P05"})
"""Read-only since a failover, too many connections, shut down, crashed, starting, idle for too long."""
MISSING: Final = frozenset({"3F000", "42P01"})
FORBIDDEN: Final = "42501"
NAME_LENGTH: Final = 63  # bytes; PostgreSQL cuts longer names off in silence


@dataclass(frozen=True, slots=True)
class Options:
    """How a database is used.

    Args:
        schema: the name of the PostgreSQL schema that holds the tables.
        pipeline: send several statements at once, and wait for their answers together.
        pgbouncer: keep to what works through a pooler that gives each transaction another connection: statements are not
            prepared on the server, no pipelines, nothing that outlives a transaction.
    """

    schema: str = "public"
    pipeline: bool = True
    pgbouncer: bool = False

    def __post_init__(self) -> None:
        name = self.schema
        fits = isinstance(name, str) and 0 < len(name.encode("utf-8", "replace")) <= NAME_LENGTH
        if not fits or "\0" in name or "%" in name:
            raise ConfigError(
                f"schema={name!r}: give the name of a PostgreSQL schema, of 1 to 63 bytes, without % in it"
            )

    @property
    def prepare_threshold(self) -> int | None:
        """After how many uses a statement is prepared on the server."""
        return None if self.pgbouncer else 5

    @property
    def pipelines(self) -> bool:
        """Whether statements are sent several at once."""
        return self.pipeline and not self.pgbouncer


class Database:
    """Lends connections, in autocommit mode, to threads that take turns or use several at once.

    Args:
        source: a connection string, a connection or a pool; see `Source`.
        schema: the tables of this part of the library.
        options: how to use it.

    Raises:
        ConfigError: if `source` or an option is wrong, or psycopg is not installed.
    """

    def __init__(self, source: Source, schema: Schema, options: Options) -> None:
        self.schema = schema
        self.options = options
        self.migrations = Migrations(schema, options.schema)
        self.sql = lru_cache(maxsize=None)(self.migrations.sql)
        self._connections = connections(source, options.prepare_threshold)
        self._checking = RLock()
        self._is_checked = False

    @property
    def name(self) -> str:
        """What errors call this database."""
        return self._connections.name

    # Using it.

    def connection(self) -> Lent:
        """Borrow a connection; a transaction that the block leaves open is rolled back.

        Raises:
            DatabaseLocked: others were faster; to be tried again.
            DatabaseUnavailable: the server cannot be reached, or the connection was lost on the way.
            StorageError: the server refused, or the tables are not there.
        """
        return Lent(self, self._connections, None if self._is_checked else self._check)

    def connect(self, *, is_async: bool = False, **options: Any) -> Any:
        """Open one more connection, which is the caller's to close: an async one is what this gives to be awaited.

        Args:
            is_async: whether it is to be a `psycopg.AsyncConnection`.
            options: as for `psycopg.connect`.

        Raises:
            psycopg.Error: the server cannot be reached.
        """
        psycopg, threshold = driver(), self.options.prepare_threshold
        kind = psycopg.AsyncConnection if is_async else psycopg.Connection
        parameters = patient(self._connections.conninfo(), threshold)
        return kind.connect(**parameters, prepare_threshold=threshold, **options)

    def pipeline(self, connection: psycopg.Connection[Any]) -> AbstractContextManager[Any]:
        """Send the statements of a block at once, where that is allowed. Fetch their results after the block."""
        return connection.pipeline() if self.options.pipelines else nullcontext()

    def cursor(self, connection: psycopg.Connection[Any], *, binary: bool = True) -> psycopg.Cursor[tuple[Any, ...]]:
        """A cursor whose rows are tuples, however the connection's own are made."""
        teach(connection)
        cursor = connection.cursor(binary=binary, row_factory=driver().rows.tuple_row)
        return cursor

    def execute(
        self, connection: psycopg.Connection[Any], statement: str, bound: Sequence[Any] = ()
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run one statement, in which ``{schema}`` stands for the schema's name."""
        return self.cursor(connection).execute(self.sql(statement), bound)

    def ask(
        self, connection: psycopg.Connection[Any], statement: str, bound: Sequence[Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Run one statement by itself and return its rows. To make a cursor costs as much as to use one, so it is kept."""
        cursor = getattr(connection, "_durably_cursor", None)
        if cursor is None:
            cursor = connection._durably_cursor = self.cursor(connection)  # type: ignore[attr-defined]
        cursor.execute(self.sql(statement), bound)
        result = cursor.pgresult
        assert result is not None
        rows: list[tuple[Any, ...]] = cursor.fetchall() if result.nfields else []
        result.clear()  # it would stay until the next one
        return rows

    def rows(self, statement: str, bound: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one reading statement by itself and return all its rows."""
        with self.connection() as connection:
            return self.ask(connection, statement, bound)

    def run(self, statement: str, bound: Sequence[Any] = ()) -> int:
        """Run one writing statement as a transaction of its own; returns how many rows it changed."""
        with self.connection() as connection:
            return self.execute(connection, statement, bound).rowcount

    @contextmanager
    def transaction(self, begin: str = "begin") -> Iterator[Callable[..., psycopg.Cursor[tuple[Any, ...]]]]:
        """Run statements that take effect together; the block gets ``execute(statement, bound)``."""
        with self.connection() as connection:
            connection.execute(begin.encode())
            yield lambda statement, bound=(): self.execute(connection, statement, bound)
            connection.execute(b"commit")

    # Its tables.

    def setup(self) -> None:
        """Create the schema and the tables, or bring them up to date. Safe to call from many processes at once.

        Raises:
            NewerSchema: a newer version of the library made them.
        """
        with Lent(self, self._connections) as connection:
            connection.execute(b"begin")
            self.migrations.apply(self.cursor(connection))
            connection.execute(b"commit")
            self._is_checked = True

    def open(self) -> None:
        """Reach the server now, so that its owner learns of trouble at once."""
        with Lent(self, self._connections):
            pass

    def close(self) -> None:
        """Close our own connections; what was given stays open."""
        self._connections.close()

    def _check(self, connection: psycopg.Connection[Any]) -> None:
        with self._checking:
            found, wanted, part = self.migrations.found(self.cursor(connection)), self.schema.version, self.schema.part
            if found > wanted:
                raise self.migrations.newer(found, self.name)
            if found < wanted:
                what = "are not there" if not found else f"are of format {found}, and this version needs {wanted}"
                raise StorageError(
                    f"the tables of the {part} in schema {self.options.schema!r} of {self.name} {what}: call setup() once, "
                    "when you deploy, or have an administrator run what migrations_sql() gives"
                )
            self._is_checked = True

    # What may go wrong.

    def explained(self, error: psycopg.Error) -> DurablyError:
        """What an error of the driver means."""
        psycopg, part, name, state = driver(), self.schema.part, self.name, error.sqlstate
        text = str(error).strip()
        if state in BUSY:
            return DatabaseLocked(f"the {part} on {name} was busy: {text}")
        unreachable = isinstance(error, psycopg.OperationalError) and (state is None or state.startswith("08"))
        if state in AWAY or unreachable or type(error).__name__ == "PoolTimeout":
            return DatabaseUnavailable(f"the {part} on {name} cannot be reached: {text}")
        if state in MISSING:
            return StorageError(f"the tables of the {part} on {name} are gone ({text}): call setup()")
        if state == FORBIDDEN:
            return StorageError(
                f"the {part} on {name} may not do this ({text}): its role needs select, insert, update and delete on the "
                "durably_ tables, and setup() needs to own them"
            )
        return StorageError(f"the {part} on {name} refused: {text}")


class Lent:
    """A connection for the length of a block.

    Args:
        database: explains the errors of the driver, which no block lets out.
        connections: where it comes from, and goes back to.
        check: is called with it before the block begins.
    """

    __slots__ = ("_check", "_connection", "_connections", "_database")

    def __init__(
        self,
        database: Database,
        connections: Connections,
        check: Callable[[psycopg.Connection[Any]], None] | None = None,
    ) -> None:
        self._database = database
        self._connections = connections
        self._check = check
        self._connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> psycopg.Connection[Any]:
        try:
            self._connection = self._connections.take()
        except driver().Error as error:
            raise self._database.explained(error) from error
        if self._check is not None:
            try:
                self._check(self._connection)
            except BaseException as error:
                self.__exit__(type(error), error, error.__traceback__)
                raise
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        connection = self._connection
        assert connection is not None
        refused: Any = error if isinstance(error, driver().Error) else None
        lost = True
        try:
            if error is not None:
                roll_back(connection)
            lost = not is_idle(connection)
        finally:  # whatever interrupts this: somebody may wait for the connection
            self._connections.give(connection, lost=lost or (refused is not None and refused.sqlstate in AWAY))
        if refused is not None:
            raise self._database.explained(refused) from refused


def is_idle(connection: psycopg.Connection[Any]) -> bool:
    """Whether a connection can be used for something new."""
    idle: bool = connection.pgconn.transaction_status == driver().pq.TransactionStatus.IDLE
    return idle and not connection.closed


def roll_back(connection: psycopg.Connection[Any]) -> None:
    """Leave a transaction that failed; a connection that cannot even do that is given up by its lender."""
    try:
        if not connection.closed and not is_idle(connection):
            connection.rollback()
    except driver().Error:
        pass
