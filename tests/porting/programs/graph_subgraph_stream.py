"""What is heard of a graph in a graph."""

import operator
from typing import Annotated

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict


class State(TypedDict):
    xs: Annotated[list[str], operator.add]


inner = StateGraph(State).add_node("deep", lambda state: {"xs": ["deep"]}).add_edge(START, "deep").compile()
outer = StateGraph(State)
outer.add_node("first", lambda state: {"xs": ["first"]})
outer.add_node("inner", inner)
outer.add_edge(START, "first")
outer.add_edge("first", "inner")
graph = outer.compile()

seen = [
    ([part.split(":")[0] for part in namespace], mode, chunk)
    for namespace, mode, chunk in graph.stream({"xs": []}, stream_mode=["updates", "values"], subgraphs=True)
]
expected = [
    ([], "values", {"xs": []}),
    ([], "updates", {"first": {"xs": ["first"]}}),
    ([], "values", {"xs": ["first"]}),
    (["inner"], "values", {"xs": ["first"]}),
    (["inner"], "updates", {"deep": {"xs": ["deep"]}}),
    (["inner"], "values", {"xs": ["first", "deep"]}),
    ([], "updates", {"inner": {"xs": ["first", "deep"]}}),
    ([], "values", {"xs": ["first", "first", "deep"]}),
]
