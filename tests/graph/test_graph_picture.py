"""Graphs drawn before they run."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from durably.graph import END, START, StateGraph
from durably.graph.picture import Edge
from durably.types import Command


class State(TypedDict):
    text: str


def same(state: State) -> None:
    return None


def jump(state: State) -> Command[Literal["c", "__end__"]]:
    return Command(goto="c")


def graph() -> StateGraph[Any]:
    builder = StateGraph(State).add_node("a", same).add_node("b", same).add_node("c", same).add_node(jump)
    builder.add_edge(START, "a").add_edge(START, "b").add_edge(["a", "b"], "jump").add_edge("c", END)
    return builder.add_conditional_edges("b", lambda state: "yes", {"yes": "c", "no": END})


def test_edges() -> None:
    picture = graph().compile().get_graph()
    assert list(picture.nodes) == [START, "a", "b", "c", "jump", END]
    assert set(picture.edges) == {
        Edge(START, "a"),
        Edge(START, "b"),
        Edge("a", "jump"),
        Edge("b", "jump"),
        Edge("b", "c", "yes", conditional=True),
        Edge("b", END, "no", conditional=True),
        Edge("c", END),
        Edge("jump", "c", None, conditional=True),
        Edge("jump", END, None, conditional=True),
    }


def test_a_router_without_a_map_may_lead_anywhere() -> None:
    builder = StateGraph(State).add_node("a", same).add_node("b", same).add_edge(START, "a")
    edges = builder.add_conditional_edges("a", lambda state: "b").compile().get_graph().edges
    assert {edge.target for edge in edges if edge.source == "a"} == {"a", "b", END}
    assert Edge("b", END) in edges


def test_mermaid() -> None:
    inner = StateGraph(State).add_node('ask "them"', same).add_edge(START, 'ask "them"').compile()
    outer = StateGraph(State).add_node("inner", inner).add_edge(START, "inner").compile()
    assert outer.get_graph().draw_mermaid().splitlines() == [
        "flowchart TD",
        '    n0(["start"]):::terminal',
        '    n1["inner"]',
        '    n2(["end"]):::terminal',
        "    n0 --> n1",
        "    n1 --> n2",
        "    classDef terminal fill:none,stroke-dasharray:3",
    ]
    deep = outer.get_graph(xray=True).draw_mermaid()
    assert 'subgraph n1["inner"]' in deep
    assert 'n1_1["ask #34;them#34;"]' in deep
    assert "n1_0 --> n1_1" in deep
    assert [name for name, _ in outer.get_subgraphs()] == ["inner"]
    assert 'n2 -.->|"no"| n5' in graph().compile().get_graph().draw_mermaid()
