"""The durability of one invocation."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task


@task
def double(x: int) -> int:
    return 2 * x


@entrypoint(checkpointer=InMemorySaver())
def work(x: int) -> int:
    return double(x).result()


seen = [
    work.invoke(number, {"configurable": {"thread_id": mode}}, durability=mode)
    for number, mode in enumerate(("sync", "async", "exit"))
]
expected = [0, 2, 4]
