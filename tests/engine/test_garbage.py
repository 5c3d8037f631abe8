"""What is over is freed at once: nothing is left to the cyclic garbage collector, which would cost as much as the runs."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any

import pytest

from durably import Workflow, entrypoint, get_stream_writer, task
from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.memory import InMemorySaver
from durably.engine.call import TaskFuture
from durably.engine.run import Run
from durably.engine.scope import Scope
from durably.engine.stream import Channel

ROUNDS = 5


@task
def double(x: int) -> int:
    return 2 * x


@task
async def adouble(x: int) -> int:
    return 2 * x


@contextmanager
def garbage() -> Iterator[list[object]]:
    """What only the garbage collector can free of all that the block has made."""
    left: list[object] = []
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield left
        gc.collect()
        left += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def blocking(workflow: Workflow[int, int]) -> None:
    for number in range(ROUNDS):
        assert workflow.invoke(number, thread_id="a") == 2 * number


def awaiting(workflow: Workflow[int, int]) -> None:
    async def main() -> None:
        for number in range(ROUNDS):
            assert await workflow.ainvoke(number, thread_id="a") == 2 * number

    asyncio.run(main())


def reading(workflow: Workflow[int, int]) -> None:
    for number in range(ROUNDS):
        assert list(workflow.stream(number, thread_id="a", stream_mode="custom")) == [number, number]


def plain(saver: BaseCheckpointer | None) -> Any:
    return entrypoint(checkpointer=saver)(lambda x: double(x).result())


def writing(saver: BaseCheckpointer | None) -> Any:
    @entrypoint(checkpointer=saver)
    def workflow(x: int) -> int:
        get_stream_writer()(x)
        get_stream_writer()(x)
        return double(x).result()

    return workflow


def on_loop(saver: BaseCheckpointer | None) -> Any:
    @entrypoint(checkpointer=saver)
    async def workflow(x: int) -> int:
        return sum(await asyncio.gather(adouble(x), adouble(0)))

    return workflow


@pytest.mark.once("going through a program again takes other ways, and its exceptions hold frames")
@pytest.mark.parametrize("saver", [None, InMemorySaver()], ids=["none", "memory"])
@pytest.mark.parametrize(
    ("make", "run"), [(plain, blocking), (on_loop, awaiting), (writing, reading)], ids=["sync", "async", "stream"]
)
def test_runs_leave_no_circles(
    saver: BaseCheckpointer | None,
    make: Callable[[BaseCheckpointer | None], Workflow[int, int]],
    run: Callable[[Workflow[int, int]], None],
) -> None:
    workflow = make(saver)
    run(workflow)  # what is made once
    with garbage() as left:
        run(workflow)
    assert not {type(thing) for thing in left} & {
        Run,
        Scope,
        Context,
        TaskFuture,
        Channel,
    }  # event loops leave other things
