"""A store inside workflows: how a body comes by it, and writes that are made exactly once."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from durably import Command, InMemorySaver, RetryPolicy, Runtime, entrypoint, get_runtime, get_store, interrupt, task
from durably.store.base import BaseStore
from durably.store.memory import InMemoryStore
from durably.store.postgres import PostgresStore
from durably.store.sqlite import SqliteStore

NS = ("users", "ada")


def keys(store: BaseStore) -> set[str]:
    return {item.key for item in store.search(())}


def test_every_way_to_the_store(store: BaseStore) -> None:
    @task
    def by_call(key: str) -> None:
        get_store().put(NS, key, {})

    @task
    def by_runtime(key: str) -> None:
        found = get_runtime().store
        assert found is not None
        found.put(NS, key, {})

    @task
    def injected(key: str, *, store: BaseStore) -> None:
        store.put(NS, key, {})

    @entrypoint(checkpointer=InMemorySaver(), store=store)
    def main(_: str, *, store: BaseStore, runtime: Runtime[None]) -> list[str]:
        store.put(NS, "main", {})
        assert runtime.store is store
        for future in [by_call("call"), by_runtime("runtime"), injected("injected")]:
            future.result()
        return sorted(item.key for item in store.search(NS))

    assert main.invoke("go", thread_id="1") == ["call", "injected", "main", "runtime"]


def test_async_bodies_use_the_async_methods(store: BaseStore) -> None:
    @task
    async def remember(n: int, *, store: BaseStore) -> None:
        await store.aput(NS, str(n), {"n": n})

    @entrypoint(store=store)
    async def main(count: int, *, store: BaseStore) -> int:
        await asyncio.gather(*[remember(n) for n in range(count)])
        return len(await store.asearch(NS, limit=100))

    assert asyncio.run(main.ainvoke(20)) == 20


def test_a_retried_task_writes_once(store: BaseStore) -> None:
    attempts: list[int] = []

    @task(retry_policy=RetryPolicy(max_attempts=3, initial_interval=0.001))
    def note(n: int) -> int:
        attempts.append(n)
        get_store().put(NS, "log", {"attempt": len(attempts)}, once=True)
        get_store().put(NS, "free", {"attempt": len(attempts)})
        if len(attempts) < 3:
            raise ConnectionError("later")
        return n

    @entrypoint(checkpointer=InMemorySaver(), store=store)
    def main(n: int) -> int:
        return note(n).result()

    assert main.invoke(7, thread_id="1") == 7
    assert store.get(NS, "log").value == {"attempt": 1}  # type: ignore[union-attr]
    assert store.get(NS, "free").value == {"attempt": 3}  # type: ignore[union-attr]
    main.invoke(7, thread_id="2")
    assert store.get(NS, "log").value == {"attempt": 4}, "another run writes again"  # type: ignore[union-attr]


def test_a_task_that_runs_again_on_resume_writes_once(store: BaseStore) -> None:
    works = False
    written: list[str] = []

    @task
    async def note(text: str) -> str:
        written.append(text)
        await get_store().aput(NS, text, {"write": len(written)}, once=True)
        if not works:
            raise ConnectionError("the line is down")
        return text

    @entrypoint(checkpointer=InMemorySaver(), store=store)
    async def main(texts: list[str]) -> list[str]:
        return [await note(text) for text in texts]

    async def scenario() -> None:
        nonlocal works
        with pytest.raises(ConnectionError):
            await main.ainvoke(["a", "b"], thread_id="1")
        works = True
        assert await main.ainvoke(None, thread_id="1") == ["a", "b"]

    asyncio.run(scenario())
    assert written == ["a", "a", "b"]
    assert store.get(NS, "a").value == {"write": 1}  # type: ignore[union-attr]
    assert store.get(NS, "b").value == {"write": 3}  # type: ignore[union-attr]


CRASHING = """
import os, signal, sys
from durably import entrypoint, get_store, task
from durably.checkpoint.sqlite import SqliteSaver
from durably.store.postgres import PostgresStore
from durably.store.sqlite import SqliteStore

folder, store, dies = sys.argv[1], eval(sys.argv[2]), len(sys.argv) > 3

@task
def note(text):
    with open(folder + "/attempts", "a+") as attempts:
        attempts.write(text)
        attempts.seek(0)
        attempt = attempts.read().count(text)
    get_store().put(("n",), text, {"attempt": attempt}, once=True)
    get_store().put(("n",), text + ", always", {"attempt": attempt})
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt

@entrypoint(checkpointer=SqliteSaver(folder + "/runs.db"), store=store)
def main(texts):
    return [note(text).result() for text in texts]

