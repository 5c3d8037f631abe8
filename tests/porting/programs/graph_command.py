"""Nodes that say where to go, also out of a graph in a graph."""

import operator
from typing import Annotated, Literal

from langgraph.graph import START, StateGraph
from langgraph.types import Command
from typing_extensions import TypedDict


class State(TypedDict):
    foo: Annotated[str, operator.add]


def node_a(state: State) -> Command[Literal["node_b", "node_c"]]:
    return Command(update={"foo": "a"}, goto="node_c" if state["foo"] else "node_b", graph=Command.PARENT)


def node_b(state: State):
    return {"foo": "b"}


def node_c(state: State):
    return {"foo": "c"}


subgraph = StateGraph(State).add_node("node_a", node_a, destinations=()).add_edge(START, "node_a").compile()

builder = StateGraph(State)
builder.add_edge(START, "subgraph")
builder.add_node("subgraph", subgraph, destinations=("node_b", "node_c"))
builder.add_node(node_b)
builder.add_node(node_c)
graph = builder.compile()

seen = [graph.invoke({"foo": ""}), graph.invoke({"foo": "x"})]
expected = [{"foo": "ab"}, {"foo": "xac"}]
