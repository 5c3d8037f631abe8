"""A router that leads to a node which is not there, and a node that nothing leads to."""

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict


class State(TypedDict):
    text: str


builder = StateGraph(State).add_node("a", lambda state: None).add_edge(START, "a")
builder.add_conditional_edges("a", lambda state: "nope")
seen = []
try:
    seen.append(builder.compile().invoke({"text": "x"}))
except Exception as error:
    seen.append(type(error).__name__)

lonely = StateGraph(State).add_node("a", lambda state: None).add_node("b", lambda state: None).add_edge(START, "a")
try:
    lonely.compile()
    seen.append("compiled")
except ValueError as error:
    seen.append(type(error).__name__)
expected = {
    "langgraph": [{"text": "x"}, "compiled"],
    "durably": ["InvalidUpdateError", "DeclarationError"],
}
