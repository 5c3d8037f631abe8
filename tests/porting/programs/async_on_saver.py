"""An async workflow with a checkpointer asks, and is answered."""

import asyncio

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

calls = []


@task
async def draft(topic: str) -> str:
    calls.append(topic)
    return f"about {topic}"


@entrypoint(checkpointer=InMemorySaver())
async def write(topic: str) -> str:
    text = await draft(topic)
    return f"{text}: {interrupt({'draft': text})}"


async def main() -> list:
    config = {"configurable": {"thread_id": "1"}}
    asked = await write.ainvoke("bees", config)
    answered = await write.ainvoke(Command(resume="fine"), config)
    return [asked["__interrupt__"][0].value, answered, calls]


seen = asyncio.run(main())
expected = [{"draft": "about bees"}, "about bees: fine", ["bees"]]
