"""The program under test, written for LangGraph.

It runs on durably after replacing the one word ``langgraph`` in its imports, which is what the harness does.
Every scenario returns a function that does the work once; making it is not part of what is measured.
"""

import asyncio
import base64
import contextlib
import inspect
import itertools
import operator
import os
import random
import sqlite3
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task

NAP = 0.05  # seconds
MB = 1_000_000


class Setting:
    """The saver of one measurement, the file or database it writes to, and a config for each run of it."""

    def __init__(self, saver: Any, durability: str | None, path: str) -> None:
        self.saver = saver
        self.path = path
        self.options = {"durability": durability} if durability else {}
        self._threads = itertools.count()

    def thread(self) -> Any:
        """The config of a thread that no run has used yet."""
        return {"configurable": {"thread_id": f"t{next(self._threads)}"}}

    def stored(self) -> int:
        """How many bytes the database has, whose log is first worked into it."""
        if "://" in self.path:
            import psycopg

            with psycopg.connect(self.path) as connection:
                row = connection.execute("select pg_database_size(current_database())").fetchone()
                return row[0] if row else 0
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy, "the log could not be worked into the database, which somebody reads"
        return os.path.getsize(self.path)


# ----------------------------------------------------------------------------------------------------- savers


@contextlib.contextmanager
def open_saver(backend: str, path: str) -> Iterator[Any]:
    if backend == "none":
        yield None
    elif backend == "memory":
        from langgraph.checkpoint.memory import InMemorySaver

        yield InMemorySaver()
    elif backend == "postgres":
        from langgraph.checkpoint.postgres import PostgresSaver

        with PostgresSaver.from_conn_string(path) as saver:
            saver.setup()
            yield saver
    else:
        from langgraph.checkpoint.sqlite import SqliteSaver

        with SqliteSaver.from_conn_string(path, **options(SqliteSaver, backend)) as saver:
            flush(saver, backend)
            yield saver


@contextlib.asynccontextmanager
async def open_async_saver(backend: str, path: str) -> AsyncIterator[Any]:
    if backend == "postgres":
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

        async with AsyncPostgresSaver.from_conn_string(path) as saver:
            await saver.setup()
            yield saver
    elif backend.startswith("sqlite"):
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        async with AsyncSqliteSaver.from_conn_string(path, **options(AsyncSqliteSaver, backend)) as saver:
            await async_flush(saver, backend)
            yield saver
    else:
        with open_saver(backend, path) as saver:
            yield saver


def options(saver: Any, backend: str) -> dict[str, Any]:
    """What a commit waits for, where that is a setting of the saver."""
    has_setting = "synchronous" in inspect.signature(saver).parameters
    return {"synchronous": backend.partition("-")[2]} if has_setting else {}


def flush(saver: Any, backend: str) -> None:
    """Set what a commit waits for, where that is a setting of the saver's connection."""
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


# -------------------------------------------------------------------------------------------------- throughput


def runs_of(callers: int) -> int:
    """How many workflows so many callers run together."""
    return max(64, 4 * callers)


@task
def kilobyte(number: int) -> str:
    return chr(97 + number % 26) * 1_000


@task
async def async_kilobyte(number: int) -> str:
    return chr(97 + number % 26) * 1_000


def callers(setting: Setting, size: int) -> Callable[[], None]:
    """Workflows of three tasks, started by as many threads."""

    @entrypoint(checkpointer=setting.saver)
    def workflow(number: int) -> int:
        return sum(len(kilobyte(number + step).result()) for step in range(3))

    def run(number: int) -> int:
        return int(workflow.invoke(number, setting.thread(), **setting.options))

    def work() -> None:
        with ThreadPoolExecutor(size) as pool:
            assert sum(pool.map(run, range(runs_of(size)))) == 3_000 * runs_of(size)

    return work


def async_callers(setting: Setting, size: int) -> Callable[[], Any]:
    @entrypoint(checkpointer=setting.saver)
    async def workflow(number: int) -> int:
        return sum([len(await async_kilobyte(number + step)) for step in range(3)])

    async def caller(numbers: Iterator[int]) -> int:
        return sum([await workflow.ainvoke(number, setting.thread(), **setting.options) for number in numbers])

    async def work() -> None:
        numbers = iter(range(runs_of(size)))
        assert sum(await asyncio.gather(*[caller(numbers) for _ in range(size)])) == 3_000 * runs_of(size)

    return work


# ------------------------------------------------------------------------------------------------------ resume


class NotYet(Exception):
    """What stops a run whose tasks are all done."""


def resume(setting: Setting, size: int) -> Callable[[], None]:
    """Going on with a run that has as many finished tasks, up to the point where it stopped."""

    @entrypoint(checkpointer=setting.saver)
    def workflow(count: int) -> int:
        number = 0
        for _ in range(count):
            number = increment(number).result()
        raise NotYet(number)

    config = setting.thread()
    with contextlib.suppress(NotYet):
        workflow.invoke(size, config, **setting.options)

    def work() -> None:
        try:
            workflow.invoke(None, config, **setting.options)
        except NotYet as stopped:
            assert stopped.args == (size,)

    return work


