"""An async task with a time limit."""

import asyncio

from langgraph.errors import NodeTimeoutError
from langgraph.func import entrypoint, task


@task(timeout=0.05)
async def slow() -> str:
    await asyncio.sleep(60)
    return "done"


@entrypoint()
async def work(_: str) -> str:
    try:
        return await slow()
    except NodeTimeoutError:
        return "too slow"


seen = asyncio.run(work.ainvoke(""))
expected = "too slow"
