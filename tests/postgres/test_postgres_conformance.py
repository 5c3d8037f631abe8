"""The checkpointer for PostgreSQL passes the public suite, however it is connected."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import psycopg
import psycopg_pool
import pytest

from durably import entrypoint, task
from durably.checkpoint.base import BaseCheckpointer, OwnerRow
from durably.checkpoint.postgres import PostgresSaver
from durably.checkpoint.postgres.aio import AsyncPostgresSaver
from durably.errors import ConfigError, StorageError
from durably.serde import TypedSerializer
from durably.testing import CheckpointerConformance
from postgres_server import Place


class TestPostgres(CheckpointerConformance):
    @pytest.fixture(autouse=True)
    def place(self, postgres: Place) -> None:
        self.postgres = postgres

    def make(self) -> BaseCheckpointer:
        saver = PostgresSaver(self.postgres.conninfo, schema=self.postgres.schema)
        saver.setup()
        return saver

    def reopen(self, checkpointer: BaseCheckpointer) -> BaseCheckpointer:
        return PostgresSaver(self.postgres.conninfo, schema=self.postgres.schema, serde=TypedSerializer())


class TestPostgresBehindPgbouncer(TestPostgres):
    """One statement at a time, none prepared, on a pool that lends another connection every time."""

    @pytest.fixture(autouse=True)
    def pool(self, place: None) -> Iterator[None]:
        with psycopg_pool.ConnectionPool(self.postgres.conninfo, min_size=2, max_size=4) as self.given:
            yield

    def make(self) -> BaseCheckpointer:
        saver = PostgresSaver(self.given, schema=self.postgres.schema, pgbouncer=True)
        saver.setup()
        return saver


def test_the_familiar_ways_to_make_one(postgres: Place) -> None:
    @task
    async def double(x: int) -> int:
        return 2 * x

    async def run() -> int:
        async with AsyncPostgresSaver.from_conn_string(postgres.conninfo, schema=postgres.schema) as saver:
            await saver.setup()

            @entrypoint(checkpointer=saver)
            async def quadruple(x: int) -> int:
                return await double(await double(x))

            return await quadruple.ainvoke(3, {"configurable": {"thread_id": "1"}})

    assert asyncio.run(run()) == 12
    with psycopg.connect(postgres.conninfo, row_factory=psycopg.rows.dict_row) as connection:
        assert PostgresSaver(connection, schema=postgres.schema).delete_thread("1")


def test_what_setup_makes_is_made_by_its_script_too(postgres: Place) -> None:
    with PostgresSaver(postgres.conninfo, schema=postgres.schema) as saver:
        with pytest.raises(StorageError, match=r"call setup\(\)"):
            saver.append([])
            saver.delete_thread("a")
        with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
            connection.execute(saver.migrations_sql().encode())
        assert not saver.delete_thread("a")


def test_a_lease_ends_by_the_clock_of_the_database(postgres: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the process that reads it is an hour ahead of the one that wrote it."""
    with PostgresSaver(postgres.conninfo, schema=postgres.schema) as saver:
        saver.setup()
        now = time.time()
        (_,) = saver.transact([lambda transaction: transaction.put_owner(OwnerRow("p", "h", now + 30))])
        monkeypatch.setattr(time, "time", lambda: now + 3600)
        (row,) = saver.transact([lambda transaction: transaction.owner("p")])
        assert row is not None
        assert now + 3600 < row.until <= now + 3600 + 30


def test_names_that_are_too_long_are_refused_and_stop_nobody_else(postgres: Place) -> None:
    with PostgresSaver(postgres.conninfo, schema=postgres.schema) as saver:
        saver.setup()
        results = saver.transact([lambda t: t.open("x" * 2001), lambda t: t.open("y" * 2000).thread])
        assert isinstance(results[0], ConfigError)
        assert results[1] is None


def test_what_the_server_refuses_is_refused_to_those_alone_who_asked_for_it(postgres: Place) -> None:
    """A value that no column can hold stands for whatever the server may object to."""
    with PostgresSaver(postgres.conninfo, schema=postgres.schema) as saver:
        saver.setup()
        results = saver.transact(
            [
                lambda transaction: transaction.put_owner(OwnerRow("good", "h", 1.0)),
                lambda transaction: transaction.put_owner(OwnerRow("bad\0", "h", 1.0)),
                lambda transaction: transaction.put_owner(OwnerRow("better", "h", 1.0)),
            ]
        )
        assert [type(result) for result in results] == [type(None), StorageError, type(None)]
        (found,) = saver.transact([lambda transaction: [transaction.owner(name) for name in ("good", "better")]])
        assert None not in found
