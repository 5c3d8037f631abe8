"""A store in a PostgreSQL database, shared by any number of processes on any number of machines."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self

from ..._postgres import Database, Options, Source
from ...checkpoint.opening import Ready
from ...errors import ConfigError
from ...serde import TypedSerializer
from ..embed import Vectors
from ..names import check_text, joined
from ..ops import IndexConfig, Item, Result, SearchItem, TTLConfig
from ..plan import Delete, Find, Get, List, Planned, Put
from ..prepared import ONCE_SECONDS, SWEEP_ROWS, PreparedStore
from ..rows import Row
from . import statements
from .conditions import document
from .statements import Statement
from .tables import MOST_NAMES, SCHEMA
from .transactions import Answer, Transactions
from .vectors import VectorTables

if TYPE_CHECKING:
    from ...serde.base import Serializer

__all__ = ["PostgresStore"]

WRITES: Final = (Put, Delete)


class PostgresStore(PreparedStore):
    """Keeps items in tables of one PostgreSQL schema, which `setup` makes.

    A write is as durable as the server makes a commit. The server filters and searches by meaning; for the latter it needs
    pgvector, whose index is asked where there are many vectors under the namespace prefix.

    Args:
        database: a connection string; a `psycopg.Connection`, which stays yours to close and is put into autocommit mode;
            a `psycopg_pool.ConnectionPool`. Of an async connection or pool the parameters are taken, for connections of the
            store's own.
        index: makes items searchable by meaning, with pgvector 0.8 or later; without it, a query is left out.
        ttl: how long items live.
        serde: turns values into bytes and back. With one that you give, values are kept in its bytes alone and there are no
            filters; namespaces, keys and the vectors of an index are stored as they are.
        schema: the name of the PostgreSQL schema.
        pgbouncer: keep to what works through a pooler that gives each transaction another connection.
        reconnect_for: for how many seconds a server that is busy or cannot be reached is tried again. What was written is
            never written twice: where a connection is lost in a commit, the server is asked what became of it.
        clock: returns the time in seconds since the epoch, about the same on all machines that share the database.

    Raises:
        ConfigError: if an argument cannot be, or psycopg is not installed.
        StorageError: from each method, if the server refuses.
    """

    def __init__(
        self,
        database: Source,
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        serde: Serializer | None = None,
        schema: str = "public",
        pgbouncer: bool = False,
        reconnect_for: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(index, ttl, serde, clock)
        self._is_readable = type(self._serde) is TypedSerializer
        self._tables = None if self._embedder is None else VectorTables(self._embedder.dims, schema)
        self._database = Database(database, SCHEMA, Options(schema, pgbouncer=pgbouncer))
        self._transactions = Transactions(self._database, reconnect_for)

    @classmethod
    def from_conn_string(cls, conn_string: str, *, pipeline: bool = True, **options: Any) -> Self:
        """Make a store, for a ``with`` or an ``async with`` block that closes it.

        Args:
            conn_string: as for `psycopg.connect`.
            pipeline: send several statements at once, and wait for their answers together.
            options: as for the class.
        """
        store = cls(conn_string, **options)
        store._database.options = replace(store._database.options, pipeline=pipeline)
        return store

    def setup(self) -> Ready:
        """Make the schema and the tables, or bring them up to date; async programs may await it.

        Safe to call from many processes at once. It needs the right to create tables, and for an index the right to create
        the extension ``vector`` where the database does not have it yet; other methods need neither.

        Raises:
            ConfigError: the tables are there, for vectors of another length, or pgvector is too old.
            NewerSchema: a newer version of this library made them.
            StorageError: the server refuses.
        """
        self._database.setup()
        if self._tables is not None:
            self._tables.setup(self._database)
        return Ready()

    def migrations_sql(self, after: int = 0) -> str:
        """What `setup` does, as an SQL script for somebody who may.

        Args:
            after: the version of the tables that are there; 0 where there are none.
        """
        script = self._database.migrations.script(after)
        return script if self._tables is None or after else script + self._tables.script()

    def close(self) -> None:
        """Close the store's own connections; what was given stays open."""
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

    def forget_once(self, run_id: str) -> None:
        check_text(run_id, "the run id")
        self._transactions.repeatable(statements.release(run_id, self._clock() + ONCE_SECONDS))

    def _sweep(self, now: float) -> tuple[int, int]:
        items, claims = self._transactions.write(list(statements.sweep(now, SWEEP_ROWS)))
        return items.count, claims.count

    def _apply(self, plans: list[Planned], vectors: Vectors) -> list[Result]:
        for planned in plans:
            self._check(planned)
        if not plans:
            return []
        if self._tables is not None:
            self._tables.check(self._database)
        now = self._clock()
        if any(isinstance(planned, WRITES) for planned in plans):
            return self._write(plans, vectors, now)
        return self._read(plans, vectors, now)

    def _read(self, plans: list[Planned], vectors: Vectors, now: float) -> list[Result]:
        answers = self._transactions.read([self._statement(planned, vectors, now) for planned in plans])
        for at, planned in enumerate(plans):
            if is_nearest(planned) and fell_short(planned, answers[at]):
                [answers[at]] = self._transactions.read([self._statement(planned, vectors, now, exact=True)])
        touched: set[int] = set()
        results = [self._result(*pair, touched) for pair in zip(plans, answers, strict=True)]
        if touched:
            self._transactions.repeatable(statements.touch(touched, now))
        return results

    def _write(self, plans: list[Planned], vectors: Vectors, now: float) -> list[Result]:
        work = [self._statement(planned, vectors, now, exact=True) for planned in plans]
        sweeps = statements.sweep(now, SWEEP_ROWS) if now >= self._next_sweep else ()
        touched: set[int] = set()

        def touch(answers: list[Answer]) -> list[Statement]:
            self._results(plans, answers, touched)
            return [statements.touch(touched, now)] if touched else []

        reads = not all(isinstance(planned, WRITES) for planned in plans)
        answers = self._transactions.write([*work, *sweeps], touch if reads else None)
        if sweeps:
            self._swept(now, *(answer.count for answer in answers[len(work) :]))
        return self._results(plans, answers, set())

    def _statement(self, planned: Planned, vectors: Vectors, now: float, *, exact: bool = False) -> Statement:
        live_at = now if self._omit_expired else None
        match planned:
            case Get():
                return statements.get(planned, live_at)
            case Find(query=None):
                return statements.find(planned, live_at)
            case Find():
                assert planned.query is not None
                return statements.nearest(planned, live_at, vectors.queries[planned.query], exact=exact)
            case List(op):
                return statements.listing(op, live_at)
            case Delete():
                return statements.delete(planned, now)
            case Put():
                doc = document(planned.value) if self._is_readable else None
                return statements.put(planned, doc, vectors, now)

    def _results(self, plans: list[Planned], answers: list[Answer], touched: set[int]) -> list[Result]:
        return [self._result(*pair, touched) for pair in zip(plans, answers, strict=False)]

    def _result(self, planned: Planned, answer: Answer, touched: set[int]) -> Result:
        """What an operation returns; ``touched`` receives the items whose time starts anew."""
        match planned:
            case Put() | Delete():
                return None
            case List():
                return [tuple(labels) for (labels,) in answer.rows]
            case Get() | Find():
                found = [(as_row(columns), columns[7]) for columns in answer.rows]
                if planned.refresh:
                    touched.update(row.id for row, _ in found if row.expires is not None)
                if isinstance(planned, Find):
                    return [SearchItem(**self._fields(row), score=score) for row, score in found]
                return Item(**self._fields(found[0][0])) if found else None

    def _check(self, planned: Planned) -> None:
        """Refuse what the others can do and this store cannot."""
        if isinstance(planned, Find) and planned.predicate is not None and not self._is_readable:
            raise ConfigError(
                "the store has a serializer of your own, whose bytes PostgreSQL cannot look into, so it cannot be searched "
                "with a filter: put what you search by into the namespace or the key"
            )
        if isinstance(planned, Put) and len(f"{joined(planned.namespace)}{planned.key}".encode()) > MOST_NAMES:
            raise ConfigError(
                f"the namespace and the key {planned.key[:40]!r}... have more than {MOST_NAMES} bytes, and PostgreSQL cannot "
                "find an item by as many: use a digest of the key"
            )


def is_nearest(planned: Planned) -> bool:
    """Return whether this is a search by meaning."""
    return isinstance(planned, Find) and planned.query is not None


def fell_short(planned: Any, answer: Answer) -> bool:
    """Return whether the index gave less than was asked for, although there may be more."""
    return len(answer.rows) < planned.limit and not (answer.rows and answer.rows[0][8])


def as_row(columns: tuple[Any, ...]) -> Row:
    """Return the row behind the columns of a statement."""
    one, namespace, key, data, created, updated, expires = columns[:7]
    return Row(one, tuple(namespace.split(".")), key, data, created, updated, expires)
