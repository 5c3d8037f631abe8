"""A task may ask, too; it runs again from its top when it is answered."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

calls = []


@task
def confirm(order: str) -> bool:
    calls.append(order)
    return interrupt(f"send {order}?")


@entrypoint(checkpointer=InMemorySaver())
def send(order: str) -> str:
    return "sent" if confirm(order).result() else "kept"


config = {"configurable": {"thread_id": "1"}}
seen = [
    [question.value for question in send.invoke("tea", config)["__interrupt__"]],
    send.invoke(Command(resume=True), config),
    calls,
]
expected = [["send tea?"], "sent", ["tea", "tea"]]
