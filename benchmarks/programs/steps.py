"""The same work as in ``functional.py``, written for DBOS: its steps are the tasks, its workflows have no threads.

It keeps everything in a database, so the scenarios that keep nothing are not measured with it. What a commit waits for
is DBOS's own choice.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dbos import DBOS, SetWorkflowID

NAP = 0.05  # seconds


def runs_of(callers: int) -> int:
    """How many workflows so many callers run together."""
    return max(64, 4 * callers)


class Setting:
    """Nothing that differs between measurements but the database, which is DBOS's own."""

    def __init__(self, saver: Any, durability: str | None, path: str) -> None:
        self.path = path


@contextlib.contextmanager
def open_saver(backend: str, path: str) -> Iterator[None]:
    DBOS(
        config={
            "name": "benchmark",
            "system_database_url": path if backend == "postgres" else f"sqlite:///{path}",
            "run_admin_server": False,
            "log_level": "CRITICAL",
        }
    )
    DBOS.launch()
    try:
        yield
    finally:
        DBOS.destroy()


@contextlib.asynccontextmanager
async def open_async_saver(backend: str, path: str) -> AsyncIterator[None]:
    with open_saver(backend, path):
        yield


@DBOS.step()
def increment(number: int) -> int:
    return number + 1


@DBOS.step()
async def async_increment(number: int) -> int:
    return number + 1


@DBOS.step()
async def async_nap(number: int) -> int:
    await asyncio.sleep(NAP)
    return number


@DBOS.step()
def kilobyte(number: int) -> str:
    return chr(97 + number % 26) * 1_000


@DBOS.step()
async def async_kilobyte(number: int) -> str:
    return chr(97 + number % 26) * 1_000


@DBOS.workflow()
def unchanged(number: int) -> int:
    return number


@DBOS.workflow()
async def async_unchanged(number: int) -> int:
    return number


@DBOS.workflow()
def counting(count: int) -> int:
    number = 0
    for _ in range(count):
        number = increment(number)
    return number


@DBOS.workflow()
async def async_counting(count: int) -> int:
    number = 0
    for _ in range(count):
        number = await async_increment(number)
    return number


@DBOS.workflow()
def child(number: int) -> int:
    return increment(number)


@DBOS.workflow()
def napping_child(number: int) -> int:
    time.sleep(NAP)
    return number


@DBOS.workflow()
def parent(count: int) -> int:
    handles = [DBOS.start_workflow(child, number) for number in range(count)]
    return sum(handle.get_result() for handle in handles)


@DBOS.workflow()
async def async_parent(count: int) -> int:
    return sum(await asyncio.gather(*[async_increment(number) for number in range(count)]))


@DBOS.workflow()
def napping_parent(count: int) -> int:
    handles = [DBOS.start_workflow(napping_child, number) for number in range(count)]
    return len([handle.get_result() for handle in handles])


@DBOS.workflow()
async def async_napping_parent(count: int) -> int:
    return len(await asyncio.gather(*[async_nap(number) for number in range(count)]))


@DBOS.workflow()
def three_steps(number: int) -> int:
    return sum(len(kilobyte(number + step)) for step in range(3))


@DBOS.workflow()
async def async_three_steps(number: int) -> int:
    return sum([len(await async_kilobyte(number + step)) for step in range(3)])


def empty(setting: Setting, size: int) -> Callable[[], None]:
    def work() -> None:
        for number in range(size):
            assert unchanged(number) == number

    return work


def async_empty(setting: Setting, size: int) -> Callable[[], Any]:
    async def work() -> None:
        for number in range(size):
            assert await async_unchanged(number) == number

    return work


def sequential(setting: Setting, size: int) -> Callable[[], None]:
    def work() -> None:
        assert counting(size) == size

    return work


def async_sequential(setting: Setting, size: int) -> Callable[[], Any]:
    async def work() -> None:
        assert await async_counting(size) == size

    return work


def fan_out(setting: Setting, size: int) -> Callable[[], None]:
    """A step is a call in its workflow's own thread, so what runs side by side are workflows."""

    def work() -> None:
        assert parent(size) == size * (size + 1) // 2

    return work


def async_fan_out(setting: Setting, size: int) -> Callable[[], Any]:
    async def work() -> None:
        assert await async_parent(size) == size * (size + 1) // 2

    return work


def naps(setting: Setting, size: int) -> Callable[[], None]:
    def work() -> None:
        assert napping_parent(size) == size

    return work


def async_naps(setting: Setting, size: int) -> Callable[[], Any]:
    async def work() -> None:
        assert await async_napping_parent(size) == size

    return work


def callers(setting: Setting, size: int) -> Callable[[], None]:
    def work() -> None:
        with ThreadPoolExecutor(size) as pool:
            assert sum(pool.map(three_steps, range(runs_of(size)))) == 3_000 * runs_of(size)

    return work


def async_callers(setting: Setting, size: int) -> Callable[[], Any]:
    async def caller(numbers: Iterator[int]) -> int:
        return sum([await async_three_steps(number) for number in numbers])

    async def work() -> None:
        numbers = iter(range(runs_of(size)))
        assert sum(await asyncio.gather(*[caller(numbers) for _ in range(size)])) == 3_000 * runs_of(size)

    return work


def resume(setting: Setting, size: int) -> Callable[[], None]:
    """A copy of a workflow that is done, started behind its last step. Its queue is looked at once a second."""
    name = str(uuid.uuid4())
    with SetWorkflowID(name):
        assert counting(size) == size

    def work() -> None:
        assert DBOS.fork_workflow(name, size + 1).get_result() == size

    return work
