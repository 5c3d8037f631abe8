"""Caches under tasks: shared across runs, bounded in time, computed once by many."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest

from durably import CachePolicy, InMemorySaver, entrypoint, task
from durably.cache.base import BaseCache
from durably.cache.memory import InMemoryCache
from durably.cache.sqlite import SqliteCache
from durably.errors import StorageError


def test_a_cached_task_runs_once_for_equal_arguments(cache: BaseCache) -> None:
    calls: list[int] = []

    @task(cache_policy=CachePolicy())
    def square(n: int) -> tuple[int, str]:
        calls.append(n)
        return n * n, "exact"

    @entrypoint(checkpointer=InMemorySaver(), cache=cache)
    def main(n: int) -> tuple[int, str]:
        return square(n).result()

    results = [main.invoke(n, thread_id=str(at)) for at, n in enumerate([3, 3, 4, 3])]
    assert results == [(9, "exact"), (9, "exact"), (16, "exact"), (9, "exact")]
    assert calls == [3, 4]
    square.clear_cache(cache)
    main.invoke(3, thread_id="again")
    assert calls == [3, 4, 3]


def test_a_cached_result_expires(cache: BaseCache) -> None:
    calls: list[int] = []

    @task(cache_policy=CachePolicy(ttl=0.01))
    def now(n: int) -> int:
        calls.append(n)
        return n

    @entrypoint(cache=cache)
    def main(n: int) -> int:
        return now(n).result()

    main.invoke(1)
    time.sleep(0.05)
    main.invoke(1)
    assert calls == [1, 1]


class Away(InMemoryCache):
    """A server that went away, before or after it was asked."""

    def __init__(self, first: str) -> None:
        super().__init__()
        self.first = first

    def get(self, namespace: str, key: bytes) -> bytes | None:
        if self.first == "get":
            raise StorageError("the server is away")
        return super().get(namespace, key)

    def set(self, namespace: str, key: bytes, value: bytes, ttl: float | None = None) -> None:
        raise StorageError("the server is away")


@pytest.mark.parametrize("first", ["get", "set"])
def test_a_cache_that_is_away_costs_no_result(first: str, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    @task(cache_policy=CachePolicy())
    def square(n: int) -> int:
        calls.append(n)
        return n * n

    @entrypoint(cache=Away(first))
    def main(n: int) -> int:
        return square(n).result()

    assert [main.invoke(3), main.invoke(3), asyncio.run(main.ainvoke(3))] == [9, 9, 9]
    assert calls == [3, 3, 3]
    assert "square" in caplog.text and "the server is away" in caplog.text


def test_a_cache_that_another_process_writes_to_does_not_stop_the_loop(tmp_path: Path) -> None:
    with (
        closing(SqliteCache(tmp_path / "c.db", timeout=10)) as cache,
        closing(sqlite3.connect(tmp_path / "c.db", isolation_level=None, check_same_thread=False)) as other,
    ):

        @task(cache_policy=CachePolicy())
        async def square(n: int) -> int:
            asyncio.get_running_loop().call_later(0.05, other.execute, "ROLLBACK")
            return n * n

        @entrypoint(cache=cache)
        async def main(n: int) -> int:
            return await square(n)

        other.execute("BEGIN IMMEDIATE")
        assert asyncio.run(main.ainvoke(3)) == 9
        assert not other.in_transaction, "the loop ran while the cache waited"
        with closing(sqlite3.connect(tmp_path / "c.db")) as reader:
            assert reader.execute("SELECT count(*) FROM durably_cache").fetchone() == (1,)


def test_a_failure_is_not_cached(cache: BaseCache) -> None:
    calls: list[int] = []

    @task(cache_policy=CachePolicy())
    def shaky(n: int) -> int:
        calls.append(n)
        if len(calls) == 1:
            raise ConnectionError("first")
        return n

    @entrypoint(cache=cache)
    def main(n: int) -> int:
        return shaky(n).result()

    with pytest.raises(ConnectionError):
        main.invoke(1)
    assert main.invoke(1) == 1
    assert calls == [1, 1]


def test_many_runs_that_miss_at_once_compute_once(cache: BaseCache) -> None:
    calls: list[int] = []
    start, computing = Barrier(8), Event()

    @task(cache_policy=CachePolicy())
    def slow(n: int) -> int:
        calls.append(n)
        computing.wait(0.2)  # long enough for the others to miss as well
        return n + 1

    @entrypoint(cache=cache)
    def main(n: int) -> int:
        return slow(n).result()

    def run(_: int) -> int:
        start.wait(30)
        return main.invoke(1)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(run, range(8))) == [2] * 8
    assert calls == [1]


def test_coroutines_that_miss_at_once_compute_once(cache: BaseCache) -> None:
    calls: list[int] = []

    @task(cache_policy=CachePolicy(key_func=lambda text: text.lower()))
    async def ask(text: str) -> str:
        calls.append(len(calls))
        await asyncio.sleep(0.05)
        return f"answer to {text.lower()}"

    @entrypoint(cache=cache)
    async def main(text: str) -> str:
        return await ask(text)

    async def scenario() -> list[Any]:
        return list(await asyncio.gather(*[main.ainvoke(text) for text in ("Why", "WHY", "why")]))

    assert asyncio.run(scenario()) == ["answer to why"] * 3
    assert calls == [0]
