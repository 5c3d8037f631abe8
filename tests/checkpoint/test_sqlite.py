"""One SQLite file: opened in every way, shared by threads and processes, locked, foreign, damaged."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from durably import Command, _wal, entrypoint, interrupt, task
from durably.checkpoint.sqlite import SqliteSaver
from durably.checkpoint.sqlite.backend import APPEND, SCHEMA
from durably.errors import ConfigError, DatabaseLocked, EmptyInputError, ForeignDatabase, NewerSchema, StorageError


def count_on(saver: SqliteSaver) -> Any:
    @task
    def add(a: int, b: int) -> int:
        return a + b

    @entrypoint(checkpointer=saver)
    def count(step: int, *, previous: int | None) -> int:
        return add(previous or 0, step).result()

    return count


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


# Opening.


@pytest.mark.parametrize("given", [str, Path])
def test_a_path_is_opened_and_found_again(path: Path, given: type) -> None:
    for expected in (1, 2):
        with SqliteSaver(given(path)) as saver:
            assert count_on(saver).invoke(1, thread_id="t") == expected
    with sqlite3.connect(path) as connection:
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    connection.close()


def test_from_conn_string_closes_at_the_end_of_the_block(path: Path) -> None:
    with SqliteSaver.from_conn_string(str(path)) as saver:
        saver.setup()
        count = count_on(saver)
        assert count.invoke(1, thread_id="t") == 1
    with pytest.raises(StorageError, match="closed"):
        count.invoke(1, thread_id="t")
    with SqliteSaver.from_conn_string(":memory:") as saver:
        assert count_on(saver).invoke(1, thread_id="t") == 1


def test_a_given_connection_stays_its_owners(path: Path) -> None:
    given = sqlite3.connect(path, check_same_thread=False)
    given.execute("create table mine (x)")
    given.execute("insert into mine values (7)")
    given.commit()
    with SqliteSaver(given) as saver:
        assert count_on(saver).invoke(3, thread_id="t") == 3
    assert given.execute("select x from mine").fetchall() == [(7,)]
    with SqliteSaver(given) as saver:
        assert count_on(saver).invoke(3, thread_id="t") == 6
    given.close()


def test_a_connection_that_one_thread_only_may_use_is_refused(path: Path) -> None:
    given = sqlite3.connect(path)
    with pytest.raises(ConfigError, match="check_same_thread=False"):
        SqliteSaver(given)
    given.close()


def test_a_connection_in_a_transaction_is_refused(path: Path) -> None:
    given = sqlite3.connect(path, check_same_thread=False)
    given.execute("begin")
    with pytest.raises(ConfigError, match="transaction"):
        SqliteSaver(given)
    given.rollback()
    given.close()


@pytest.mark.parametrize(
    ("synchronous", "durability", "expected"),
    [({}, "sync", 2), ({}, "async", 1), ({"synchronous": "full"}, "sync", 2), ({"synchronous": "normal"}, "sync", 1)],
)
@pytest.mark.once("looks at the commits of one attempt")
def test_what_a_commit_waits_for(path: Path, synchronous: dict[str, Any], durability: Any, expected: int) -> None:
    connection = sqlite3.connect(path, check_same_thread=False)
    in_force: list[int] = []

    def trace(statement: str) -> None:
        if "into durably_journal" in statement:
            connection.set_trace_callback(None)
            in_force.append(connection.execute("PRAGMA synchronous").fetchone()[0])
            connection.set_trace_callback(trace)

    with SqliteSaver(connection, **synchronous) as saver:
        connection.set_trace_callback(trace)
        assert count_on(saver).invoke(3, thread_id="t", durability=durability) == 3
    connection.close()
    assert set(in_force) == {expected}


def test_records_go_into_their_table_at_once(path: Path) -> None:
    with SqliteSaver(path):
        connection = sqlite3.connect(path)
        opcodes = {row[1] for row in connection.execute(f"explain {APPEND}", (0, 9, 0, 1, 1, b""))}
        connection.close()
    assert "Insert" in opcodes
    assert "OpenEphemeral" not in opcodes, "large results are written to a temporary table before"


# The log.


def records_in(path: Path, copy: Path) -> int:
    """How many records there are in the file alone, without its log."""
    shutil.copyfile(path, copy)
    with closing(sqlite3.connect(copy)) as connection:
        found = connection.execute("select count(*) from durably_journal").fetchone()[0]
    copy.unlink()
    return int(found)


def test_what_commits_add_is_moved_into_the_file_while_it_is_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteSaver(path) as saver:
        workflow = count_on(saver)
        workflow.invoke(1, thread_id="few")
        with closing(sqlite3.connect(path)) as other:
            other.execute("pragma wal_checkpoint(truncate)")
        assert records_in(path, path.with_suffix(".copy")) == 1
        workflow.invoke(1, thread_id="few")
        saver._database.log.rest()
        assert records_in(path, path.with_suffix(".copy")) == 1, "for so little it would not be worth it"
        monkeypatch.setattr(_wal, "MOVE_OVER", 200_000)
        for number in range(20):
            workflow.invoke(number, thread_id="many")
        saver._database.log.rest()
        assert records_in(path, path.with_suffix(".copy")) > 2


def test_a_large_result_is_moved_soon(path: Path) -> None:
    @task
    def produce(size: int) -> bytes:
        return b"x" * size

    with SqliteSaver(path) as saver:

        @entrypoint(checkpointer=saver)
        def workflow(size: int) -> int:
            return len(produce(size).result())

        assert workflow.invoke(_wal.MOVE_OVER, thread_id="t") == _wal.MOVE_OVER
        saver._database.log.rest()
        assert path.stat().st_size > _wal.MOVE_OVER


def test_closing_waits_for_what_is_being_moved(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()

    def move(uri: str) -> None:
        began.set()
        assert go_on.wait(10)

    monkeypatch.setattr(_wal, "_move", move)
    monkeypatch.setattr(_wal, "MOVE_OVER", 0)
    saver = SqliteSaver(path)
    count_on(saver).invoke(1, thread_id="t")
    assert began.wait(10)
    closing_it = threading.Thread(target=saver.close)
    closing_it.start()
    closing_it.join(0.02)
    assert closing_it.is_alive()
    go_on.set()
    closing_it.join(10)
    assert not closing_it.is_alive()


def test_a_program_ends_while_something_is_being_moved(path: Path) -> None:
    code = f"""
