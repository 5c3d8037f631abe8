"""`version="v2"`: the value and the questions apart."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.types import Command, interrupt


@entrypoint(checkpointer=InMemorySaver())
def ask(topic: str) -> str:
    return f"{topic}: {interrupt('sure?')}"


config = {"configurable": {"thread_id": "1"}}
asked = ask.invoke("bees", config, version="v2")
answered = ask.invoke(Command(resume="yes"), config, version="v2")
seen = [[question.value for question in asked.interrupts], answered.value, list(answered.interrupts)]
expected = [["sure?"], "bees: yes", []]
