"""What a task's result is when the run is resumed."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt


@task
def measure() -> dict:
    return {"pair": (1, 2), "tags": {"a"}, "nested": [(3, 4)]}


@entrypoint(checkpointer=InMemorySaver())
def work(_: str) -> dict:
    found = measure().result()
    interrupt("go on?")
    return found


config = {"configurable": {"thread_id": "1"}}
work.invoke("", config)
seen = work.invoke(Command(resume="yes"), config)
expected = {
    "langgraph": {"pair": [1, 2], "tags": {"a"}, "nested": [[3, 4]]},
    "durably": {"pair": (1, 2), "tags": {"a"}, "nested": [(3, 4)]},
}