import threading
from durably import _wal
from durably.checkpoint.sqlite import SqliteSaver
began = threading.Event()
def move(uri):
    began.set()
    threading.Event().wait()
_wal._move, _wal.MOVE_OVER = move, 0
class Late:
    saver = SqliteSaver({str(path)!r})
    def __del__(self):
        self.saver.close()
_wal.late = Late()  # goes when modules do
_wal.late.saver._database.log.committed()
began.wait()
print("ends")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ends\n", "")


def test_a_file_that_is_gone_is_not_made_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saver = SqliteSaver(path)
    count_on(saver).invoke(1, thread_id="t")
    for file in path.parent.iterdir():
        file.unlink()
    _wal._move(saver._database.log._uri)
    assert not path.exists()
    saver.close()


def test_an_unknown_setting_of_synchronous_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="synchronous='off' is not known: use 'full' or 'normal'"):
        SqliteSaver(path, synchronous="off")  # type: ignore[arg-type]
    assert not path.exists()


def test_memory_databases_are_separate() -> None:
    with SqliteSaver(":memory:") as one, SqliteSaver(":memory:") as other:
        assert count_on(one).invoke(1, thread_id="t") == 1
        assert count_on(other).invoke(1, thread_id="t") == 1


def test_a_missing_folder_is_named(path: Path) -> None:
    with pytest.raises(StorageError, match="no-such-folder"):
        SqliteSaver(path.parent / "no-such-folder" / "runs.db")


def test_a_closed_checkpointer_says_so(path: Path) -> None:
    saver = SqliteSaver(path)
    count = count_on(saver)
    count.invoke(1, thread_id="t")
    saver.close()
    saver.close()
    for given in (1, None):
        with pytest.raises(StorageError, match="closed"):
            count.invoke(given, thread_id="t")
    with SqliteSaver(path) as again:
        assert count_on(again).invoke(1, thread_id="t") == 2


def test_closing_under_a_run_loses_nothing_that_was_written(path: Path) -> None:
    saver = SqliteSaver(path)
    ran = []

    def workflow(saver: SqliteSaver) -> Any:
        work = task(name="work")(lambda n: ran.append(n) or n)

        @entrypoint(checkpointer=saver, name="run")
        def run(close: bool) -> Any:
            found = [work(0).result()]
            if not saver_closed:
                saver_closed.append(True)
                saver.close()
            return [*found, work(1).result()]

        return run

    saver_closed: list[bool] = []
    with pytest.raises(StorageError, match="closed"):
        workflow(saver).invoke(True, thread_id="t", durability="sync")
    with SqliteSaver(path) as again:
        assert workflow(again).invoke(None, thread_id="t") == [0, 1]
    assert ran[0] == 0 and ran.count(0) == 1


# Files that are not ours.


