"""The history of a graph, and going on from a step of it."""

import operator
from typing import Annotated

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict


class State(TypedDict):
    xs: Annotated[list[str], operator.add]


builder = StateGraph(State)
builder.add_sequence([(name, lambda state, name=name: {"xs": [name]}) for name in "abc"])
builder.add_edge(START, "a")
graph = builder.compile(InMemorySaver())

config = {"configurable": {"thread_id": "1"}}
graph.invoke({"xs": ["i"]}, config)
history = list(graph.get_state_history(config))
seen = [(s.values, s.next, s.metadata["step"], s.metadata["source"]) for s in history]
forked = graph.update_state(history[2].config, {"xs": ["by hand"]}, as_node="a")
seen.append(graph.get_state(forked).next)
seen.append(graph.invoke(None, forked))
seen.append(graph.get_state(config).metadata["step"])
expected = [
    ({"xs": ["i", "a", "b", "c"]}, (), 3, "loop"),
    ({"xs": ["i", "a", "b"]}, ("c",), 2, "loop"),
    ({"xs": ["i", "a"]}, ("b",), 1, "loop"),
    ({"xs": ["i"]}, ("a",), 0, "loop"),
    ({"xs": []}, ("__start__",), -1, "input"),
    ("b",),
    {"xs": ["i", "a", "by hand", "b", "c"]},
    4,
]
