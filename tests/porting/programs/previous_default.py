"""The default of `previous`, on a thread's first run."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint


@entrypoint(checkpointer=InMemorySaver())
def total(amount: int, *, previous: int = 100) -> int | None:
    return previous


seen = total.invoke(1, {"configurable": {"thread_id": "1"}})
expected = {"langgraph": None, "durably": 100}
