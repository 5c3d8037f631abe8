"""Tasks that write rows of their own in the transaction that records their result."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from durably import CachePolicy, InMemorySaver, RetryPolicy, Workflow, entrypoint, get_runtime, interrupt, task
from durably.cache.memory import InMemoryCache
from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import (
    ConfigError,
    DatabaseLocked,
    DeclarationError,
    EncodeError,
    StorageError,
    Superseded,
    TransactionError,
)
from durably.testing import stub
from savers import SHARED, open_saver, place_of


class Bank:
    """A database with a table of the user's own beside the runs."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.saver = open_saver(place)
        with closing(self.connect()) as connection:
            connection.execute(self.table)

    table = "create table payment (call_id text, amount integer unique, no integer primary key)"

    def connect(self) -> Any:
        """Somebody else's connection."""
        return sqlite3.connect(self.place)

    @property
    def payments(self) -> list[int]:
        """The amounts, as somebody else reads them."""
        with closing(self.connect()) as connection:
            rows = connection.execute("select amount from payment order by no").fetchall()
        return [amount for (amount,) in rows]

    def recorded(self, thread: str = "t") -> list[tuple[str, str]]:
        """The calls of the thread's run on disk, as another process reads them."""
        with open_saver(self.place) as saver:
            (run,) = entrypoint(checkpointer=saver, name="flow")(lambda _: None).runs(thread)
            return [(call.name, call.status) for call in run.calls()]


class PostgresBank(Bank):
    table = "create table payment (call_id text, amount integer unique, no serial)"

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.place.split(" ", 2)[2], autocommit=True)


def opened(kind: str, request: pytest.FixtureRequest, folder: Path) -> Bank:
    """A bank on a place of its own; on PostgreSQL its table is in the schema of the runs."""
    place = place_of(kind, request, folder)
    if kind == "sqlite":
        return Bank(place)
    schema = place.split(" ")[1]
    return PostgresBank(f"{place} options=-csearch_path={schema}")


@pytest.fixture(params=SHARED)
def bank(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bank]:
    bank = opened(request.param, request, tmp_path)
    yield bank
    bank.saver.close()


