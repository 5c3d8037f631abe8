"""An async workflow awaits async tasks, alone and with gather."""

import asyncio

from langgraph.func import entrypoint, task


@task
async def shout(word: str) -> str:
    await asyncio.sleep(0)
    return word.upper()


@entrypoint()
async def speak(words: list) -> list:
    first = await shout(words[0])
    rest = await asyncio.gather(*[shout(word) for word in words[1:]])
    return [first, *rest]


seen = asyncio.run(speak.ainvoke(["a", "b", "c"]))
expected = ["A", "B", "C"]
