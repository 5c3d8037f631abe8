"""What a run returned is `previous` for the next run on the thread, and only there."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint


@entrypoint(checkpointer=InMemorySaver())
def total(amount: int, *, previous: int | None = None) -> int:
    return (previous or 0) + amount


one = {"configurable": {"thread_id": "1"}}
two = {"configurable": {"thread_id": "2"}}
seen = [total.invoke(1, one), total.invoke(2, one), total.invoke(10, two), total.invoke(3, one)]
expected = [1, 3, 10, 6]
