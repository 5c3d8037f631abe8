"""Tasks of the Functional API in nodes, and graphs in an entrypoint."""

import operator
from typing import Annotated

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

calls = []


class State(TypedDict):
    xs: Annotated[list, operator.add]


@task
def fetch(n):
    calls.append(n)
    return n * n


def node(state: State):
    return {"xs": [*(f.result() for f in [fetch(2), fetch(3)]), interrupt("ok?")]}


graph = StateGraph(State).add_node(node).add_edge(START, "node").compile(InMemorySaver())
config = {"configurable": {"thread_id": "1"}}
graph.invoke({"xs": []}, config)
first = graph.invoke(Command(resume="yes"), config)

inner = StateGraph(State).add_node("one", lambda state: {"xs": [1]}).add_edge(START, "one").compile()


@entrypoint(checkpointer=InMemorySaver())
def flow(xs):
    return inner.invoke({"xs": xs})


seen = [first, sorted(calls), flow.invoke([0], {"configurable": {"thread_id": "2"}})]
expected = [{"xs": [4, 9, "yes"]}, [2, 3], {"xs": [0, 1]}]
