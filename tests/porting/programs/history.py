"""The history of a thread, newest first."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint


@entrypoint(checkpointer=InMemorySaver())
def total(amount: int, *, previous: int | None = None) -> int:
    return (previous or 0) + amount


config = {"configurable": {"thread_id": "1"}}
for amount in (1, 2):
    total.invoke(amount, config)
seen = [snapshot.values for snapshot in total.get_state_history(config) if not snapshot.next]
expected = [3, 1]