print(main.invoke(["a", "b"] if dies else None, thread_id="1"))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_a_task_whose_process_is_killed_writes_once(
    tmp_path: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    if backend == "postgres":
        place = request.getfixturevalue("postgres")
        source = f"PostgresStore({place.conninfo!r}, schema={place.schema!r})"
        store: Any = PostgresStore(place.conninfo, schema=place.schema)
        store.setup()
    else:
        source = f"SqliteStore({str(tmp_path / 's.db')!r})"
        store = SqliteStore(tmp_path / "s.db")
    command = [sys.executable, "-c", CRASHING, str(tmp_path), source]
    with store:
        assert subprocess.run([*command, "and dies"], timeout=120).returncode == -signal.SIGKILL
        assert store.get(("n",), "a").value == {"attempt": 1}
        store.put(("n",), "a", {"by": "somebody else, since"})
        done = subprocess.run(command, timeout=120, capture_output=True, text=True)
        assert done.stdout.strip() == "[2, 1]", done.stderr
        values = {item.key: item.value for item in store.search(("n",))}
    assert values == {
        "a": {"by": "somebody else, since"}, "a, always": {"attempt": 2}, "b": {"attempt": 1}, "b, always": {"attempt": 1},
    }  # fmt: skip


class Listener(InMemoryStore):
    """Notes which runs it is told to let go."""

    def __init__(self) -> None:
        super().__init__()
        self.over: list[str] = []
        self.broken = False

    def forget_once(self, run_id: str) -> None:
        self.over.append(run_id)
        if self.broken:
            raise ConnectionError("the database is away")


def test_a_store_is_told_when_a_run_is_over_and_not_before() -> None:
    store, trouble = Listener(), [ConnectionError()]

    @task
    def note(text: str) -> str:
        get_store().put(NS, text, {}, once=True)
        if trouble:
            raise trouble.pop()
        return text

    @entrypoint(checkpointer=InMemorySaver(), store=store)
    def main(text: str) -> str:
        note(text).result()
        answer: str = interrupt("well?")
        return answer

    def names() -> list[str | None]:
        return [run.run_id for run in main.runs("1")]

    with pytest.raises(ConnectionError):
        main.invoke("a", thread_id="1")
    main.invoke(None, thread_id="1")
    assert store.over == [], "a question is open: the run can go on"
    main.invoke(Command(resume="yes"), thread_id="1")
    assert store.over == names(), "told by an attempt that wrote nothing itself"


def test_a_store_is_told_in_both_colours_and_without_a_checkpointer() -> None:
    store = Listener()
    runs: list[str] = []

    @task
    async def note(fails: bool) -> None:
        info = get_runtime().execution_info
        assert info is not None and info.run_id is not None
        runs.append(info.run_id)
        await get_store().aput(NS, "k", {}, once=True)
        if fails:
            raise ConnectionError

    @entrypoint(checkpointer=InMemorySaver(), store=store)
    async def recorded(fails: bool) -> None:
        await note(fails)

    @entrypoint(store=store)
    async def unrecorded(fails: bool) -> None:
        await note(fails)

    asyncio.run(recorded.ainvoke(False, thread_id="1"))
    asyncio.run(unrecorded.ainvoke(False))
    with pytest.raises(ConnectionError):
        asyncio.run(unrecorded.ainvoke(True))
    assert store.over == runs, "without a record there is no going on with a run that failed"


def test_a_run_that_writes_nothing_once_tells_nothing() -> None:
    store = Listener()

    @entrypoint(checkpointer=InMemorySaver(), store=store)
    def main(text: str, *, store: BaseStore) -> str:
        store.put(NS, text, {})
        return text

    main.invoke("a", thread_id="1")
    assert store.over == []


def test_a_store_that_cannot_be_told_does_not_fail_the_run(caplog: pytest.LogCaptureFixture) -> None:
    store = Listener()
    store.broken = True

    @entrypoint(checkpointer=InMemorySaver(), store=store)
    def main(text: str, *, store: BaseStore) -> str:
        store.put(NS, text, {}, once=True)
        return text

    assert main.invoke("a", thread_id="1") == "a"
    assert store.over[0] in caplog.text


def test_items_are_results_that_replay(store: BaseStore) -> None:
    saver = InMemorySaver()
    searches: list[str] = []
    fails = True

    @task
    def recall(prefix: str) -> list[Any]:
        searches.append(prefix)
        return list(get_store().search((prefix,)))

    @entrypoint(checkpointer=saver, store=store)
    def main(_: int) -> dict[str, Any]:
        [found] = recall("users").result()
        if fails:
            raise ConnectionError
        value: dict[str, Any] = found.value
        return value

    store.put(NS, "k", {"when": (1, 2)})
    with pytest.raises(ConnectionError):
        main.invoke(1, thread_id="1")
    fails = False
    store.delete(NS, "k")

    assert main.invoke(None, thread_id="1") == {"when": (1, 2)}
    assert searches == ["users"]
