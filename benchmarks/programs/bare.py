"""The limits: what the same shapes of work cost with the standard library, and msgspec where values are encoded."""

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

NAP = 0.05  # seconds
ROW = b"x" * 64
RESULTS = b"x" * 3_000  # of a workflow of three tasks
MB = 1_000_000


def runs_of(callers: int) -> int:
    """How many workflows so many callers run together."""
    return max(64, 4 * callers)


class Setting:
    """The database connection of one measurement or None, what the database is, and how it writes down a parameter."""

    def __init__(self, saver: Any, durability: str | None, path: str) -> None:
        self.saver = saver
        self.path = path
        self.is_postgres = "://" in path
        self.insert = f"INSERT INTO record (value) VALUES ({'%s' if self.is_postgres else '?'})"


@contextlib.contextmanager
def open_saver(backend: str, path: str) -> Iterator[Any]:
    if backend == "postgres":
        import psycopg

        with psycopg.connect(path, autocommit=True) as server:
            server.execute("CREATE TABLE record (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, value bytea)")
            yield server
        return
    if not backend.startswith("sqlite"):
        yield None
        return
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={backend.partition('-')[2]}")
        connection.execute("CREATE TABLE record (id INTEGER PRIMARY KEY, value BLOB)")
        yield connection


@contextlib.asynccontextmanager
async def open_async_saver(backend: str, path: str) -> AsyncIterator[Any]:
    with open_saver(backend, path) as connection:
        yield connection


def increment(number: int) -> int:
    return number + 1


async def async_increment(number: int) -> int:
    return number + 1


def calls(setting: Setting, size: int) -> Callable[[], None]:
    """As many function calls, each needing the result of the one before."""

    def work() -> None:
        number = 0
        for _ in range(size):
            number = increment(number)
        assert number == size

    return work


def pool(setting: Setting, size: int) -> Callable[[], None]:
    """As many calls in a thread pool, each waited for before the next."""
    executor = ThreadPoolExecutor()

    def work() -> None:
        number = 0
        for _ in range(size):
            number = executor.submit(increment, number).result()
        assert number == size

    return work


def async_create_task(setting: Setting, size: int) -> Callable[[], Any]:
    """As many asyncio tasks, each awaited before the next."""

    async def work() -> None:
        number = 0
        for _ in range(size):
            number = await asyncio.create_task(async_increment(number))
        assert number == size

    return work


def pool_fan_out(setting: Setting, size: int) -> Callable[[], None]:
    """As many calls handed to a thread pool at once."""
    executor = ThreadPoolExecutor()

    def work() -> None:
        futures = [executor.submit(increment, number) for number in range(size)]
        assert sum(future.result() for future in futures) == size * (size + 1) // 2

    return work


def async_gather(setting: Setting, size: int) -> Callable[[], Any]:
    """As many asyncio tasks at once."""

    async def work() -> None:
        tasks = [asyncio.create_task(async_increment(number)) for number in range(size)]
        assert sum(await asyncio.gather(*tasks)) == size * (size + 1) // 2

    return work


def insert(setting: Setting, size: int, row: bytes = ROW) -> Callable[[], None]:
    """As many rows, each in a transaction of its own."""
    connection = setting.saver

    def work() -> None:
        for _ in range(size):
            connection.execute(setting.insert, (row,))

    return work


def insert_results(setting: Setting, size: int) -> Callable[[], None]:
    """A row and a commit for each of the workflows, by so many threads, each with its connection; on SQLite by one."""
    if not setting.is_postgres:
        return insert(setting, runs_of(size), RESULTS)
    import psycopg

    connections = [psycopg.connect(setting.path, autocommit=True) for _ in range(size)]

    def caller(connection: psycopg.Connection) -> None:
        for _ in range(runs_of(size) // size):
            connection.execute(setting.insert, (RESULTS,))

    def work() -> None:
        with ThreadPoolExecutor(size) as pool:
            list(pool.map(caller, connections))

    return work


async def async_insert_results(setting: Setting, size: int) -> Callable[[], Any]:
    """Likewise, by so many asyncio tasks."""
    import psycopg

    connections = [await psycopg.AsyncConnection.connect(setting.path, autocommit=True) for _ in range(size)]

    async def caller(connection: psycopg.AsyncConnection) -> None:
        for _ in range(runs_of(size) // size):
            await connection.execute(setting.insert, (RESULTS,))

    async def work() -> None:
        await asyncio.gather(*map(caller, connections))

    return work


def batched_rows(setting: Setting, size: int) -> Callable[[], None]:
    """As many rows in one transaction; to PostgreSQL they go without waiting for one answer after the other."""
    connection, rows = setting.saver, [(ROW,)] * size

    def work() -> None:
        connection.execute("BEGIN")
        connection.cursor().executemany(setting.insert, rows)
        connection.execute("COMMIT")

    return work


def threads_napping(setting: Setting, size: int) -> Callable[[], None]:
    """As many threads that sleep side by side."""

    def work() -> None:
        threads = [threading.Thread(target=time.sleep, args=(NAP,)) for _ in range(size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return work


def async_napping(setting: Setting, size: int) -> Callable[[], Any]:
    """As many asyncio tasks that sleep side by side."""

    async def work() -> None:
        await asyncio.gather(*[asyncio.sleep(NAP) for _ in range(size)])

    return work


def select_rows(setting: Setting, size: int) -> Callable[[], None]:
    """As many rows read with one statement, and looked at one by one."""
    connection = setting.saver
    batched_rows(setting, size)()

    def work() -> None:
        rows = connection.execute(f"SELECT value FROM record ORDER BY id LIMIT {size}").fetchall()
        assert sum(len(value) for (value,) in rows) == len(ROW) * size

    return work


def encoded(setting: Setting, make: Callable[[], Any]) -> Callable[[], None]:
    """A value made, encoded, and inserted as a row in a transaction of its own."""
    import msgspec

    connection, encoder = setting.saver, msgspec.msgpack.Encoder()

    def work() -> None:
        connection.execute(setting.insert, (encoder.encode(make()),))

    return work


def insert_json(setting: Setting, size: int) -> Callable[[], None]:
    def records() -> list[dict[str, Any]]:
        return [
            {"id": i, "name": f"item {i}", "price": i * 1.5, "tags": ["a", "b"], "stock": {"here": i, "there": None}}
            for i in range(11_500 * size)
        ]

    return encoded(setting, records)


def insert_blob(setting: Setting, size: int) -> Callable[[], None]:
    return encoded(setting, lambda: os.urandom(size * MB))


def queue(setting: Setting, size: int) -> Callable[[], None]:
    """As many items from one thread to another, each the time at which it was written."""

    def work() -> None:
        items: SimpleQueue[float | None] = SimpleQueue()

        def write() -> None:
            for _ in range(size):
                items.put(time.perf_counter())
            items.put(None)

        thread, delays = threading.Thread(target=write), []
        thread.start()
        delays.extend(time.perf_counter() - written for written in iter(items.get, None))
        assert len(delays) == size
        thread.join()

    return work


def async_queue(setting: Setting, size: int) -> Callable[[], Any]:
    """As many items from one asyncio task to another."""

    async def work() -> None:
        items: asyncio.Queue[float | None] = asyncio.Queue()

        async def write() -> None:
            for _ in range(size):
                items.put_nowait(time.perf_counter())
            items.put_nowait(None)

        writing, delays = asyncio.create_task(write()), []
        while (written := await items.get()) is not None:
            delays.append(time.perf_counter() - written)
        assert len(delays) == size
        await writing

    return work
