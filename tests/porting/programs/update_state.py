"""`previous` is changed from outside."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint


@entrypoint(checkpointer=InMemorySaver())
def total(amount: int, *, previous: int | None = None) -> int:
    return (previous or 0) + amount


config = {"configurable": {"thread_id": "1"}}
total.invoke(1, config)
total.update_state(config, 10)
seen = [total.get_state(config).values, total.invoke(2, config)]
expected = [10, 12]
