"""The async twins do what the sync methods do, and both see the same items."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durably.errors import ConfigError
from durably.store.base import BaseStore, GetOp, PutOp
from durably.store.sqlite import SqliteStore
from durably.store.sqlite.aio import AsyncSqliteStore

NS = ("users", "ada")


def test_async_twins(store: BaseStore) -> None:
    async def main() -> None:
        await store.aput(NS, "k", {"n": 1})
        await store.aput(NS, "gone", {"n": 2}, ttl=5)
        await store.adelete(NS, "gone")
        item = await store.aget(NS, "k")
        assert item is not None
        assert item.value == {"n": 1}
        assert await store.aget(NS, "gone") is None
        assert [i.key for i in await store.asearch(("users",), filter={"n": 1}, limit=3)] == ["k"]
        assert await store.alist_namespaces(prefix=("users",), max_depth=1) == [("users",)]
        assert (await store.abatch([PutOp(NS, "b", {}), GetOp(NS, "b")]))[1] is not None
        with pytest.raises(ConfigError):
            await store.aput((), "k", {})

    asyncio.run(main())
    assert store.get(NS, "k") is not None


def test_many_tasks_write_at_once(store: BaseStore) -> None:
    async def main() -> None:
        await asyncio.gather(*[store.aput(NS, str(n), {"n": n}) for n in range(50)])

    asyncio.run(main())
    assert len(store.search(NS, limit=100)) == 50


def test_a_slow_embedder_does_not_stop_the_loop(make_store: Any, letters: Any) -> None:
    async def main() -> list[str]:
        ticks: list[str] = []
        reached = asyncio.Event()
        loop = asyncio.get_running_loop()
        let_go = asyncio.Event()

        def embed(texts: list[str]) -> list[list[float]]:
            loop.call_soon_threadsafe(reached.set)
            asyncio.run_coroutine_threadsafe(let_go.wait(), loop).result(30)
            return [letters.vector(text) for text in texts]

        store = make_store(index={"dims": 26, "embed": embed})
        putting = asyncio.create_task(store.aput(NS, "k", {"text": "tea"}))
        await reached.wait()
        ticks.append("the loop runs while texts are embedded")
        assert await store.aget(NS, "k") is None
        ticks.append("and so does the store")
        let_go.set()
        await putting
        assert await store.aget(NS, "k") is not None
        return ticks

    assert len(asyncio.run(main())) == 2


def test_the_older_async_name_opens_the_same_backend(tmp_path: Any) -> None:
    async def main() -> None:
        async with AsyncSqliteStore.from_conn_string(str(tmp_path / "s.db")) as store:
            await store.setup()
            await store.aput(NS, "k", {"n": 1})
            assert store.get(NS, "k") is not None

    asyncio.run(main())
    with SqliteStore.from_conn_string(str(tmp_path / "s.db"), ttl={"default_ttl": 5}) as store:
        store.setup()
        assert store.get(NS, "k") is not None
