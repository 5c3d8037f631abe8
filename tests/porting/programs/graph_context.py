"""What nodes get beside the state."""

import asyncio
from dataclasses import dataclass

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from typing_extensions import TypedDict


@dataclass
class Context:
    user: str


class State(TypedDict):
    text: str


def remember(state: State, runtime: Runtime[Context], *, store: BaseStore):
    store.put(("users", runtime.context.user), "last", {"text": state["text"]})
    runtime.stream_writer("stored")


async def greet(state: State, config: RunnableConfig, runtime: Runtime[Context]):
    item = await runtime.store.aget(("users", runtime.context.user), "last")
    return {"text": f"{item.value['text']}, {config['metadata']['title']} {runtime.context.user}"}


builder = StateGraph(State, context_schema=Context)
builder.add_node(remember)
builder.add_node(greet)
builder.add_edge(START, "remember")
builder.add_edge("remember", "greet")
graph = builder.compile(store=InMemoryStore())


async def main():
    return [
        chunk
        async for chunk in graph.astream(
            {"text": "Hello"}, {"metadata": {"title": "Ms"}}, context=Context("Ada"), stream_mode=["custom", "updates"]
        )
    ]


seen = asyncio.run(main())
expected = [
    ("custom", "stored"),
    ("updates", {"remember": None}),
    ("updates", {"greet": {"text": "Hello, Ms Ada"}}),
]
