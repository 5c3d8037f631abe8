"""Graphs under construction: what can be added, and what is refused before anything runs."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict

import pytest

from durably import InMemorySaver, RetryPolicy, Workflow, entrypoint, task
from durably.errors import DeclarationError, InvalidUpdateError
from durably.graph import END, START, StateGraph
from durably.types import CachePolicy, Command, Send


class Log(TypedDict):
    steps: Annotated[list[Any], operator.add]


def named(name: str) -> Callable[[Log], dict[str, Any]]:
    return lambda state: {"steps": [name]}


def graph_of(*names: str) -> StateGraph[Log]:
    graph = StateGraph(Log)
    for name in names:
        graph.add_node(name, named(name))
    return graph


def a_step(state: Log) -> dict[str, Any]:
    return {"steps": ["a_step"]}


class Callable_:
    def __call__(self, state: Log) -> dict[str, Any]:
        return {"steps": ["object"]}

    async def method(self, state: Log) -> dict[str, Any]:
        return {"steps": ["method"]}


class Runnable:
    """As LangChain's: not called but invoked."""

    def invoke(self, state: Log, config: dict[str, Any]) -> dict[str, Any]:
        return {"steps": sorted(config["tags"])}


@task
def work(state: Log) -> dict[str, Any]:
    return {"steps": ["task"]}


@entrypoint()
async def flow(state: Log) -> dict[str, Any]:
    return {"steps": ["workflow"]}


@pytest.mark.parametrize(
    ("action", "steps"),
    [
        (a_step, ["a_step"]),
        (Callable_(), ["object"]),
        (Callable_().method, ["method"]),
        (Runnable(), ["x", "y"]),
        (work, ["task"]),
        (flow, ["workflow"]),
        (graph_of("inner").add_edge(START, "inner").compile(), ["inner"]),
    ],
)
def test_what_can_be_a_node(action: Any, steps: list[str]) -> None:
    graph = StateGraph(Log).add_node("node", action).add_edge(START, "node").compile()
    assert graph.invoke({"steps": []}, {"tags": ["y", "x"]}) == {"steps": steps}


def test_a_node_is_named_after_its_function() -> None:
    graph = StateGraph(Log).add_node(a_step).add_node(work).add_node(flow)
    assert list(graph.nodes) == ["a_step", "work", "flow"]


def test_a_compiled_graph_is_a_workflow() -> None:
    graph = graph_of("a").add_edge(START, "a").compile(name="letters")
    assert isinstance(graph, Workflow)
    assert (graph.name, repr(graph), graph.is_async) == ("letters", "<Graph 'letters'>", False)
    assert list(graph.get_input_jsonschema()["$defs"]["Log"]["properties"]) == ["steps"]


def test_sequence_and_points() -> None:
    graph = StateGraph(Log).add_sequence([a_step, ("b", named("b")), ("c", named("c"))])
    graph.set_entry_point("a_step").set_finish_point("c")
    assert graph.compile().invoke({"steps": []}) == {"steps": ["a_step", "b", "c"]}


def test_conditional_entry_point() -> None:
    graph = graph_of("a", "b").set_conditional_entry_point(
        lambda state: len(state["steps"]) > 1, {True: "a", False: "b"}
    )
    compiled = graph.compile()
    assert compiled.invoke({"steps": [1]}) == {"steps": [1, "b"]}
    assert compiled.invoke({"steps": [1, 2]}) == {"steps": [1, 2, "a"]}


def to_nowhere() -> StateGraph[Log]:
    return graph_of("a").add_edge(START, "a").add_edge("a", "nope")


def from_nowhere() -> StateGraph[Log]:
    return graph_of("a").add_edge(START, "a").add_edge("nope", "a")


def routed_nowhere() -> StateGraph[Log]:
    return graph_of("a").add_edge(START, "a").add_conditional_edges("a", lambda state: "a", ["a", "nope"])


