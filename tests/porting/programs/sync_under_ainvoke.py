"""A sync workflow under `ainvoke`."""

import asyncio

from langgraph.func import entrypoint, task


@task
def double(x: int) -> int:
    return 2 * x


@entrypoint()
def work(x: int) -> int:
    return double(x).result() + 1


seen = asyncio.run(work.ainvoke(1))
expected = 3
