"""The program under test, written for LangGraph's Functional API.

It runs on durably after replacing the one word ``langgraph`` in its imports, which is what the harness does.
Every scenario returns a function that does the work once; making it is not part of what is measured.
"""

import asyncio
import contextlib
import itertools
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from langgraph.func import entrypoint, task

NAP = 0.05  # seconds


class Setting:
    """The saver of one measurement, and a config for each run of it."""

    def __init__(self, saver: Any, durability: str | None) -> None:
        self.saver = saver
        self.options = {"durability": durability} if durability else {}
        self._threads = itertools.count()

    def thread(self) -> Any:
        """The config of a thread that no run has used yet."""
        return {"configurable": {"thread_id": f"t{next(self._threads)}"}}


# ----------------------------------------------------------------------------------------------------- savers


@contextlib.contextmanager
def open_saver(backend: str, path: str) -> Iterator[Any]:
    if backend == "none":
        yield None
    elif backend == "memory":
        from langgraph.checkpoint.memory import InMemorySaver

        yield InMemorySaver()
    else:
        from langgraph.checkpoint.sqlite import SqliteSaver

        with SqliteSaver.from_conn_string(path) as saver:
            flush(saver, backend)
            yield saver


@contextlib.asynccontextmanager
async def open_async_saver(backend: str, path: str) -> AsyncIterator[Any]:
    if not backend.startswith("sqlite"):
        with open_saver(backend, path) as saver:
            yield saver
        return
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        await async_flush(saver, backend)
        yield saver


def flush(saver: Any, backend: str) -> None:
    """Set what a commit waits for, where the saver lets its user do so."""
    connection = getattr(saver, "conn", None)
    if isinstance(connection, sqlite3.Connection):
        saver.setup()
        connection.execute(f"PRAGMA synchronous={backend.partition('-')[2]}")


async def async_flush(saver: Any, backend: str) -> None:
    connection = getattr(saver, "conn", None)
    if connection is not None:
        await saver.setup()
        await connection.execute(f"PRAGMA synchronous={backend.partition('-')[2]}")


# -------------------------------------------------------------------------------------------- empty workflows


def empty(setting: Setting, size: int) -> Callable[[], None]:
    """As many empty runs, each on a new thread."""

    @entrypoint(checkpointer=setting.saver)
    def workflow(number: int) -> int:
        return number

    def work() -> None:
        for number in range(size):
            assert workflow.invoke(number, setting.thread(), **setting.options) == number

    return work


def async_empty(setting: Setting, size: int) -> Callable[[], Any]:
    @entrypoint(checkpointer=setting.saver)
    async def workflow(number: int) -> int:
        return number

    async def work() -> None:
        for number in range(size):
            assert await workflow.ainvoke(number, setting.thread(), **setting.options) == number

    return work


def one_thread(setting: Setting, size: int) -> Callable[[], None]:
    """As many empty runs, all on one thread."""

    @entrypoint(checkpointer=setting.saver)
    def workflow(number: int) -> int:
        return number

    def work() -> None:
        config = setting.thread()
        for number in range(size):
            assert workflow.invoke(number, config, **setting.options) == number

    return work


def async_one_thread(setting: Setting, size: int) -> Callable[[], Any]:
    @entrypoint(checkpointer=setting.saver)
    async def workflow(number: int) -> int:
        return number

    async def work() -> None:
        config = setting.thread()
        for number in range(size):
            assert await workflow.ainvoke(number, config, **setting.options) == number

    return work


# ------------------------------------------------------------------------------------------------------ tasks


@task
def increment(number: int) -> int:
    return number + 1


@task
async def async_increment(number: int) -> int:
    return number + 1


@task
def nap(number: int) -> int:
    time.sleep(NAP)
    return number


@task
async def async_nap(number: int) -> int:
    await asyncio.sleep(NAP)
    return number


def sequential(setting: Setting, size: int) -> Callable[[], None]:
    """One run of as many tasks, each needing the result of the one before."""

    @entrypoint(checkpointer=setting.saver)
    def workflow(count: int) -> int:
        number = 0
        for _ in range(count):
            number = increment(number).result()
        return number

    def work() -> None:
        assert workflow.invoke(size, setting.thread(), **setting.options) == size

    return work


def async_sequential(setting: Setting, size: int) -> Callable[[], Any]:
    @entrypoint(checkpointer=setting.saver)
    async def workflow(count: int) -> int:
        number = 0
        for _ in range(count):
            number = await async_increment(number)
        return number

    async def work() -> None:
        assert await workflow.ainvoke(size, setting.thread(), **setting.options) == size

    return work


def fan_out(setting: Setting, size: int) -> Callable[[], None]:
    """One run that starts as many tasks at once and adds up their results."""

    @entrypoint(checkpointer=setting.saver)
    def workflow(count: int) -> int:
        futures = [increment(number) for number in range(count)]
        return sum(future.result() for future in futures)

    def work() -> None:
        assert workflow.invoke(size, setting.thread(), **setting.options) == size * (size + 1) // 2

    return work


def async_fan_out(setting: Setting, size: int) -> Callable[[], Any]:
    @entrypoint(checkpointer=setting.saver)
    async def workflow(count: int) -> int:
        return sum(await asyncio.gather(*[async_increment(number) for number in range(count)]))

    async def work() -> None:
        expected = size * (size + 1) // 2
        assert await workflow.ainvoke(size, setting.thread(), **setting.options) == expected

    return work


def naps(setting: Setting, size: int) -> Callable[[], None]:
    """One run of as many tasks side by side, each of which sleeps."""

    @entrypoint(checkpointer=setting.saver)
    def workflow(count: int) -> int:
        futures = [nap(number) for number in range(count)]
        return len([future.result() for future in futures])

    def work() -> None:
        assert workflow.invoke(size, setting.thread(), **setting.options) == size

    return work


def async_naps(setting: Setting, size: int) -> Callable[[], Any]:
    @entrypoint(checkpointer=setting.saver)
    async def workflow(count: int) -> int:
        return len(await asyncio.gather(*[async_nap(number) for number in range(count)]))

    async def work() -> None:
        assert await workflow.ainvoke(size, setting.thread(), **setting.options) == size

    return work
