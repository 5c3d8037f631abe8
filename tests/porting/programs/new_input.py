"""A new input while a question is open starts again."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.types import Command, interrupt


@entrypoint(checkpointer=InMemorySaver())
def ask(topic: str) -> str:
    return f"{topic}: {interrupt(f'about {topic}?')}"


config = {"configurable": {"thread_id": "1"}}
ask.invoke("bees", config)
again = ask.invoke("wasps", config)
seen = [again["__interrupt__"][0].value, ask.invoke(Command(resume="yes"), config)]
expected = ["about wasps?", "wasps: yes"]
