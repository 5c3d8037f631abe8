"""Two tasks ask, but the second is only called after the first's result: the questions come one by one."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt


@task
def confirm(what: str) -> str:
    return f"{what}: {interrupt(f'{what}?')}"


@entrypoint(checkpointer=InMemorySaver())
def both(_: str) -> list:
    return [confirm("tea").result(), confirm("milk").result()]


config = {"configurable": {"thread_id": "1"}}
seen = [
    [question.value for question in both.invoke("", config)["__interrupt__"]],
    [question.value for question in both.invoke(Command(resume="yes"), config)["__interrupt__"]],
    both.invoke(Command(resume="no"), config),
]
expected = [["tea?"], ["milk?"], ["tea: yes", "milk: no"]]
