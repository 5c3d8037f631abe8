"""Branches and loops take the recorded path again when a run is resumed."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

dice = iter([6, 2, 6, 6, 6, 6])
calls = []


@task
def roll() -> int:
    return next(dice)


@task
def note(text: str) -> str:
    calls.append(text)
    return text


@entrypoint(checkpointer=InMemorySaver())
def game(_: str) -> list:
    thrown = []
    while (number := roll().result()) == 6:
        thrown.append(note(f"again after {number}").result())
    return [*thrown, note(f"end with {number}").result(), interrupt("play on?")]


config = {"configurable": {"thread_id": "1"}}
game.invoke("", config)
seen = [game.invoke(Command(resume="no"), config), calls]
expected = [["again after 6", "end with 2", "no"], ["again after 6", "end with 2"]]
