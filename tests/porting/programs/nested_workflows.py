"""A workflow calls another; a question in the inner one comes out of the outer one."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

calls = []


@task
def prepare(x: int) -> int:
    calls.append(x)
    return x + 1


@entrypoint()
def inner(x: int) -> int:
    return prepare(x).result() * interrupt("times?")


@entrypoint(checkpointer=InMemorySaver())
def outer(x: int) -> int:
    return inner.invoke(x) + 100


config = {"configurable": {"thread_id": "1"}}
asked = outer.invoke(1, config)
seen = [[question.value for question in asked["__interrupt__"]], outer.invoke(Command(resume=5), config), calls]
expected = [["times?"], 110, [1]]