async def async_resume(setting: Setting, size: int) -> Callable[[], Any]:
    @entrypoint(checkpointer=setting.saver)
    async def workflow(count: int) -> int:
        number = 0
        for _ in range(count):
            number = await async_increment(number)
        raise NotYet(number)

    config = setting.thread()
    with contextlib.suppress(NotYet):
        await workflow.ainvoke(size, config, **setting.options)

    async def work() -> None:
        try:
            await workflow.ainvoke(None, config, **setting.options)
        except NotYet as stopped:
            assert stopped.args == (size,)

    return work


# ------------------------------------------------------------------------------------------------ what is stored


def text(seed: int) -> str:
    """About a kilobyte that does not compress to less than its randomness."""
    return base64.b85encode(random.Random(seed).randbytes(820)).decode()


class Turns:
    """What the turns of a chat took, and what they left on disk."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.seconds: list[float] = []
        self.reading = 0.0
        self.stored_before = setting.stored()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds.append(time.perf_counter() - began)

    @contextlib.contextmanager
    def read(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.reading = time.perf_counter() - began

    def figures(self) -> dict[str, float]:
        near = self.seconds[10:20] or self.seconds
        return {
            "turns 10 to 20, s": statistics.median(near),
            "last ten turns, s": statistics.median(self.seconds[-10:]),
            "reading the value, s": self.reading,
            "stored, bytes": self.setting.stored() - self.stored_before,
        }


def chat(setting: Setting, size: int) -> Callable[[], dict[str, float]]:
    """A conversation of as many turns, each adding a kilobyte to what the thread remembers."""

    @entrypoint(checkpointer=setting.saver)
    def workflow(said: str, *, previous: list[dict[str, str]] | None = None) -> list[dict[str, str]]:
        return [*(previous or []), {"role": "user", "content": said}]

    def work() -> dict[str, float]:
        config, turns = setting.thread(), Turns(setting)
        for number in range(size):
            said = text(number)
            with turns.turn():
                answer = workflow.invoke(said, config, **setting.options)
        assert len(answer) == size
        with turns.read():
            assert workflow.get_state(config).values
        return turns.figures()

    return work


def async_chat(setting: Setting, size: int) -> Callable[[], Any]:
    @entrypoint(checkpointer=setting.saver)
    async def workflow(said: str, *, previous: list[dict[str, str]] | None = None) -> list[dict[str, str]]:
        return [*(previous or []), {"role": "user", "content": said}]

    async def work() -> dict[str, float]:
        config, turns = setting.thread(), Turns(setting)
        for number in range(size):
            said = text(number)
            with turns.turn():
                answer = await workflow.ainvoke(said, config, **setting.options)
        assert len(answer) == size
        with turns.read():
            assert (await workflow.aget_state(config)).values
        return turns.figures()

    return work


def records(megabytes: int) -> list[dict[str, Any]]:
    """About as many megabytes of what an API answers."""
    return [
        {"id": i, "name": f"item {i}", "price": i * 1.5, "tags": ["a", "b"], "stock": {"here": i, "there": None}}
        for i in range(11_500 * megabytes)
    ]


@task
def produce(kind: str, megabytes: int) -> Any:
    return records(megabytes) if kind == "json" else os.urandom(megabytes * MB)


@task
async def async_produce(kind: str, megabytes: int) -> Any:
    return records(megabytes) if kind == "json" else os.urandom(megabytes * MB)


def large(setting: Setting, kind: str, size: int) -> Callable[[], None]:
    """A run whose task returns so many megabytes."""

    @entrypoint(checkpointer=setting.saver)
    def workflow(megabytes: int) -> int:
        return len(produce(kind, megabytes).result())

    def work() -> None:
        assert workflow.invoke(size, setting.thread(), **setting.options) >= size

    return work


def async_large(setting: Setting, kind: str, size: int) -> Callable[[], Any]:
    @entrypoint(checkpointer=setting.saver)
    async def workflow(megabytes: int) -> int:
        return len(await async_produce(kind, megabytes))

    async def work() -> None:
        assert await workflow.ainvoke(size, setting.thread(), **setting.options) >= size

    return work


def json(setting: Setting, size: int) -> Callable[[], None]:
    return large(setting, "json", size)


def async_json(setting: Setting, size: int) -> Callable[[], Any]:
    return async_large(setting, "json", size)


def blob(setting: Setting, size: int) -> Callable[[], None]:
    return large(setting, "blob", size)


def async_blob(setting: Setting, size: int) -> Callable[[], Any]:
    return async_large(setting, "blob", size)


# ----------------------------------------------------------------------------------------------------- graphs


class Counter(TypedDict):
    number: int


class Numbers(TypedDict):
    numbers: Annotated[list[int], operator.add]


def again(size: int) -> Callable[[Counter], str]:
    return lambda state: "step" if state["number"] < size else "__end__"


def loop_of(step: Any, setting: Setting, size: int) -> Any:
    """A graph of one node that comes back to itself."""
    from langgraph.graph import END, START, StateGraph

    builder = StateGraph(Counter)
    builder.add_node("step", step)
    builder.add_edge(START, "step")
    builder.add_conditional_edges("step", again(size), ["step", END])
    return builder.compile(checkpointer=setting.saver)


def sends_of(worker: Any, setting: Setting, size: int) -> Any:
    """A graph that sends as many pieces of work to one node."""
    from langgraph.graph import START, StateGraph
    from langgraph.types import Send

    builder = StateGraph(Numbers)
    builder.add_node("worker", worker)
    builder.add_conditional_edges(START, lambda state: [Send("worker", n) for n in range(size)], ["worker"])
    return builder.compile(checkpointer=setting.saver)


def limits(setting: Setting, size: int) -> Any:
    return {**setting.thread(), "recursion_limit": size + 10}


def graph_loop(setting: Setting, size: int) -> Callable[[], None]:
    """One run of a graph that takes as many steps."""
    graph = loop_of(lambda state: {"number": state["number"] + 1}, setting, size)

    def work() -> None:
        assert graph.invoke({"number": 0}, limits(setting, size), **setting.options) == {"number": size}

    return work


def async_graph_loop(setting: Setting, size: int) -> Callable[[], Any]:
    async def step(state: Counter) -> dict[str, int]:
        return {"number": state["number"] + 1}

    graph = loop_of(step, setting, size)

    async def work() -> None:
        assert await graph.ainvoke({"number": 0}, limits(setting, size), **setting.options) == {"number": size}

    return work


def graph_sends(setting: Setting, size: int) -> Callable[[], None]:
    """One step of a graph in which a node runs as many times."""
    graph = sends_of(lambda number: {"numbers": [number]}, setting, size)

    def work() -> None:
        assert len(graph.invoke({"numbers": []}, limits(setting, size), **setting.options)["numbers"]) == size

    return work


def async_graph_sends(setting: Setting, size: int) -> Callable[[], Any]:
    async def worker(number: int) -> dict[str, list[int]]:
        return {"numbers": [number]}

    graph = sends_of(worker, setting, size)

    async def work() -> None:
        found = await graph.ainvoke({"numbers": []}, limits(setting, size), **setting.options)
        assert len(found["numbers"]) == size

    return work


# ---------------------------------------------------------------------------------------------------- streams

PACE = 0.001  # seconds between two chunks


@task
def write(count: int, pause: float) -> None:
    writer = get_stream_writer()
    for _ in range(count):
        if pause:
            time.sleep(pause)
        writer(time.perf_counter())


@task
async def async_write(count: int, pause: float) -> None:
    writer = get_stream_writer()
    for _ in range(count):
        if pause:
            await asyncio.sleep(pause)
        writer(time.perf_counter())


class Delays:
    """How long chunks were on their way, each of them being the time at which it was written."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.first = 0.0
        self.delays: list[float] = []

    def take(self, written: float) -> None:
        now = time.perf_counter()
        self.first = self.first or now - self.began
        self.delays.append(now - written)

    def figures(self, size: int) -> dict[str, float]:
        assert len(self.delays) == size
        delays = sorted(self.delays)
        return {
            "time to the first chunk, s": self.first,
            "from the writer to the reader, median, s": delays[len(delays) // 2],
            "from the writer to the reader, 99 %, s": delays[len(delays) * 99 // 100],
        }


def chunks(setting: Setting, size: int, pause: float = 0.0) -> Callable[[], dict[str, float]]:
    """A task that writes so many chunks to its stream, and their reader."""

    @entrypoint(checkpointer=setting.saver)
    def workflow(count: int) -> None:
        write(count, pause).result()

    def work() -> dict[str, float]:
        delays = Delays()
        for written in workflow.stream(size, setting.thread(), stream_mode="custom"):
            delays.take(written)
        return delays.figures(size)

    return work


def async_chunks(setting: Setting, size: int, pause: float = 0.0) -> Callable[[], Any]:
    @entrypoint(checkpointer=setting.saver)
    async def workflow(count: int) -> None:
        await async_write(count, pause)

    async def work() -> dict[str, float]:
        delays = Delays()
        async for written in workflow.astream(size, setting.thread(), stream_mode="custom"):
            delays.take(written)
        return delays.figures(size)

    return work


def paced_chunks(setting: Setting, size: int) -> Callable[[], dict[str, float]]:
    """Likewise, with a pause before each chunk: how long one is on its way when nothing is in a hurry."""
    return chunks(setting, size, PACE)


def async_paced_chunks(setting: Setting, size: int) -> Callable[[], Any]:
    return async_chunks(setting, size, PACE)
