"""The server restarts, connections break, commits end unheard: runs go on, and nothing is written twice or lost."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest
from cutting import Cut, Proxy

from durably import Command, Workflow, entrypoint, interrupt, task
from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.postgres import PostgresSaver
from durably.errors import DatabaseUnavailable
from postgres_server import Place, Server

CALLS = [("step", "returned"), ("interrupt", "asked"), ("interrupt", "answered"), ("step", "returned")]
"""The calls of `Story.asking`."""


class Story:
    """A workflow whose tasks note that they ran."""

    def __init__(self, saver: BaseCheckpointer, durability: Any = "async") -> None:
        self.ran: Counter[str] = Counter()

        @task
        def step(name: str) -> str:
            self.ran[name] += 1
            return name.upper()

        @entrypoint(checkpointer=saver)
        def story(names: list[str], *, previous: int = 0) -> entrypoint.final[list[str], int]:
            done = [step(name).result() for name in names]
            return entrypoint.final(value=done, save=previous + 1)

        @entrypoint(checkpointer=saver)
        def asking(name: str) -> str:
            first = step(name).result()
            answer = interrupt("go on?")
            return first + step(f"{name}-{answer}").result()

        self.story: Workflow[Any, Any] = story
        self.asking: Workflow[Any, Any] = asking


@pytest.fixture
def proxied(postgres: Place, postgres_server: Server) -> Iterator[Any]:
    """Makes a proxy before the server, and a saver that goes through it."""
    with PostgresSaver(postgres.conninfo, schema=postgres.schema) as saver:
        saver.setup()
    with tempfile.TemporaryDirectory(prefix="durably-cut-", dir="/tmp") as folder:

        def through(cut: Cut, at: int, **options: Any) -> tuple[Proxy, PostgresSaver]:
            place = Path(folder) / f"{cut}-{at}"
            place.mkdir()
            proxy = Proxy(place, postgres_server.folder, cut, at)
            return proxy, PostgresSaver(proxy.conninfo, schema=postgres.schema, **options)

        yield through


@pytest.mark.parametrize("cut", get_args(Cut))
@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_commit_that_ended_unheard_is_found_out_about(proxied: Any, cut: Cut, durability: Any) -> None:
    """At every commit of a run with an answer in the middle: each task runs once, and every result is there once."""
    cuts = 0
    for at in range(1, 20):
        proxy, saver = proxied(cut, at)
        with proxy, saver:
            story, thread = Story(saver), f"{cut}-{at}-{durability}"
            story.asking.invoke("a", thread_id=thread, durability=durability)
            assert story.asking.invoke(Command(resume="yes"), thread_id=thread) == "AA-YES"
            assert story.ran == {"a": 1, "a-yes": 1}
            (run,) = story.asking.runs(thread)
            assert run.status == "done"
            assert [(call.name, call.status) for call in run.calls()] == CALLS
            assert story.story.invoke(["x"], thread_id=thread + "'") == ["X"]
            if proxy.commits >= at and cut == "late":
                journal = [(call.id, call.status) for call in run.calls()]
                assert b"ERROR" in proxy.deliver()
                (again,) = story.asking.runs(thread)
                assert [(call.id, call.status) for call in again.calls()] == journal
            cuts += proxy.commits >= at
            if proxy.commits < at:
                break
    assert cuts >= 5


def test_connections_are_cut_under_many_runs(postgres: Place) -> None:
    """An administrator ends every session again and again."""
    with PostgresSaver(postgres.conninfo, schema=postgres.schema) as saver:
        saver.setup()
        story, over = Story(saver), threading.Event()

        def cut() -> None:
            with psycopg.connect(postgres.conninfo, autocommit=True, application_name="cutter") as connection:
                while not over.wait(0.02):
                    connection.execute(
                        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
                        "and backend_type = 'client backend' and query like %s",
                        (f"%{postgres.schema}%",),
                    )

        cutter = threading.Thread(target=cut)
        cutter.start()
        try:
            run_many(story, 24)
        finally:
            over.set()
            cutter.join()


def run_many(story: Story, count: int) -> None:
    """Runs at once, in both colours; each has its result, and no finished task ran twice."""
    names = {f"t{n}": [f"{n}.{i}" for i in range(6)] for n in range(count)}
    with ThreadPoolExecutor(count // 2) as executor:
        half = list(names)[: count // 2]
        futures = {name: executor.submit(story.story.invoke, names[name], thread_id=name) for name in half}

        async def rest() -> list[Any]:
            return await asyncio.gather(
                *(story.story.ainvoke(names[name], thread_id=name) for name in list(names)[count // 2 :])
            )

        results = {name: future.result for name, future in futures.items()}
        others = asyncio.run(rest())
        found = [results[name]() for name in half] + others
    assert found == [[name.upper() for name in each] for each in names.values()]
    assert set(story.ran.values()) == {1}
    for name in names:
        assert [run.status for run in story.story.runs(name)] == ["done"]
        assert len(story.story.runs(name)[0].calls()) == 6


@pytest.mark.once("the body is not the same in each pass")
def test_a_server_that_is_restarted_is_waited_for() -> None:
    """Stopped as by a crash, twice, under many runs; then it stays away, and the run can be resumed when it is back."""
    with Server() as server, PostgresSaver(server.conninfo, reconnect_for=60) as saver:
        saver.setup()
        story, over = Story(saver), threading.Event()

        def restart() -> None:
            for _ in range(3):
                over.wait(0.03)
                server.restart()

        chaos = threading.Thread(target=restart)
        chaos.start()
        run_many(story, 16)
        over.set()
        chaos.join()

        impatient = PostgresSaver(server.conninfo, reconnect_for=0.1)
        lonely = Story(impatient)

        @task
        def pull_the_plug() -> None:
            server.stop()

        @entrypoint(checkpointer=impatient)
        def flow(name: str) -> str:
            first = lonely_step(name).result()
            if lonely.ran["plug"] == 0:
                lonely.ran["plug"] += 1
                pull_the_plug().result()
            return first + lonely_step(name + "2").result()

        @task
        def lonely_step(name: str) -> str:
            lonely.ran[name] += 1
            return name

        with pytest.raises(DatabaseUnavailable, match=r"reconnect_for=\. Nothing recorded so far is lost"):
            flow.invoke("a", thread_id="lonely", durability="sync")
        with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
            flow.invoke(None, thread_id="lonely")
        server.start()
        assert flow.invoke(None, thread_id="lonely") == "aa2"
        assert lonely.ran["a"] == 1
        impatient.close()
