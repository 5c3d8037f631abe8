"""An async workflow calls a sync task; a sync workflow calls an async one."""

import asyncio

from langgraph.func import entrypoint, task


@task
def double(x: int) -> int:
    return 2 * x


@task
async def triple(x: int) -> int:
    await asyncio.sleep(0)
    return 3 * x


@entrypoint()
async def one(x: int) -> int:
    return await double(x)


@entrypoint()
def other(x: int) -> int:
    return triple(x).result()


def attempt(call) -> object:
    try:
        return call()
    except Exception as error:
        return type(error).__name__


seen = [attempt(lambda: asyncio.run(one.ainvoke(1))), attempt(lambda: other.invoke(1))]
expected = {"langgraph": [2, "RuntimeError"], "durably": [2, 3]}
