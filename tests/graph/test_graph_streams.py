"""What is heard of a graph while it runs."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest

from durably import InMemorySaver, Interrupt, interrupt
from durably.cache.memory import InMemoryCache
from durably.errors import ConfigError
from durably.graph import START, StateGraph
from durably.types import CachePolicy, Command, Send


class Log(TypedDict):
    steps: Annotated[list[Any], operator.add]


def fan(state: Log) -> Any:
    return Command(update={"steps": ["fan"]}, goto=[Send("square", 2), Send("square", 3)])


async def square(n: int) -> dict[str, Any]:
    return {"steps": [n * n]}


def ask(state: Log) -> dict[str, Any]:
    return {"steps": [interrupt("ok?")]}


def silent(state: Log) -> None:
    return None


def fanning() -> StateGraph[Log]:
    graph = StateGraph(Log).add_node(fan).add_node(square).add_node(ask).add_node(silent)
    return graph.add_edge(START, "fan").add_edge("square", "ask").add_edge("ask", "silent")


@pytest.mark.once("counts chunks")
def test_updates_and_values() -> None:
    graph = fanning().compile(InMemorySaver())
    chunks = list(graph.stream({"steps": []}, thread_id="1", stream_mode=["values", "updates"]))
    [question] = chunks[-1][1]["__interrupt__"]
    assert isinstance(question, Interrupt)
    assert chunks == [
        ("values", {"steps": []}),
        ("updates", {"fan": {"steps": ["fan"]}}),
        ("values", {"steps": ["fan"]}),
        ("updates", {"square": {"steps": [4]}}),
        ("updates", {"square": {"steps": [9]}}),
        ("values", {"steps": ["fan", 4, 9]}),
        ("updates", {"__interrupt__": (question,)}),
        ("values", {"steps": ["fan", 4, 9], "__interrupt__": (question,)}),
    ]
    again = graph.stream(Command(resume="yes"), thread_id="1", stream_mode=["values", "updates"])
    assert list(again) == [
        ("values", {"steps": ["fan", 4, 9]}),
        ("updates", {"ask": {"steps": ["yes"]}}),
        ("values", {"steps": ["fan", 4, 9, "yes"]}),
        ("updates", {"silent": None}),
        ("values", {"steps": ["fan", 4, 9, "yes"]}),
    ]


def test_the_same_for_async_for() -> None:
    async def main() -> list[Any]:
        graph = StateGraph(Log).add_node("square", lambda state: {"steps": [4]}).add_edge(START, "square").compile()
        return [chunk async for chunk in graph.astream({"steps": []})]

    assert asyncio.run(main()) == [{"square": {"steps": [4]}}]


def test_what_is_asked_comes_with_the_state_so_far() -> None:
    graph = fanning().compile(InMemorySaver())
    asked = graph.invoke({"steps": []}, thread_id="1")
    assert (asked["steps"], [question.value for question in asked["__interrupt__"]]) == (["fan", 4, 9], ["ok?"])
    output = graph.invoke({"steps": []}, thread_id="2", version="v2")
    assert (output.value, output.interrupts[0].value) == ({"steps": ["fan", 4, 9]}, "ok?")


def test_routers_of_the_start_are_not_heard() -> None:
    graph = StateGraph(Log).add_node(square).add_conditional_edges(START, lambda state: [Send("square", 5)]).compile()
    assert list(graph.stream({"steps": []})) == [{"square": {"steps": [25]}}]


def test_cached_nodes_show_their_updates() -> None:
    builder = StateGraph(Log).add_node("fan", fan, cache_policy=CachePolicy()).add_node(square).add_edge(START, "fan")
    graph = builder.compile(cache=InMemoryCache())
    first = list(graph.stream({"steps": []}))
    assert first[0] == {"fan": {"steps": ["fan"]}}
    assert next(iter(graph.stream({"steps": []}))) == {"fan": {"steps": ["fan"]}, "__metadata__": {"cached": True}}


def test_tasks_show_what_nodes_are_given_and_what_they_wrote() -> None:
    graph = StateGraph(Log).add_node(fan).add_node(square).add_edge(START, "fan").compile()
    chunks = [chunk for chunk in graph.stream({"steps": []}, stream_mode="tasks") if chunk["name"] in ("fan", "square")]
    assert [chunk["input"] for chunk in chunks if "input" in chunk] == [{"steps": []}, 2, 3]
    assert {str(chunk["result"]) for chunk in chunks if "result" in chunk} == {
        "{'__return__': {'steps': ['fan']}}",
        "{'__return__': {'steps': [4]}}",
        "{'__return__': {'steps': [9]}}",
    }


def test_a_graph_in_a_graph_is_heard_where_it_was_called() -> None:
    inner = StateGraph(Log).add_node("a", lambda state: {"steps": ["a"]}).add_edge(START, "a").compile(name="inner")
    graph = StateGraph(Log).add_node("inner", inner).add_edge(START, "inner").compile()
    chunks = list(graph.stream({"steps": []}, stream_mode=["updates", "values"], subgraphs=True))
    assert [(len(namespace), mode, chunk) for namespace, mode, chunk in chunks] == [
        (0, "values", {"steps": []}),
        (1, "values", {"steps": []}),
        (1, "updates", {"a": {"steps": ["a"]}}),
        (1, "values", {"steps": ["a"]}),
        (0, "updates", {"inner": {"steps": ["a"]}}),
        (0, "values", {"steps": ["a"]}),
    ]
    assert list(graph.stream({"steps": []})) == [{"inner": {"steps": ["a"]}}]


def pausing(before: Any = None, after: Any = None) -> Any:
    graph = StateGraph(Log)
    graph.add_sequence([(name, lambda state, name=name: {"steps": [name]}) for name in "abc"]).add_edge(START, "a")
    return graph.compile(InMemorySaver(), interrupt_before=before, interrupt_after=after)


@pytest.mark.once("counts chunks")
def test_pauses_before_and_after_nodes() -> None:
    graph = pausing(before=["b"], after=["b"])
    assert graph.invoke({"steps": []}, thread_id="1") == {"steps": ["a"]}
    assert list(graph.stream(None, thread_id="1", stream_mode=["updates", "values"])) == [
        ("values", {"steps": ["a"]}),
        ("updates", {"b": {"steps": ["b"]}}),
        ("values", {"steps": ["a", "b"]}),
        ("updates", {"__interrupt__": ()}),
    ]
    assert graph.invoke(None, thread_id="1") == {"steps": ["a", "b", "c"]}


def test_what_is_heard_can_be_changed_without_harm() -> None:
    graph = pausing(before="*")
    for chunk in graph.stream({"steps": []}, thread_id="1", stream_mode="values"):
        chunk.clear()
    assert graph.invoke(None, thread_id="1") == {"steps": ["a"]}


def test_a_pause_after_one_node_and_before_the_next_is_one_pause() -> None:
    graph = pausing(before=["b"], after=["a"])
    assert graph.invoke({"steps": []}, thread_id="1") == {"steps": ["a"]}
    assert graph.invoke(None, thread_id="1") == {"steps": ["a", "b", "c"]}


def test_a_pause_needs_a_checkpointer() -> None:
    graph = StateGraph(Log).add_node(silent).add_edge(START, "silent").compile(interrupt_before=["silent"])
    with pytest.raises(ConfigError, match="needs a checkpointer"):
        graph.invoke({"steps": []})


def test_a_pause_in_a_graph_within_a_graph_stops_both() -> None:
    inner = StateGraph(Log).add_sequence([("x", lambda state: {"steps": ["x"]}), ("y", lambda state: {"steps": ["y"]})])
    pausing_inner = inner.add_edge(START, "x").compile(interrupt_before=["y"])
    graph = StateGraph(Log).add_node("inner", pausing_inner).add_edge(START, "inner").compile(InMemorySaver())
    assert graph.invoke({"steps": []}, thread_id="1") == {"steps": []}
    assert graph.get_state(thread_id="1", subgraphs=True).tasks[0].state.next == ("y",)
    assert graph.invoke(None, thread_id="1") == {"steps": ["x", "y"]}


def test_pauses_everywhere() -> None:
    graph = pausing(before="*")
    seen = [graph.invoke({"steps": []}, thread_id="1")]
    while len(seen[-1]["steps"]) < 3:
        seen.append(graph.invoke(None, thread_id="1"))
    assert [len(state["steps"]) for state in seen] == [0, 1, 2, 3]