def test_the_file_of_another_program_is_refused_and_left_as_it_is(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("create table recipes (name)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(ForeignDatabase, match=r"runs\.db"):
        SqliteSaver(path)
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == ["runs.db"]


def test_an_empty_file_is_taken(path: Path) -> None:
    path.touch()
    with SqliteSaver(path) as saver:
        assert count_on(saver).invoke(1, thread_id="t") == 1


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to have a header" * 40, b"SQLite format 3\x00"]
)
def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ForeignDatabase, match=r"runs\.db"):
        SqliteSaver(path)
    assert path.read_bytes() == content


def filled(path: Path) -> bytes:
    with SqliteSaver(path) as saver:
        count = count_on(saver)
        for n in range(40):
            count.invoke(n, thread_id=f"t{n}" * 20)
    return path.read_bytes()


def use(path: Path) -> None:
    with SqliteSaver(path) as saver:
        for n in range(40):
            count_on(saver).invoke(1, thread_id=f"t{n}" * 20)


@pytest.mark.parametrize("left", [0.02, 0.3, 0.9])
def test_a_truncated_file_is_refused(path: Path, left: float) -> None:
    data = filled(path)
    path.write_bytes(data[: int(len(data) * left)])
    with pytest.raises(ForeignDatabase, match=r"runs\.db.*corrupt"):
        use(path)


def test_a_damaged_file_is_refused(path: Path) -> None:
    data = bytearray(filled(path))
    for start in range(4096, len(data), 4096):
        data[start : start + 200] = b"\xff" * 200
    path.write_bytes(data)
    with pytest.raises(ForeignDatabase, match=r"runs\.db.*corrupt"):
        use(path)


def parts(path: Path, sql: str = "select part, version from durably_parts") -> list[Any]:
    connection = sqlite3.connect(path)
    with connection:
        found = connection.execute(sql).fetchall()
    connection.close()
    return found


def test_migrations_are_numbered(path: Path) -> None:
    filled(path)
    assert parts(path) == [("checkpointer", len(SCHEMA.migrations))]


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    filled(path)
    parts(path, "update durably_parts set version = version + 1")
    before = path.read_bytes()
    with pytest.raises(NewerSchema, match="upgrade durably"):
        SqliteSaver(path)
    assert path.read_bytes() == before


# Many threads and processes.


def test_many_threads_on_one_file(path: Path) -> None:
    with SqliteSaver(path) as saver:
        count = count_on(saver)
        failures = []

        def work(n: int) -> None:
            try:
                assert [count.invoke(1, thread_id=f"t{n}") for _ in range(10)] == list(range(1, 11))
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []


CHILD = """
import sys
from durably import entrypoint, task
from durably.checkpoint.sqlite import SqliteSaver

@task
def add(a, b):
    return a + b

def count_on(saver):
    @entrypoint(checkpointer=saver)
    def count(step, *, previous=None):
        return add(previous or 0, step).result()
    return count

path, me, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
with SqliteSaver(path) as saver:
    count = count_on(saver)
    for n in range(rounds):
        assert count.invoke(1, thread_id=me, durability=["sync", "async", "exit"][n % 3]) == n + 1
"""


def test_many_processes_on_one_file_lose_nothing(path: Path) -> None:
    """Also while the file is being made."""
    rounds = 30
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, str(path), f"p{n}", str(rounds)], stderr=subprocess.PIPE)
        for n in range(4)
    ]
    for child in children:
        _, trouble = child.communicate(timeout=60)
        assert child.returncode == 0, trouble.decode()
    with SqliteSaver(path) as saver:
        count = count_on(saver)
        assert [count.invoke(1, thread_id=f"p{n}") for n in range(4)] == [rounds + 1] * 4
    assert parts(path, "select count(*) from durably_journal") == [(4 * rounds + 4,)]
    assert parts(path, "select count(*), count(distinct status) from durably_run") == [(4 * rounds + 4, 1)]


# A locked database.


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")
    try:
        yield other
    finally:
        if other.in_transaction:
            other.execute("rollback")
        other.close()


def locking(saver: SqliteSaver, *, is_async: bool) -> tuple[Any, list[Any]]:
    """A workflow of two tasks, and what ran."""
    ran: list[Any] = []

    def note(n: int) -> int:
        ran.append(n)
        return n

    if is_async:

        @entrypoint(checkpointer=saver, name="run")
        async def arun(n: int) -> Any:
            work = task(name="work")(note)
            found = [await work(0)]
            return [*found, await work(1)]

        return arun, ran

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        work = task(name="work")(note)
        found = [work(0).result()]
        return [*found, work(1).result()]

    return run, ran


