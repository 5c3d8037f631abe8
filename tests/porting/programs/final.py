"""`entrypoint.final` returns one value and saves another."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint


@entrypoint(checkpointer=InMemorySaver())
def number(x: int, *, previous: int | None = None) -> entrypoint.final[int, int]:
    return entrypoint.final(value=previous or 0, save=2 * x)


config = {"configurable": {"thread_id": "1"}}
seen = [number.invoke(3, config), number.invoke(1, config), number.invoke(0, config)]
expected = [0, 6, 2]
