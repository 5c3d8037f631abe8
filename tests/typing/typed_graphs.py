"""What the type checkers say about graphs. Read by mypy and pyright; never run."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict, assert_type

from durably import Runtime, Workflow
from durably.checkpoint.memory import InMemorySaver
from durably.graph import END, START, CompiledStateGraph, StateGraph
from durably.types import Command, GraphOutput, Overwrite, RetryPolicy, Send


class State(TypedDict):
    items: Annotated[list[str], operator.add]


@dataclass
class Context:
    user: str


def add(state: State) -> dict[str, Any]:
    return {"items": [state["items"][-1]]}


async def jump(state: State, runtime: Runtime[Context]) -> Command[Literal["add", "__end__"]]:
    return Command(update={"items": [runtime.context.user]}, goto="add")


def fan(state: State) -> list[Send]:
    return [Send("add", {"items": [item]}) for item in state["items"]]


builder = StateGraph(State, Context)
assert_type(builder, StateGraph[State])
assert_type(builder.add_node(add).add_node("jump", jump, retry_policy=RetryPolicy()), StateGraph[State])
builder.add_edge(START, "jump").add_conditional_edges("jump", fan, ["add"]).add_edge("add", END)

graph = builder.compile(InMemorySaver(), interrupt_before=["add"])
assert_type(graph, CompiledStateGraph[State])
workflow: Workflow[Any, dict[str, Any]] = graph
assert_type(graph.invoke({"items": []}), dict[str, Any])
assert_type(graph.invoke({"items": []}, version="v2"), GraphOutput[dict[str, Any]])
nested = StateGraph(State).add_node("inner", graph)
overwritten: dict[str, Any] = {"items": Overwrite([])}
bare: Command = Command(goto=["add", Send("add", None)])
