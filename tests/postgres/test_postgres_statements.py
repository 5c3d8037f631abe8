"""How many statements work takes, and that what is read and written by few of them is still one state of the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durably import Command, entrypoint, interrupt, task
from durably._postgres import Blobs, Database, Options
from durably.checkpoint.base import Chunk, RunRow, ThreadRow, Transaction
from durably.checkpoint.postgres import PostgresSaver
from durably.checkpoint.postgres.forms import Form, Part, joined
from durably.checkpoint.postgres.tables import SCHEMA
from postgres_server import Place


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent to the server."""
    statements: list[str] = []
    execute = psycopg.Cursor.execute

    def noting(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        statements.append(query.decode() if isinstance(query, bytes) else str(query))
        return execute(self, query, params, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", noting)
    return statements


def test_a_run_is_read_accepted_and_ended_in_a_statement_each(postgres: Place, sent: list[str]) -> None:
    with PostgresSaver(postgres.conninfo, schema=postgres.schema) as saver:
        saver.setup()

        @entrypoint(checkpointer=saver)
        def echo(x: int) -> int:
            return x

        for thread in ("first", "new", "new"):  # the first run has the tables looked at, and this process registered
            sent.clear()
            echo.invoke(1, thread_id=thread)
        assert len(sent) == 3, sent


def test_a_run_that_asks_is_looked_at_once_more(postgres: Place, sent: list[str]) -> None:
    """Somebody may have answered already. What it recorded goes with its end, whose reads it does not disturb."""
    with PostgresSaver(postgres.conninfo, schema=postgres.schema) as saver:
        saver.setup()

        @task
        def double(x: int) -> int:
            return 2 * x

        @entrypoint(checkpointer=saver)
        def ask(x: int) -> int:
            answer: int = interrupt(double(x).result())
            return answer

        for thread in ("first", "new"):
            sent.clear()
            ask.invoke(1, thread_id=thread)
        assert len(sent) == 4, sent
        assert ask.invoke(Command(resume=3), thread_id="new") == 3


def test_a_second_read_is_of_the_same_state_as_the_first(postgres: Place) -> None:
    """What is written between the two is seen by both reads, or by none."""
    saver = PostgresSaver(postgres.conninfo, schema=postgres.schema)
    other = PostgresSaver(postgres.conninfo, schema=postgres.schema)
    with saver, other:
        saver.setup()
        thread, run = begun(saver)
        chunks = iter([b"one", b"two", b"three"])

        def look(transaction: Transaction) -> tuple[int, int, int]:
            opened = transaction.open("t").thread
            assert opened is not None
            other.transact([lambda elsewhere: elsewhere.put_thread(bumped(elsewhere, thread.no))])
            assert other.append([Chunk(thread.no, thread.fence, run.no, next(chunks))]) == [True]
            records = transaction.records(run.no)
            again = transaction.thread(thread.no)
            assert again is not None
            return opened.next_no, len(records), again.next_no

        assert saver.read(look) in {(n, n, n) for n in range(4)}


def test_an_append_under_way_is_seen_by_who_takes_the_thread(postgres: Place) -> None:
    """It holds the thread when that is to be taken, and is committed while the other one waits for the lock."""
    with PostgresSaver(postgres.conninfo, schema=postgres.schema) as saver:
        saver.setup()
        thread, run = begun(saver)
        seen: list[list[bytes]] = []

        def take(transaction: Transaction) -> None:
            opened = transaction.open("t").thread
            assert opened is not None
            seen.append(transaction.records(run.no))
            transaction.put_thread(ThreadRow(thread.no, "t", fence=opened.fence + 1, run_no=run.no))

        with psycopg.connect(postgres.conninfo) as appending:
            appending.execute(f'select 1 from "{postgres.schema}".durably_thread for no key update'.encode())
            insert = f'insert into "{postgres.schema}".durably_journal values (%s, 1, %s)'
            appending.execute(insert.encode(), (run.no, b"late"))
            taking = threading.Thread(target=lambda: saver.transact([take]))
            taking.start()
            until_it_waits(taking, postgres)
        taking.join()
        assert seen == [[], [b"late"]]


def test_chunks_of_a_batch_follow_one_another_without_gaps(postgres: Place) -> None:
    """Of several chunks for a journal some may be stale, and an attempt may follow another one in the same transaction."""
    with PostgresSaver(postgres.conninfo, schema=postgres.schema) as saver:
        saver.setup()
        thread, run = begun(saver)

        def chunk(fence: int, data: bytes) -> Chunk:
            return Chunk(thread.no, fence, run.no, data)

        stale = [chunk(0, b"x"), chunk(1, b"1"), chunk(0, b"x"), chunk(1, b"2")]
        assert saver.append(stale) == [False, True, False, True]

        def take(transaction: Transaction) -> bool:
            transaction.put_thread(ThreadRow(thread.no, "t", fence=2, run_no=run.no))
            return transaction.append(chunk(2, b"4"))

        assert saver.transact([lambda transaction: transaction.append(chunk(1, b"3")), take]) == [True, True]
        assert saver.read(lambda transaction: transaction.records(run.no)) == [b"1", b"2", b"3", b"4"]
        assert saver.read(lambda transaction: transaction.records(run.no, 2)) == [b"3", b"4"]


def begun(saver: PostgresSaver) -> tuple[ThreadRow, RunRow]:
    """A thread with a run that is under way."""

    def start(transaction: Transaction) -> tuple[ThreadRow, RunRow]:
        thread = transaction.put_thread(ThreadRow(0, "t", fence=1))
        run = transaction.put_run(RunRow(0, "r", thread.no, "w", "running", 1, 1.0, 1.0, "", b"", b""))
        return transaction.put_thread(ThreadRow(thread.no, "t", fence=1, run_no=run.no)), run

    (result,) = saver.transact([start])
    assert isinstance(result, tuple)
    return result


def bumped(transaction: Transaction, thread_no: int) -> ThreadRow:
    """A thread with a number changed that counts how often it was."""
    thread = transaction.thread(thread_no)
    assert thread is not None
    return ThreadRow(thread_no, "t", fence=thread.fence, run_no=thread.run_no, next_no=thread.next_no + 1)


def until_it_waits(taking: threading.Thread, postgres: Place) -> None:
    """Return when a session waits for a lock of another one, or when the thread is through."""
    waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        while taking.is_alive() and connection.execute(waits.encode()).fetchone() == (0,):
            time.sleep(0.001)


# Putting statements together.

FORM = Form("insert into t select * from ROWS", {"no": "bigint", "name": "text", "at": "double precision"})


@pytest.fixture
def database(postgres: Place) -> Iterator[Database]:
    database = Database(postgres.conninfo, SCHEMA, Options(postgres.schema))
    database.setup()
    yield database
    database.close()


def test_one_row_is_parameters_and_several_are_arrays() -> None:
    one, several = FORM.of([(1, "a", None)]), FORM.of([(1, "a", 0.5), (2, "b", None)])
    assert one[1] == ("1", "a", None)
    assert one[0].endswith("(values (%s::bigint, %s::text, %s::double precision)) w (no, name, at)")
    assert several[1] == ("{1,2}", '{"a","b"}', "{0.5,null}")
    assert several[0].endswith("unnest(%s::bigint[], %s::text[], %s::double precision[]) w (no, name, at)")


def test_several_rows_may_be_looked_up_by_their_first_column() -> None:
    form = Form("update t from ROWS where t.no = w.no AMONG t.no", {"no": "bigint", "name": "text"})
    assert form.of([(1, "a")]) == (
        "update t from (values (%s::bigint, %s::text)) w (no, name) where t.no = w.no ",
        ("1", "a"),
    )
    assert form.of([(1, "a"), (2, "b")]) == (
        "update t from unnest(%s::bigint[], %s::text[]) w (no, name) where t.no = w.no and t.no = any(%s::bigint[])",
        ("{1,2}", '{"a","b"}', "{1,2}"),
    )


def test_texts_and_numbers_arrive_as_they_are(postgres: Place) -> None:
    words = ["", "null", "NULL", '"', "\\", "a,b", "{x}", " ", "ä\n\t", "'", "%s", '\\"\\']
    numbers = [0.1, 1e300, -0.0, float("inf"), 1795417577.5, 5e-324, None, 2.0, 1.0, 1.0, 1.0, 1.0]
    sql, bound = Form("select w.name, w.at from ROWS", {"name": "text", "at": "double precision"}).of(
        list(zip(words, numbers, strict=True))
    )
    with psycopg.connect(postgres.conninfo) as connection:
        assert connection.execute(sql.encode(), bound).fetchall() == list(zip(words, numbers, strict=True))


@given(st.lists(st.none() | st.binary(max_size=20), min_size=2))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_bytes_arrive_as_they_are(database: Database, blobs: list[bytes | None]) -> None:
    sql, bound = Form("select w.data from ROWS", {"data": "bytea"}).of([(blob,) for blob in blobs])
    assert database.rows(sql, bound) == [(blob,) for blob in blobs]


def test_no_bytes_are_no_rows(database: Database) -> None:
    assert database.rows("select unnest(%s::bytea[])", (Blobs(),)) == []


def test_parts_are_one_statement_up_to_what_has_to_see_the_others() -> None:
    parts = [
        Part("a", "select 1 / %s", (1,), answer="(select * from a)"),
        Part("b", "insert into t values (%s)", (2,)),
        Part("c", "delete from t", apart=True),
        Part("d", "insert into t values (%s)", (3,)),
    ]
    assert list(joined(parts)) == [
        ("with a as (select 1 / %s), b as (insert into t values (%s)) select (select * from a)", (1, 2)),
        ("delete from t", ()),
        ("insert into t values (%s)", (3,)),
    ]
    assert list(joined([])) == []
