"""Chunks of version 2, and chunks collected by invoke."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt


@task
def double(x: int) -> int:
    return 2 * x


@entrypoint(checkpointer=InMemorySaver())
def asking(x: int) -> list[int]:
    return [double(x).result(), interrupt("more?")]


config = {"configurable": {"thread_id": "1"}}
asking.invoke(1, config)
seen = list(asking.stream(Command(resume=3), config, stream_mode=["updates", "values"], version="v2"))
seen += asking.invoke(1, config, stream_mode="updates")[:1]
seen += asking.invoke(Command(resume=4), config, stream_mode=["updates", "values"])
seen += asking.invoke(1, config, stream_mode=["updates"], version="v2")[:1]
asked = list(asking.stream(2, config, stream_mode="values", version="v2"))[-1]
seen += [asked["type"], asked["ns"], [question.value for question in asked["interrupts"]], not asked["data"]]
expected = [
    {"type": "values", "ns": (), "data": None, "interrupts": ()},
    {"type": "updates", "ns": (), "data": {"asking": [2, 3]}},
    {"type": "values", "ns": (), "data": [2, 3], "interrupts": ()},
    {"double": 2},
    ("values", [2, 3]),
    ("updates", {"asking": [2, 4]}),
    ("values", [2, 4]),
    {"type": "updates", "ns": (), "data": {"double": 2}},
    "values",
    (),
    ["more?"],
    True,
]
