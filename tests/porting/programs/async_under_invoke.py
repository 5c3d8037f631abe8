"""An async workflow under `invoke`."""

import asyncio

from langgraph.func import entrypoint


@entrypoint()
async def work(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


try:
    seen = work.invoke(1)
except Exception as error:
    seen = type(error).__name__
expected = {"langgraph": "TypeError", "durably": 2}
