"""Workers on PostgreSQL hear of runs; they need not wait for their next look."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import psycopg
import pytest

from durably import Worker, entrypoint
from durably.checkpoint.postgres import PostgresSaver
from postgres_server import Place

SUBMIT = """
import sys
from durably import entrypoint
from durably.checkpoint.postgres import PostgresSaver

with PostgresSaver(sys.argv[1], schema=sys.argv[2]) as saver:
    entrypoint(checkpointer=saver, name="flow")(lambda x: x).submit(sys.argv[3], thread_id=sys.argv[3])
"""
PATIENCE = 60


@pytest.fixture
def saver(postgres: Place) -> Iterator[PostgresSaver]:
    with PostgresSaver(postgres.conninfo, schema=postgres.schema) as saver:
        saver.setup()
        yield saver


def test_a_run_of_another_process_is_picked_up_at_once(saver: PostgresSaver, postgres: Place) -> None:
    """By a worker that looks once an hour; also after its connection was lost."""
    came = {name: threading.Event() for name in ("first", "second")}
    flow = entrypoint(checkpointer=saver, name="flow")(lambda name: came[name].set())
    worker = Worker(flow, poll_interval=3600)
    listens = threading.Event()
    stop = saver.listen(listens.set)
    working = threading.Thread(target=worker.run)
    working.start()
    try:
        assert listens.wait(PATIENCE)
        for name in came:
            subprocess.run([sys.executable, "-c", SUBMIT, postgres.conninfo, postgres.schema, name], check=True)
            assert came[name].wait(PATIENCE)
            listens.clear()
            with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen durably_due'"
                )
            assert listens.wait(PATIENCE)  # it tells everybody when it is connected again
    finally:
        worker.stop()
        working.join()
        stop()


def test_its_thread_is_there_while_somebody_listens(saver: PostgresSaver) -> None:
    def listening() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "durably-listen"]

    stops = [saver.listen(lambda: None) for _ in range(2)]
    (thread,) = listening()
    for stop in stops:
        assert thread.is_alive()
        stop()
    thread.join(PATIENCE)
    assert listening() == []


def test_behind_pgbouncer_nobody_listens(postgres: Place) -> None:
    with PostgresSaver(postgres.conninfo, schema=postgres.schema, pgbouncer=True) as saver:
        before = threading.active_count()
        saver.listen(lambda: None)()
        assert threading.active_count() == before
