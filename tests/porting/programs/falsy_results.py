"""None, 0 and an empty string are results: their tasks do not run again."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

calls = []


@task
def give(value):
    calls.append(value)
    return value


@entrypoint(checkpointer=InMemorySaver())
def collect(_: str) -> list:
    given = [give(value).result() for value in (None, 0, "", [], False)]
    interrupt("go on?")
    return given


config = {"configurable": {"thread_id": "1"}}
collect.invoke("", config)
seen = [collect.invoke(Command(resume="yes"), config), calls]
expected = [[None, 0, "", [], False], [None, 0, "", [], False]]