def router_of_nobody() -> StateGraph[Log]:
    return graph_of("a").add_edge(START, "a").add_conditional_edges("nope", lambda state: "a")


def jumps_nowhere() -> StateGraph[Log]:
    return StateGraph(Log).add_node("a", named("a"), destinations=["nope"]).add_edge(START, "a")


def waits_for_nobody() -> StateGraph[Log]:
    return graph_of("a", "b").add_edge(START, "a").add_edge(["a", "nope"], "b")


def without_beginning() -> StateGraph[Log]:
    return graph_of("a").add_edge("a", END)


def unreachable() -> StateGraph[Log]:
    return graph_of("a", "nope").add_edge(START, "a").add_edge("nope", "a")


def endless() -> StateGraph[Log]:
    return graph_of("a", "nope").add_edge(START, "a").add_edge("a", "nope").add_edge("nope", "nope")


def routed_for_ever() -> StateGraph[Log]:
    return graph_of("nope").add_edge(START, "nope").add_conditional_edges("nope", lambda state: "nope", ["nope"])


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (to_nowhere, "'nope', which is no node"),
        (from_nowhere, "'nope', which is no node"),
        (routed_nowhere, "'a' names 'nope'"),
        (jumps_nowhere, "'a' names 'nope'"),
        (waits_for_nobody, "names 'nope'"),
        (without_beginning, "nothing follows START"),
        (unreachable, "nothing leads to node 'nope'"),
        (endless, "no way leads to the end from 'a', 'nope'"),
        (routed_for_ever, "no way leads to the end from 'nope'"),
    ],
)
def test_what_cannot_be_compiled(build: Callable[[], StateGraph[Log]], complaint: str) -> None:
    with pytest.raises(DeclarationError, match=complaint):
        build().compile()


def test_a_conditional_edge_of_no_node_is_refused() -> None:
    with pytest.raises(DeclarationError, match="'nope', which is no node"):
        router_of_nobody().compile()


def jump(state: Log) -> Command[Any]:
    return Command(goto="b")


def jump_to_b(state: Log) -> Command[Literal["b"]]:
    return Command(goto="b")


@task
def jumping_task(state: Log) -> Any:
    return Command(goto="b")


def next_one(state: Log) -> Literal["b", "__end__"]:
    return "b"


@pytest.mark.parametrize(
    "build",
    [
        lambda: graph_of("b").add_node("a", jump).add_edge(START, "a"),
        lambda: graph_of("b").add_node("a", jump_to_b).add_edge(START, "a"),
        lambda: graph_of("b").add_node("a", jumping_task).add_edge(START, "a"),
        lambda: graph_of("b").add_node("a", lambda state: Command(goto="b")).add_edge(START, "a"),
        lambda: graph_of("b").add_node("a", named("a"), destinations=["b"]).add_edge(START, "a"),
        lambda: graph_of("a", "b").add_edge(START, "a").add_conditional_edges("a", lambda state: "b"),
        lambda: graph_of("a", "b").add_edge(START, "a").add_conditional_edges("a", next_one),
        lambda: graph_of("a", "b").add_edge(START, "a").add_conditional_edges("a", lambda state: [Send("b", state)]),
    ],
)
def test_what_may_lead_to_a_node_counts(build: Callable[[], StateGraph[Log]]) -> None:
    assert build().compile() is not None


