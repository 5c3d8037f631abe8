"""A plain answer while two questions are open."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt


@task
def confirm(what: str) -> str:
    return f"{what}: {interrupt(f'{what}?')}"


@entrypoint(checkpointer=InMemorySaver())
def both(_: str) -> list:
    futures = [confirm("tea"), confirm("milk")]
    return [future.result() for future in futures]


config = {"configurable": {"thread_id": "1"}}
both.invoke("", config)
try:
    seen = both.invoke(Command(resume="yes"), config)
except Exception as error:
    seen = type(error).__name__
expected = {"langgraph": "RuntimeError", "durably": "AmbiguousAnswerError"}
