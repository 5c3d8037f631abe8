"""Stop before a node, change the state, go on."""

from langgraph.checkpoint.memory import MemorySaver
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict


class State(TypedDict):
    input: str


def step_1(state):
    return {"input": state["input"] + " 1"}


def step_2(state):
    return {"input": state["input"] + " 2"}


builder = StateGraph(State)
builder.add_node("step_1", step_1)
builder.add_node("step_2", step_2)
builder.add_edge(START, "step_1")
builder.add_edge("step_1", "step_2")
builder.add_edge("step_2", END)
graph = builder.compile(checkpointer=MemorySaver(), interrupt_before=["step_2"])

thread = {"configurable": {"thread_id": "1"}}
seen = list(graph.stream({"input": "hello"}, thread, stream_mode="values"))
seen.append(graph.get_state(thread).next)
graph.update_state(thread, {"input": "goodbye"})
seen.append(graph.get_state(thread).values)
seen += list(graph.stream(None, thread, stream_mode="values"))
expected = [
    {"input": "hello"},
    {"input": "hello 1"},
    ("step_2",),
    {"input": "goodbye"},
    {"input": "goodbye"},
    {"input": "goodbye 2"},
]
