"""Conditional edges, with and without a map."""

import operator
from typing import Annotated, Literal

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict


class State(TypedDict):
    n: int
    path: Annotated[list[str], operator.add]


def halve(state: State):
    return {"n": state["n"] // 2, "path": ["halve"]}


def triple(state: State):
    return {"n": 3 * state["n"] + 1, "path": ["triple"]}


def next_step(state: State) -> Literal["halve", "triple", "__end__"]:
    if state["n"] == 1:
        return END
    return "triple" if state["n"] % 2 else "halve"


builder = StateGraph(State)
builder.add_node("halve", halve)
builder.add_node("triple", triple)
builder.add_conditional_edges(START, lambda state: state["n"] % 2 == 1, {True: "triple", False: "halve"})
builder.add_conditional_edges("halve", next_step)
builder.add_conditional_edges("triple", next_step)
graph = builder.compile()

seen = graph.invoke({"n": 6, "path": []})
expected = {
    "n": 1,
    "path": ["halve", "triple", "halve", "triple", "halve", "halve", "halve", "halve"],
}
