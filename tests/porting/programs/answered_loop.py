"""Several questions in one body are answered one after the other, with other tasks in between."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

calls = []


@task
def write(topic: str, wish: str) -> str:
    calls.append(wish)
    return f"{topic}, {wish}"


@entrypoint(checkpointer=InMemorySaver())
def revise(topic: str) -> str:
    text = write(topic, "first").result()
    while (wish := interrupt(text)) != "fine":
        text = write(topic, wish).result()
    return text


config = {"configurable": {"thread_id": "1"}}
seen = [
    revise.invoke("bees", config)["__interrupt__"][0].value,
    revise.invoke(Command(resume="shorter"), config)["__interrupt__"][0].value,
    revise.invoke(Command(resume="funnier"), config)["__interrupt__"][0].value,
    revise.invoke(Command(resume="fine"), config),
    calls,
]
expected = ["bees, first", "bees, shorter", "bees, funnier", "bees, funnier", ["first", "shorter", "funnier"]]
