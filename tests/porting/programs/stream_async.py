"""`astream`, with a writer in an async task."""

import asyncio

from langgraph.func import entrypoint, task
from langgraph.types import StreamWriter


@task
async def count(n: int, *, writer: StreamWriter) -> int:
    for number in range(n):
        writer(number)
        await asyncio.sleep(0)
    return n


@entrypoint()
async def counting(n: int) -> int:
    return await count(n)


async def main() -> list:
    return [chunk async for chunk in counting.astream(2, stream_mode=["custom", "updates"])]


seen = asyncio.run(main())
expected = [("custom", 0), ("custom", 1), ("updates", {"count": 2}), ("updates", {"counting": 2})]