def test_a_return_annotation_says_where_a_node_leads() -> None:
    with pytest.raises(DeclarationError, match="nothing leads to node 'c'"):
        graph_of("b", "c").add_node("a", jump_to_b).add_edge(START, "a").compile()


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: graph_of("a", "a"), "there is a node 'a' already"),
        (lambda: graph_of(END), "cannot be named"),
        (lambda: StateGraph(Log).add_node("a"), "has no function"),
        (lambda: StateGraph(Log).add_node("a", 5), "give a function"),
        (lambda: StateGraph(Log).add_node("a", lambda: None), "takes no input"),
        (lambda: StateGraph(Log).add_node("a", lambda state, other: None), "needs other"),
        (lambda: StateGraph(Log).add_edge(END, "a"), "nothing follows END"),
        (lambda: StateGraph(Log).add_edge("a", START), "leads to START"),
        (lambda: StateGraph(Log).add_edge([START, "a"], "b"), "leave it out"),
        (lambda: StateGraph(Log).add_sequence([]), "no nodes"),
        (lambda: StateGraph(int), "cannot be a state"),
        (lambda: graph_of("a").add_edge(START, "a").compile(interrupt_before=["b"]), "'b', which is no node"),
        (lambda: graph_of("a").add_edge(START, "a").compile(checkpointer="x"), "no checkpointer"),  # type: ignore[arg-type]
        (
            lambda: StateGraph(Log).add_node("a", a_step, timeout=1).add_edge(START, "a").compile(),
            "cannot have a timeout",
        ),
    ],
)
def test_what_cannot_be_added(build: Callable[[], Any], complaint: str) -> None:
    with pytest.raises(DeclarationError, match=complaint):
        build()


def test_two_reducers_for_one_key_are_refused() -> None:
    class Other(TypedDict):
        steps: Annotated[list[Any], lambda left, right: right]

    with pytest.raises(DeclarationError, match="'steps' of Other has another reducer"):
        StateGraph(Log, input_schema=Other)


def test_policies_of_nodes() -> None:
    attempts = list[int]()

    def shaky(state: Log) -> dict[str, Any]:
        attempts.append(1)
        if len(attempts) < 3:
            raise ConnectionError
        return {"steps": ["done"]}

    retry = RetryPolicy(initial_interval=0.001, max_attempts=3)
    graph = (
        StateGraph(Log)
        .add_node("shaky", shaky, retry_policy=retry, metadata={"kind": "network"})
        .add_edge(START, "shaky")
    )
    assert graph.compile().invoke({"steps": []}) == {"steps": ["done"]}


def test_results_of_nodes_are_cached_by_what_they_are_given() -> None:
    from durably.cache.memory import InMemoryCache

    calls = list[Any]()

    def slow(state: Log) -> dict[str, Any]:
        calls.append(state)
        return {"steps": [len(state["steps"])]}

    build = StateGraph(Log).add_node("slow", slow, cache_policy=CachePolicy(ttl=60)).add_edge(START, "slow")
    graph = build.compile(cache=InMemoryCache())
    assert [graph.invoke({"steps": given}) for given in ([], [], [7])] == [
        {"steps": [0]},
        {"steps": [0]},
        {"steps": [7, 1]},
    ]
    assert calls == [{"steps": []}, {"steps": [7]}]
    by_length = StateGraph(Log).add_node(
        "slow", slow, cache_policy=CachePolicy(key_func=lambda state: f"{len(state['steps'])}")
    )
    graph = by_length.add_edge(START, "slow").compile(cache=InMemoryCache())
    assert graph.invoke({"steps": [1]}) == {"steps": [1, 1]}
    assert graph.invoke({"steps": [2]}) == {"steps": [2, 1]}
    assert len(calls) == 3


def test_a_compiled_graph_does_not_change_with_its_builder() -> None:
    builder = graph_of("a").add_edge(START, "a")
    compiled = builder.compile()
    builder.add_node("b", named("b")).add_edge("a", "b")
    assert compiled.invoke({"steps": []}) == {"steps": ["a"]}
    assert builder.compile().invoke({"steps": []}) == {"steps": ["a", "b"]}


def test_what_is_sent_nowhere_is_refused_when_it_happens() -> None:
    graph = graph_of("a").add_edge(START, "a").add_conditional_edges("a", lambda state: "nope").compile(InMemorySaver())
    with pytest.raises(InvalidUpdateError, match="node 'a' leads to 'nope', and the nodes are a"):
        graph.invoke({"steps": []}, thread_id="1")
