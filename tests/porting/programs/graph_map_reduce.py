"""Map and reduce with Send."""

import operator
from typing import Annotated

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from typing_extensions import TypedDict


class Overall(TypedDict):
    subjects: list[str]
    jokes: Annotated[list[str], operator.add]
    best: str


class One(TypedDict):
    subject: str


def generate_topics(state: Overall):
    return {"subjects": ["lions", "elephants", "penguins"]}


def joke(state: One):
    return {"jokes": [f"about {state['subject']}"]}


def continue_to_jokes(state: Overall):
    return [Send("joke", {"subject": s}) for s in state["subjects"]]


builder = StateGraph(Overall)
builder.add_node(generate_topics)
builder.add_node(joke)
builder.add_node("best", lambda state: {"best": max(state["jokes"], key=len)})
builder.add_edge(START, "generate_topics")
builder.add_conditional_edges("generate_topics", continue_to_jokes, ["joke"])
builder.add_edge("joke", "best")
builder.add_edge("best", END)
app = builder.compile()

first, *jokes, last = app.stream({})
seen = [first, *sorted(jokes, key=lambda chunk: chunk["joke"]["jokes"]), last]  # nodes side by side end in any order
expected = [
    {"generate_topics": {"subjects": ["lions", "elephants", "penguins"]}},
    {"joke": {"jokes": ["about elephants"]}},
    {"joke": {"jokes": ["about lions"]}},
    {"joke": {"jokes": ["about penguins"]}},
    {"best": {"best": "about elephants"}},
]