@pytest.fixture
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bank]:
    """On SQLite."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # connections of `connect` end with the test
        bank = opened("sqlite", request, tmp_path)
        yield bank
        bank.saver.close()


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bank]:
    """On PostgreSQL."""
    bank = opened("postgres", request, tmp_path)
    yield bank
    bank.saver.close()


INSERT = "insert into payment (call_id, amount) values "


def insert(connection: Any, amount: int) -> Any:
    """On an async connection, what is to be awaited."""
    marks = "(?, ?)" if isinstance(connection, sqlite3.Connection) else "(%s, %s)"
    return connection.execute(INSERT + marks, (get_runtime().call_id, amount))


@task(transactional=True)
def pay(amount: int, connection: Any) -> int:
    insert(connection, amount)
    return amount


@task
def note(what: Any) -> Any:
    return what


def flow_on(bank: Bank, body: Callable[[], Any], **how: Any) -> Workflow[Any, Any]:
    @entrypoint(checkpointer=bank.saver, name="flow", **how)
    def flow(_: Any) -> Any:
        return body()

    return flow


def run(bank: Bank, body: Callable[[], Any], **how: Any) -> Any:
    return flow_on(bank, body).invoke(None if how.pop("resume", False) else 1, thread_id="t", **how)


# Both or neither.


@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.once("bodies have effects")
def test_rows_and_result_are_on_disk_before_the_workflow_sees_it(bank: Bank, durability: str) -> None:
    def body() -> Any:
        first = note("first").result()
        paid = pay(5).result()
        assert bank.payments == [5]
        assert bank.recorded() == [("note", "returned"), ("pay", "returned")]  # and what came before it
        return [first, paid, note("last").result()]

    assert run(bank, body, durability=durability) == ["first", 5, "last"]
    assert bank.recorded() == [("note", "returned"), ("pay", "returned"), ("note", "returned")]


def test_nobody_sees_the_rows_before_the_task_has_ended(bank: Bank) -> None:
    @task(transactional=True)
    def pay_and_look(amount: int, connection: sqlite3.Connection) -> Any:
        insert(connection, amount)
        return connection.execute("select amount from payment").fetchall(), bank.payments

    assert run(bank, lambda: pay_and_look(5).result()) == ([(5,)], [])
    assert bank.payments == [5]


def test_a_body_that_raises_leaves_its_failure_and_no_rows(bank: Bank) -> None:
    @task(transactional=True)
    def fails(connection: sqlite3.Connection) -> None:
        insert(connection, 1)
        raise KeyError("no")

    def body() -> Any:
        with pytest.raises(KeyError):
            fails().result()
        return pay(2).result()

    assert run(bank, body) == 2
    assert bank.payments == [2]
    assert bank.recorded() == [("fails", "raised"), ("pay", "returned")]


def test_a_result_that_cannot_be_stored_takes_its_rows_with_it(bank: Bank) -> None:
    @task(transactional=True)
    def pays(connection: Any) -> Any:
        insert(connection, 1)
        return object()

    with pytest.raises(EncodeError, match="the result of task 'pays'"):
        run(bank, lambda: pays().result())
    assert bank.payments == []


def test_every_attempt_has_a_transaction_of_its_own(bank: Bank) -> None:
    attempts = []

    @task(transactional=True, retry_policy=RetryPolicy(initial_interval=0, jitter=False))
    def unsteady(connection: sqlite3.Connection) -> int:
        attempts.append(connection.execute("select count(*) from payment").fetchone()[0])
        insert(connection, 7)
        if len(attempts) < 3:
            raise ConnectionError
        return 7

    assert run(bank, lambda: unsteady().result()) == 7
    assert attempts == [0, 0, 0]
    assert bank.payments == [7]


def test_a_constraint_of_the_database_is_the_failure_of_the_task(bank: Bank) -> None:
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        run(bank, lambda: [pay(1).result(), pay(1).result()])
    assert bank.payments == [1]
    assert bank.recorded() == [("pay", "returned"), ("pay", "raised")]


def test_what_is_recorded_is_not_paid_again(bank: Bank) -> None:
    answers = iter([ConnectionError(), None])

    def body() -> Any:
        paid = pay(3).result()
        error = next(answers)
        if error:
            raise error
        return paid

    with pytest.raises(ConnectionError):
        run(bank, body)
    assert run(bank, body, resume=True) == 3
    assert bank.payments == [3]


def test_the_retry_of_a_task_around_it_reuses_it(bank: Bank) -> None:
    tries = []

    @task(retry_policy=RetryPolicy(initial_interval=0, jitter=False))
    def outer() -> int:
        paid = pay(4).result()
        tries.append(paid)
        if len(tries) == 1:
            raise ConnectionError
        return paid

    assert run(bank, lambda: outer().result()) == 4
    assert tries == [4, 4]
    assert bank.payments == [4]


# Fences and locks.


def test_a_superseded_attempt_writes_no_rows(bank: Bank) -> None:
    def body() -> Any:
        with open_saver(bank.place) as other:
            entrypoint(checkpointer=other, name="flow")(lambda _: None).cancel(thread_id="t")
        return pay(1).result()

    with pytest.raises(Superseded):
        run(bank, body)
    assert bank.payments == []


@pytest.mark.once("bodies have effects")
def test_a_locked_database_is_waited_for(file: Bank) -> None:
    other = sqlite3.connect(file.place, check_same_thread=False, isolation_level=None)

    def body() -> Any:
        note(1).result()
        other.execute("begin immediate")
        paid = pay(1)
        threading.Timer(0.05, other.execute, ["rollback"]).start()
        return paid.result()

    assert run(file, body) == 1
    file.saver.patience = 0.02
    with pytest.raises(DatabaseLocked):
        run(file, lambda: [other.execute("begin immediate"), pay(2).result()])
    other.execute("rollback")
    assert run(file, lambda: pay(2).result(), resume=True) == 2
    assert file.payments == [1, 2]
    other.close()


@pytest.mark.parametrize("limit", [None, 1])
def test_side_by_side_with_others(bank: Bank, limit: int | None) -> None:
    def body() -> Any:
        calls = [call for n in range(12) for call in (pay(n), note(n))]
        return [call.result() for call in calls]

    flow = flow_on(bank, body, max_workers=limit)
    assert flow.invoke(1, thread_id="t") == [n for n in range(12) for _ in range(2)]
    assert sorted(bank.payments) == list(range(12))
    assert Counter(bank.recorded()) == {("pay", "returned"): 12, ("note", "returned"): 12}


def test_in_many_runs_on_an_event_loop(bank: Bank) -> None:
    @entrypoint(checkpointer=bank.saver)
    async def flow(n: int) -> Any:
        paid = await asyncio.gather(pay(10 * n), note(n), pay(10 * n + 1))
        return [*paid, await pay(10 * n + 2)]

    async def main() -> Any:
        return await asyncio.gather(*[flow.ainvoke(n, thread_id=f"{n}") for n in range(5)])

    assert asyncio.run(main()) == [[10 * n, n, 10 * n + 1, 10 * n + 2] for n in range(5)]
    assert sorted(bank.payments) == sorted(10 * n + k for n in range(5) for k in range(3))


# What a body may not do.


def breaks(how: str, connection: sqlite3.Connection) -> None:
    if how == "commit":
        connection.commit()
    elif how == "rollback":
        connection.rollback()
    elif how == "statement":
        connection.execute("COMMIT")
    elif how == "script":
        connection.executescript("insert into payment values ('', 99, null)")
    elif how == "with":
        with connection:
            connection.execute("insert into payment values ('', 98, null)")
    elif how == "swallowed":
        try:
            connection.execute("ROLLBACK")
        except sqlite3.DatabaseError:
            pass
    elif how == "mode":
        connection.isolation_level = "DEFERRED"
    elif how == "close":
        connection.close()


HOWS = ["commit", "rollback", "statement", "script", "with", "swallowed", "mode", "close"]


@pytest.mark.parametrize("how", HOWS)
def test_its_transaction_is_not_for_the_body_to_end(file: Bank, how: str) -> None:
    @task(transactional=True)
    def pays(amount: int, connection: sqlite3.Connection) -> int:
        insert(connection, amount)
        breaks(how, connection)
        return amount

    def body() -> Any:
        note(1).result()
        with pytest.raises(TransactionError, match=r"body of task 'pays' (tried to|changed the|closed the)"):
            pays(1).result()
        return pay(2).result()

    assert run(file, body) == 2
    assert file.payments == [2]
    assert file.recorded() == [("note", "returned"), ("pays", "raised"), ("pay", "returned")]


def test_savepoints_and_row_factories_are_its_own_business(file: Bank) -> None:
    @task(transactional=True)
    def pays(connection: sqlite3.Connection) -> Any:
        connection.row_factory = sqlite3.Row
        connection.text_factory = bytes
        insert(connection, 1)
        connection.execute("savepoint risky")
        insert(connection, 2)
        connection.execute("rollback to risky")
        return connection.execute("select amount from payment").fetchone()["amount"]

    @task(transactional=True)
    def looks(connection: sqlite3.Connection) -> Any:
        return connection.row_factory, connection.execute("select typeof(amount), 'x' from payment").fetchall()

    assert run(file, lambda: [pays().result(), looks().result()]) == [1, (None, [("integer", "x")])]
    assert file.payments == [1]


@pytest.mark.parametrize("what", ["task", "question", "workflow", "state"])
def test_no_durable_calls_in_the_body(bank: Bank, what: str) -> None:
    if what == "state" and isinstance(bank, PostgresBank):
        return  # other connections go on there
    child = entrypoint(checkpointer=bank.saver, name="child")(lambda x: x)
    calls: dict[str, Callable[[], Any]] = {
        "task": lambda: note(1),
        "question": lambda: interrupt("?"),
        "workflow": lambda: child.invoke(1, thread_id="other"),
        "state": lambda: flow.get_state(thread_id="t"),
    }

    @task(transactional=True)
    def pays(connection: sqlite3.Connection) -> int:
        insert(connection, 1)
        calls[what]()
        return 1

    flow = flow_on(bank, lambda: pays().result())
    with pytest.raises(TransactionError, match=r"the body of"):
        flow.invoke(1, thread_id="t")
    assert bank.payments == []
    assert flow.get_state(thread_id="t").interrupts == ()


# Where it cannot be.


@pytest.mark.parametrize(
    ("make", "how", "match"),
    [
        (lambda bank: entrypoint(), {}, "records nothing"),
        (lambda bank: entrypoint(checkpointer=InMemorySaver()), {"thread_id": "t"}, "InMemorySaver has no tables"),
        (
            lambda bank: entrypoint(checkpointer=bank.saver),
            {"thread_id": "t", "durability": "exit"},
            '"exit" writes nothing',
        ),
    ],
    ids=["nowhere", "memory", "exit"],
)
def test_runs_in_which_it_cannot_be(bank: Bank, make: Any, how: Any, match: str) -> None:
    flow = make(bank)(lambda _: pay(1).result())
    with pytest.raises(ConfigError, match=match):
        flow.invoke(1, **how)
    assert bank.payments == []


def test_a_nested_workflow_of_which_nothing_is_recorded(bank: Bank) -> None:
    child = entrypoint(checkpointer=False)(lambda _: pay(1).result())
    with pytest.raises(ConfigError, match="records nothing"):
        run(bank, lambda: child.invoke(1))
    nested = entrypoint(name="nested")(lambda _: pay(1).result())
    assert run(bank, lambda: nested.invoke(1), resume=True) == 1
    assert bank.payments == [1]


def test_async_bodies_are_refused_on_sqlite(file: Bank) -> None:
    @task(transactional=True)
    async def pays(connection: Any) -> None: ...

    with pytest.raises(ConfigError, match="make it a plain `def`"):
        run(file, lambda: pays().result())


def test_declarations() -> None:
    with pytest.raises(DeclarationError, match="without a parameter `connection`"):
        task(transactional=True)(lambda x: x)
    with pytest.raises(DeclarationError, match="cached result would come without its rows"):
        task(transactional=True, cache_policy=CachePolicy())(lambda connection: 1)


def test_elsewhere_the_name_means_nothing(bank: Bank) -> None:
    @task
    def plain(connection: str) -> str:
        return connection

    assert run(bank, lambda: plain("a train").result()) == "a train"


def test_the_cache_of_the_workflow_is_not_for_it(bank: Bank) -> None:
    how: Any = {"cache": InMemoryCache(), "cache_policy": CachePolicy()}
    flow = flow_on(bank, lambda: ledger(1).result(), **how)

    @task(transactional=True)
    def ledger(n: int, *, connection: sqlite3.Connection) -> int:
        return connection.execute(INSERT + "('', null)").rowcount

    assert [flow.invoke(1, thread_id=thread) for thread in "ab"] == [1, 1]
    assert bank.payments == [None, None]


def test_on_a_connection_of_the_user_s_own() -> None:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute(Bank.table)
    flow = entrypoint(checkpointer=SqliteSaver(connection))(lambda _: pay(1).result())
    assert flow.invoke(1, thread_id="t") == 1
    assert connection.execute("select amount from payment").fetchall() == [(1,)]
    connection.close()


def test_a_stub_stands_in_for_it() -> None:
    flow = entrypoint()(lambda n: pay(n).result())
    with stub(pay, returning=5) as stubbed:
        assert flow.invoke(1) == 5
    assert stubbed.calls[0].args == (1,)


def test_the_database_may_refuse_to_commit(file: Bank) -> None:
    with closing(file.connect()) as connection, connection:
        connection.execute("create table parent (no integer primary key)")
        connection.execute("create table child (no integer references parent (no) deferrable initially deferred)")

    @task(transactional=True)
    def orphan(connection: sqlite3.Connection) -> None:
        connection.execute("insert into child values (1)")

    def body() -> Any:
        file.saver._database.rows("pragma foreign_keys=on")
        with pytest.raises(StorageError, match="FOREIGN KEY"):
            orphan().result()
        return pay(1).result()

    assert run(file, body) == 1
    assert file.recorded() == [("orphan", "raised"), ("pay", "returned")]
