"""What runs after what: edges, routers, commands, sends, and the limit of steps."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durably import InMemorySaver
from durably.checkpoint.base import RunRow
from durably.errors import GraphRecursionError, InvalidUpdateError
from durably.graph import END, START, StateGraph
from durably.types import Command, Send


class Log(TypedDict):
    steps: Annotated[list[Any], operator.add]


def named(name: str) -> Callable[[Any], dict[str, Any]]:
    return lambda state: {"steps": [name]}


def graph_of(*names: str, **actions: Callable[[Any], Any]) -> StateGraph[Log]:
    graph = StateGraph(Log)
    for name in names:
        graph.add_node(name, named(name))
    for name, action in actions.items():
        graph.add_node(name, action)
    return graph


def steps(graph: StateGraph[Log], **config: Any) -> list[Any]:
    found: list[Any] = graph.compile().invoke({"steps": []}, config)["steps"]
    return found


def test_sends_run_side_by_side_in_their_order_behind_the_nodes() -> None:
    graph = graph_of("fan", "other", "after", worker=lambda state: {"steps": [state["i"]]})
    sends = [Send("worker", {"i": i}) for i in (3, 1, 2)]
    graph.add_edge(START, "fan").add_conditional_edges("fan", lambda state: [*sends, "other"])
    graph.add_edge("worker", "after")
    assert steps(graph) == ["fan", "other", 3, 1, 2, "after"]


def test_a_thousand_sends() -> None:
    graph = graph_of(worker=lambda n: {"steps": [n]}).add_conditional_edges(
        START, lambda state: [Send("worker", n) for n in range(1000)]
    )
    assert steps(graph) == list(range(1000))


def test_no_sends_at_all() -> None:
    assert steps(graph_of("a", "b").add_edge(START, "a").add_conditional_edges("a", lambda state: [])) == ["a"]


def test_a_router_sees_the_state_with_what_its_node_wrote_and_not_with_what_others_did() -> None:
    seen = list[Any]()

    def router(state: Log) -> str:
        seen.append(state["steps"])
        return END

    graph = graph_of("a", "b").add_edge(START, "a").add_edge(START, "b").add_conditional_edges("b", router)
    assert steps(graph) == ["a", "b"]
    assert seen == [["b"]]


def test_several_routers_of_one_node() -> None:
    graph = graph_of("a", "b", "c").add_edge(START, "a")
    graph.add_conditional_edges("a", lambda state: "b").add_conditional_edges("a", lambda state: "c")
    assert steps(graph) == ["a", "b", "c"]


def test_a_command_adds_to_the_edges() -> None:
    graph = graph_of("b", "c", a=lambda state: Command(update={"steps": ["a"]}, goto="c"))
    assert steps(graph.add_edge(START, "a").add_edge("a", "b")) == ["a", "b", "c"]


def test_a_list_of_commands_and_updates() -> None:
    def several(state: Log) -> Any:
        return [Command(update={"steps": [1]}), {"steps": [2]}, Command(goto=[Send("b", None), "c"])]

    assert steps(graph_of("b", "c", a=several).add_edge(START, "a")) == [1, 2, "c", "b"]


def test_a_command_to_nowhere_and_to_another_graph() -> None:
    with pytest.raises(InvalidUpdateError, match="node 'a' leads to 'nope'"):
        steps(graph_of(a=lambda state: Command(goto="nope")).add_edge(START, "a"))
    with pytest.raises(InvalidUpdateError, match=r"give Command\.PARENT"):
        steps(graph_of(a=lambda state: Command(graph="other")).add_edge(START, "a"))
    with pytest.raises(InvalidUpdateError, match="node 'a' returned a Command for the graph around"):
        steps(graph_of(a=lambda state: Command(graph=Command.PARENT, goto="x")).add_edge(START, "a"))
    assert steps(graph_of(a=lambda state: Command(goto=END)).add_edge(START, "a")) == []


def test_a_router_must_lead_somewhere() -> None:
    graph = graph_of("a", "b").add_edge(START, "a")
    with pytest.raises(InvalidUpdateError, match="the conditional edge of node 'a' returned None"):
        steps(graph.add_conditional_edges("a", lambda state: None))
    with pytest.raises(InvalidUpdateError, match="returned 'x', which is not in its path_map: 'b'"):
        steps(graph_of("a", "b").add_edge(START, "a").add_conditional_edges("a", lambda state: "x", ["b"]))


def test_an_edge_from_several_nodes_waits_for_all() -> None:
    graph = graph_of("a", "b", "c", "d").add_edge(START, "a").add_edge(START, "b").add_edge("b", "c")
    assert steps(graph.add_edge(["a", "c"], "d")) == ["a", "b", "c", "d"]


def test_it_waits_again_in_the_next_round() -> None:
    graph = graph_of("a", "b", "join").add_edge(START, "a").add_edge(START, "b").add_edge(["a", "b"], "join")
    graph.add_conditional_edges("join", lambda state: ["a", "b"] if len(state["steps"]) < 6 else END, ["a", "b", END])
    assert steps(graph) == ["a", "b", "join"] * 2


def test_a_deferred_node_runs_when_nothing_else_is_left() -> None:
    graph = graph_of("a", "b", "c").add_node("last", named("last"), defer=True)
    graph.add_edge(START, "a").add_edge("a", "b").add_edge("a", "last").add_edge("b", "c").add_edge("c", "last")
    assert steps(graph) == ["a", "b", "c", "last"]


def test_the_limit_of_steps_says_how_to_raise_it() -> None:
    graph = graph_of("a").add_edge(START, "a")
    graph.add_conditional_edges("a", lambda state: "a" if len(state["steps"]) < 5 else END, ["a", END])
    assert steps(graph, recursion_limit=5) == ["a"] * 5
    with pytest.raises(GraphRecursionError, match=r"took 4 steps .* next would be 'a'.*\{\"recursion_limit\": 8\}"):
        steps(graph, recursion_limit=4)


@given(st.dictionaries(st.sampled_from("abcde"), st.sets(st.sampled_from("bcdef")), min_size=1))
def test_any_graph_without_circles_runs_every_node_once_a_level(edges: dict[str, set[str]]) -> None:
    """Edges lead to later letters only; a node runs at each distance from the start at which it can be reached."""
    later = {source: {target for target in targets if target > source} for source, targets in edges.items()}
    levels, level = list[str](), {"a"}
    while level:
        levels += sorted(level)
        level = {target for node in level for target in later.get(node, ())}
    graph = graph_of(*sorted(set(levels))).add_edge(START, "a")
    for source, targets in later.items():
        for target in sorted(targets):
            if source in levels:
                graph.add_edge(source, target)
    assert steps(graph) == levels


def test_a_long_loop_is_stored_in_proportion_to_its_steps() -> None:
    """A step stores what its node wrote, not the state, however long that has become."""

    def stored(rounds: int) -> int:
        saver = InMemorySaver()
        graph = graph_of(a=lambda state: {"steps": ["x" * 20]}).add_edge(START, "a")
        graph.add_conditional_edges("a", lambda state: END if len(state["steps"]) >= rounds else "a", ["a", END])
        graph.compile(saver).invoke({"steps": []}, thread_id="1", durability="sync")
        run = saver.transact([lambda transaction: transaction.open("1").run])[0]
        assert isinstance(run, RunRow)
        [chunks] = saver.transact([lambda transaction: transaction.records(run.no)])
        assert isinstance(chunks, list)
        return sum(map(len, chunks))

    assert stored(200) < 3 * stored(100)
