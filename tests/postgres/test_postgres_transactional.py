"""What transactional tasks are on PostgreSQL alone: beside other commits, in both colours, over connections that break."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import psycopg
import psycopg_pool
import pytest
from cutting import Proxy

from durably import Workflow, entrypoint, get_runtime, task
from durably.checkpoint.postgres import PostgresSaver
from durably.errors import DatabaseUnavailable, StorageError, Superseded, TransactionError
from postgres_server import Place, Server

INSERT = "insert into payment (call_id, amount) values (%s, %s)"
COMMIT = b"Q\x00\x00\x00\x0bcommit\x00"


class Shop:
    """A table beside the runs, in their schema."""

    def __init__(self, postgres: Place) -> None:
        self.schema = postgres.schema
        self.conninfo = f"{postgres.conninfo} options=-csearch_path={postgres.schema}"
        self.saver = PostgresSaver(self.conninfo, schema=postgres.schema)
        self.saver.setup()
        self.sql("create table payment (call_id text, amount integer, no serial)")

    def sql(self, statement: str) -> None:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(statement.encode())

    @property
    def payments(self) -> list[int]:
        with psycopg.connect(self.conninfo) as connection:
            return [row[0] for row in connection.execute("select amount from payment order by no")]

    def flow(self, body: Callable[[], Any], saver: PostgresSaver | None = None) -> Workflow[Any, Any]:
        return entrypoint(checkpointer=saver or self.saver, name="flow")(lambda _: body())

    def recorded(self, thread: str = "t") -> list[tuple[str, str]]:
        (run,) = self.flow(lambda: None).runs(thread)
        return [(call.name, call.status) for call in run.calls()]


@pytest.fixture
def shop(postgres: Place) -> Iterator[Shop]:
    shop = Shop(postgres)
    yield shop
    shop.saver.close()


@task(transactional=True)
def pay(amount: int, connection: psycopg.Connection[Any]) -> int:
    connection.execute(INSERT, (get_runtime().call_id, amount))
    return amount


@task(transactional=True)
async def apay(amount: int, connection: psycopg.AsyncConnection[Any]) -> int:
    await connection.execute(INSERT, (get_runtime().call_id, amount))
    return amount


# What a body may not do.


def begin_anew(connection: psycopg.Connection[Any]) -> None:
    connection.execute("rollback")
    connection.execute(INSERT, ("", 96))


def swallow(connection: psycopg.Connection[Any]) -> None:
    for statement in ("commit", INSERT.replace("%s, %s", "'', 97"), "set constraints all immediate"):
        try:
            connection.execute(statement.encode())
        except psycopg.Error:
            pass


def go_on_after_an_error(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("select * from nowhere")


def leave_a_block(connection: psycopg.Connection[Any]) -> None:
    with connection:
        connection.execute(INSERT, ("", 98))


BREACHES: list[tuple[Callable[[Any], Any], str]] = [
    (lambda connection: connection.commit(), "tried to COMMIT"),
    (lambda connection: connection.rollback(), "tried to ROLLBACK"),
    (lambda connection: connection.execute("commit"), "ended its transaction"),
    (lambda connection: connection.execute("commit and chain"), "ended its transaction"),
    (lambda connection: connection.execute("rollback"), "ended its transaction"),
    (begin_anew, "ended its transaction, and began another"),
    (swallow, "ended its transaction, and began another"),
    (go_on_after_an_error, "went on after the server had refused"),
    (leave_a_block, "tried to COMMIT"),
    (lambda connection: connection.close(), "closed the connection"),
]


@pytest.mark.parametrize(("breach", "match"), BREACHES)
def test_its_transaction_is_not_for_the_body_to_end(shop: Shop, breach: Callable[[Any], Any], match: str) -> None:
    @task(transactional=True)
    def pays(connection: psycopg.Connection[Any]) -> None:
        connection.execute(INSERT, ("", 1))
        breach(connection)

    def body() -> Any:
        with pytest.raises(TransactionError, match=f"the body of task 'pays' {match}"):
            pays().result()
        return pay(2).result()

    assert shop.flow(body).invoke(1, thread_id="t") == 2
    assert shop.payments == [2]
    assert shop.recorded() == [("pays", "raised"), ("pay", "returned")]


def test_savepoints_are_its_own_business(shop: Shop) -> None:
    @task(transactional=True)
    def pays(connection: psycopg.Connection[Any]) -> None:
        connection.execute(INSERT, ("", 1))
        with pytest.raises(psycopg.errors.UndefinedTable), connection.transaction():
            connection.execute(INSERT, ("", 2))
            connection.execute("select * from nowhere")
        with connection.transaction():
            connection.execute(INSERT, ("", 3))

    shop.flow(lambda: pays().result()).invoke(1, thread_id="t")
    assert shop.payments == [1, 3]


def test_the_database_may_refuse_to_commit(shop: Shop) -> None:
    shop.sql("alter table payment add constraint once unique (amount) deferrable initially deferred")

    def body() -> Any:
        pay(1).result()
        with pytest.raises(StorageError, match="once"):
            pay(1).result()
        return pay(2).result()

    assert shop.flow(body).invoke(1, thread_id="t") == 2
    assert shop.payments == [1, 2]
    assert shop.recorded() == [("pay", "returned"), ("pay", "raised"), ("pay", "returned")]


# Beside others.


@pytest.mark.parametrize("source", ["string", "connection", "pool"])
def test_other_commits_go_on_meanwhile(shop: Shop, source: str) -> None:
    """However the saver is connected: even a single connection is not the one that is lent."""
    double = task(lambda x: 2 * x, name="double")

    def with_saver(database: Any) -> None:
        saver = PostgresSaver(database, schema=shop.schema)
        other = entrypoint(checkpointer=saver, name="other")(lambda x: double(x).result())

        @task(transactional=True)
        def waits(connection: psycopg.Connection[Any]) -> int:
            connection.execute(INSERT, ("", 1))
            with ThreadPoolExecutor(1) as executor:
                return executor.submit(other.invoke, 21, thread_id="other", durability="sync").result()

        assert shop.flow(lambda: waits().result(), saver).invoke(1, thread_id="t") == 42
        saver.close()

    if source == "string":
        with_saver(shop.conninfo)
    elif source == "connection":
        with psycopg.connect(shop.conninfo) as connection:
            with_saver(connection)
    else:
        with psycopg_pool.ConnectionPool(shop.conninfo, min_size=1, max_size=1) as pool:
            with_saver(pool)
    assert shop.payments == [1]


# Async bodies.


def test_async_bodies_side_by_side(shop: Shop) -> None:
    @entrypoint(checkpointer=shop.saver, name="flow")
    async def flow(n: int) -> Any:
        return [*await asyncio.gather(*(apay(n + k) for k in range(4))), await apay(n + 4)]

    async def main() -> Any:
        return await asyncio.gather(*(flow.ainvoke(10 * n, thread_id=str(n)) for n in range(3)))

    assert asyncio.run(main()) == [[10 * n + k for k in range(5)] for n in range(3)]
    assert sorted(shop.payments) == [10 * n + k for n in range(3) for k in range(5)]
    assert shop.flow(lambda: apay(99).result()).invoke(1, thread_id="sync") == 99


async def fails(connection: Any) -> None:
    raise KeyError("no")


ENDS: list[tuple[Callable[[Any], Awaitable[Any]], type[BaseException]]] = [
    (fails, KeyError),
    (lambda connection: connection.execute("select * from nowhere"), psycopg.errors.UndefinedTable),
    (lambda connection: connection.commit(), TransactionError),
    (lambda connection: connection.execute("commit"), TransactionError),
    (lambda connection: connection.close(), TransactionError),
]


@pytest.mark.parametrize(("end", "error"), ENDS)
def test_an_async_body_that_fails_leaves_no_rows(shop: Shop, end: Any, error: type[BaseException]) -> None:
    @task(transactional=True)
    async def pays(connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute(INSERT, ("", 1))
        await end(connection)

    async def body() -> int:
        with pytest.raises(error):
            await pays()
        return await apay(2)

    flow = async_flow(shop, body)
    assert asyncio.run(flow.ainvoke(1, thread_id="t")) == 2
    assert shop.payments == [2]


def async_flow(shop: Shop, body: Callable[[], Awaitable[Any]]) -> Workflow[Any, Any]:
    @entrypoint(checkpointer=shop.saver, name="flow")
    async def flow(_: int) -> Any:
        return await body()

    return flow


def test_an_async_body_that_is_cancelled_leaves_no_rows(shop: Shop) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        @task(transactional=True)
        async def pays(connection: psycopg.AsyncConnection[Any]) -> None:
            await connection.execute(INSERT, ("", 1))
            begun.set()
            await asyncio.Event().wait()

        async def body() -> None:
            await pays()

        running = asyncio.create_task(async_flow(shop, body).ainvoke(1, thread_id="t"))
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert shop.payments == []


def test_a_superseded_async_attempt_writes_no_rows(shop: Shop) -> None:
    async def body() -> int:
        with PostgresSaver(shop.conninfo, schema=shop.schema) as other:
            shop.flow(lambda: None, other).cancel(thread_id="t")
        return await apay(1)

    with pytest.raises(Superseded):
        asyncio.run(async_flow(shop, body).ainvoke(1, thread_id="t"))
    assert shop.payments == []


# Connections that break.


@pytest.mark.parametrize("pays", [pay, apay], ids=["sync", "async"])
@pytest.mark.parametrize("cut", ["lost", "kept"])
def test_a_commit_that_ended_unheard_is_found_out_about(
    shop: Shop, postgres_server: Server, cut: Literal["lost", "kept"], pays: Any
) -> None:
    """Where it took effect the body does not run again; where it did not, it does, and its rows are there once."""
    with tempfile.TemporaryDirectory(prefix="durably-cut-", dir="/tmp") as folder:
        proxy = Proxy(Path(folder), postgres_server.folder, cut, 1, COMMIT)
        with proxy, PostgresSaver(f"{proxy.conninfo} options=-csearch_path={shop.schema}", schema=shop.schema) as saver:
            flow = shop.flow(lambda: [pays(1).result(), pays(2).result()], saver)
            assert flow.invoke(1, thread_id="t") == [1, 2]
            assert proxy.commits >= 2
    assert shop.payments == [1, 2]
    assert shop.recorded() == [(pays.name, "returned")] * 2


BURNING = """
    select pid, pg_blocking_pids(pid) from pg_stat_activity
    where wait_event_type = 'Lock' and query like '%durably_commit%' and cardinality(pg_blocking_pids(pid)) > 0"""


def waits_for(shop: Shop) -> int:
    """The server's process for a transaction whose outcome somebody is asking about, and has to wait for."""
    with psycopg.connect(shop.conninfo, autocommit=True) as connection:
        while not (waiting := connection.execute(BURNING).fetchone()):
            pass
    (holder,) = waiting[1]
    return int(holder)


