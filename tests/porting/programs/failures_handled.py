"""A failure that the workflow handled is history: on resuming, the same path is taken without the task."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

calls = []


@task
def shaky() -> str:
    calls.append("shaky")
    if len(calls) == 1:
        raise ValueError("a bad day")
    return "a good day"


@entrypoint(checkpointer=InMemorySaver())
def work(_: str) -> list:
    try:
        outcome = shaky().result()
    except ValueError as error:
        outcome = f"handled {error}"
    return [outcome, interrupt("ok?")]


config = {"configurable": {"thread_id": "1"}}
work.invoke("", config)
seen = [work.invoke(Command(resume="yes"), config), calls]
expected = {
    "langgraph": [["a good day", "yes"], ["shaky", "shaky"]],
    "durably": [["handled a bad day", "yes"], ["shaky"]],
}
