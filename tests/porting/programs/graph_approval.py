"""A person between two nodes."""

from typing import Literal

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict


class State(TypedDict):
    draft: str
    decision: str


def write(state: State):
    return {"draft": "the text"}


def human_approval(state: State) -> Command[Literal["approved", "rejected"]]:
    decision = interrupt({"question": "Do you approve?", "draft": state["draft"]})
    return Command(goto="approved" if decision == "approve" else "rejected", update={"decision": decision})


builder = StateGraph(State)
builder.add_node("write", write)
builder.add_node("human_approval", human_approval)
builder.add_node("approved", lambda state: {"draft": state["draft"].upper()})
builder.add_node("rejected", lambda state: {"draft": ""})
builder.set_entry_point("write")
builder.add_edge("write", "human_approval")
builder.add_edge("approved", END)
builder.add_edge("rejected", END)
graph = builder.compile(checkpointer=InMemorySaver())

config = {"configurable": {"thread_id": "1"}}
asked = graph.invoke({}, config)
state = graph.get_state(config)
done = graph.invoke(Command(resume="approve"), config)
seen = [asked["draft"], asked["__interrupt__"][0].value["question"], state.next, state.tasks[0].name, done]
expected = [
    "the text",
    "Do you approve?",
    ("human_approval",),
    "human_approval",
    {"draft": "THE TEXT", "decision": "approve"},
]