@pytest.mark.parametrize("mode", ["sync", "async", "exit"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_lock_that_goes_away_is_waited_for(path: Path, mode: str, is_async: bool) -> None:
    with SqliteSaver(path) as saver:
        run, ran = locking(saver, is_async=is_async)
        with locked(path) as other:
            timer = threading.Timer(0.05, lambda: other.execute("rollback"))
            timer.start()
            assert run.invoke(1, thread_id="t", durability=mode) == [0, 1]
            timer.join()
        assert ran == [0, 1]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_database_that_stays_locked_refuses_the_start(path: Path, is_async: bool) -> None:
    with SqliteSaver(path, patience=0.03) as saver:
        run, ran = locking(saver, is_async=is_async)
        with locked(path), pytest.raises(DatabaseLocked, match=r"runs\.db") as raised:
            run.invoke(1, thread_id="t")
        assert "0.03" in str(raised.value)
        assert ran == []
        with pytest.raises(EmptyInputError):
            run.invoke(None, thread_id="t")
        assert run.invoke(1, thread_id="t") == [0, 1]


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_database_that_stays_locked_leaves_a_run_that_can_be_resumed(path: Path, mode: str, is_async: bool) -> None:
    blocker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    ran: list[int] = []

    @task
    def work(n: int) -> int:
        ran.append(n)
        if n == 1 and ran.count(1) == 1:
            blocker.execute("begin immediate")
        return n

    with SqliteSaver(path, patience=0.03) as saver:
        if is_async:

            @entrypoint(checkpointer=saver, name="run")
            async def run(n: int) -> Any:
                return [await work(i) for i in range(n)]
        else:

            @entrypoint(checkpointer=saver)
            def run(n: int) -> Any:
                return [work(i).result() for i in range(n)]

        with pytest.raises(DatabaseLocked, match="resume") as raised:
            run.invoke(3, thread_id="t", durability=mode)
        blocker.execute("rollback")
        blocker.close()
        assert mode == "async" or "could not be recorded" in "".join(raised.value.__notes__)
        assert run.invoke(None, thread_id="t") == [0, 1, 2]
    assert ran.count(0) <= 2 if mode == "async" else ran == [0, 1, 1, 2]


def test_the_event_loop_goes_on_while_a_lock_is_waited_for(path: Path) -> None:
    with SqliteSaver(path) as saver:
        run, ran = locking(saver, is_async=True)

        async def main() -> Any:
            turns = 0
            with locked(path) as other:
                under_way = asyncio.create_task(run.ainvoke(1, thread_id="t"))
                while turns < 100:
                    await asyncio.sleep(0)
                    turns += 1
                assert not under_way.done()
                assert ran == []
                other.execute("rollback")
                return await under_way

        assert asyncio.run(main()) == [0, 1]


def test_a_cancelled_wait_for_a_lock_starts_nothing_later(path: Path) -> None:
    with SqliteSaver(path) as saver:
        run, ran = locking(saver, is_async=True)

        async def main() -> None:
            with locked(path):
                under_way = asyncio.create_task(run.ainvoke(1, thread_id="t"))
                await asyncio.sleep(0.01)
                under_way.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await under_way
            assert await run.ainvoke(2, thread_id="other") == [0, 1]

        asyncio.run(main())
        assert ran == [0, 1]
        assert parts(path, "select thread_id from durably_thread") == [("other",)]


def test_a_lock_does_not_hold_up_other_databases(path: Path, tmp_path: Path) -> None:
    """What the sentinel does for one database does not wait for another's lock."""
    with SqliteSaver(path, patience=5) as saver, SqliteSaver(tmp_path / "other.db") as free:
        run, _ = locking(saver, is_async=False)
        count = count_on(free)
        with locked(path) as other:
            outcome: list[Any] = []
            thread = threading.Thread(target=lambda: outcome.append(run.invoke(1, thread_id="t")))
            thread.start()
            for n in range(1, 20):
                assert count.invoke(1, thread_id="t") == n
            other.execute("rollback")
            thread.join()
        assert outcome == [[0, 1]]


def test_answers_wait_for_a_lock_too(path: Path) -> None:
    with SqliteSaver(path, patience=0.03) as saver:

        @entrypoint(checkpointer=saver)
        def ask(n: int) -> Any:
            return interrupt("?")

        ask.invoke(1, thread_id="t")
        with locked(path), pytest.raises(DatabaseLocked):
            ask.invoke(Command(resume="lost"), thread_id="t")
        assert ask.invoke(Command(resume="kept"), thread_id="t") == "kept"