@pytest.mark.parametrize("comes", ["late", "never"])
def test_a_commit_that_comes_late_is_waited_for(shop: Shop, postgres_server: Server, comes: str) -> None:
    """Nobody decides that it did not take effect while it still may; what the server ends, it cannot commit any more."""
    with tempfile.TemporaryDirectory(prefix="durably-cut-", dir="/tmp") as folder:
        proxy = Proxy(Path(folder), postgres_server.folder, "late", 1, COMMIT)
        with proxy, PostgresSaver(f"{proxy.conninfo} options=-csearch_path={shop.schema}", schema=shop.schema) as saver:
            flow = shop.flow(lambda: [pay(1).result(), pay(2).result()], saver)
            with ThreadPoolExecutor(1) as executor:
                result = executor.submit(flow.invoke, 1, thread_id="t")
                holder = waits_for(shop)
                if comes == "never":
                    shop.sql(f"select pg_terminate_backend({holder})")
                assert (b"COMMIT" in proxy.deliver()) is (comes == "late")
                assert result.result() == [1, 2]
    assert shop.payments == [1, 2]
    assert shop.recorded() == [("pay", "returned")] * 2


@pytest.mark.once("counts how often a body runs")
def test_a_connection_that_is_lost_in_the_body(shop: Shop) -> None:
    """The body runs again in another transaction; where that never ends well, the run can be resumed."""
    tries = []

    @task(transactional=True)
    def pays(connection: psycopg.Connection[Any]) -> int:
        connection.execute(INSERT, ("", 1))
        tries.append(1)
        if len(tries) != 2:
            shop.sql(f"select pg_terminate_backend({connection.info.backend_pid})")
        return connection.execute("select count(*) from payment").fetchone()[0]  # type: ignore[index]

    assert shop.flow(lambda: pays().result()).invoke(1, thread_id="t") == 1
    assert (len(tries), shop.payments) == (2, [1])
    shop.saver.patience = 0.01
    with pytest.raises(DatabaseUnavailable, match="was lost"):
        shop.flow(lambda: pays().result()).invoke(1, thread_id="u")
    assert shop.payments == [1]
