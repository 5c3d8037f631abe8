"""None is an answer."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.types import Command, interrupt


@entrypoint(checkpointer=InMemorySaver())
def ask(_: str) -> list:
    return [interrupt("anything else?")]


config = {"configurable": {"thread_id": "1"}}
ask.invoke("", config)
try:
    seen = ask.invoke(Command(resume=None), config)
except Exception as error:
    seen = type(error).__name__
expected = {"langgraph": "UnboundLocalError", "durably": [None]}
