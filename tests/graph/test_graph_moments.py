"""The state of every step: looked at, gone back to, and changed."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, Literal, TypedDict

import pytest

from durably import InMemorySaver, interrupt
from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import ConfigError, EmptyInputError, InvalidUpdateError, ThreadBusy
from durably.graph import END, START, CompiledStateGraph, StateGraph
from durably.types import Command, Send, StateSnapshot


class Log(TypedDict):
    steps: Annotated[list[Any], operator.add]


ran = list[str]()


@pytest.fixture(autouse=True)
def _forget() -> None:
    ran.clear()


def named(name: str) -> Any:
    def node(state: Log) -> dict[str, Any]:
        ran.append(name)
        return {"steps": [name]}

    return node


def chain(**how: Any) -> CompiledStateGraph[Log]:
    graph = StateGraph(Log).add_sequence([(name, named(name)) for name in "abc"]).add_edge(START, "a")
    return graph.compile(InMemorySaver(), **how)


def seen(snapshot: StateSnapshot) -> tuple[Any, ...]:
    metadata = snapshot.metadata or {}
    return (snapshot.values.get("steps"), snapshot.next, metadata.get("source"), metadata.get("step"))


def histories(graph: CompiledStateGraph[Log], thread_id: str = "1") -> list[tuple[Any, ...]]:
    return [seen(snapshot) for snapshot in graph.get_state_history(thread_id=thread_id)]


def at(graph: CompiledStateGraph[Log], *following: str) -> dict[str, Any]:
    """The latest checkpoint after which these nodes come."""
    return next(s.config for s in graph.get_state_history(thread_id="1") if s.next == following)


def test_history_has_every_step() -> None:
    graph = chain()
    graph.invoke({"steps": ["i"]}, thread_id="1")
    assert histories(graph) == [
        (["i", "a", "b", "c"], (), "loop", 3),
        (["i", "a", "b"], ("c",), "loop", 2),
        (["i", "a"], ("b",), "loop", 1),
        (["i"], ("a",), "loop", 0),
        ([], ("__start__",), "input", -1),
    ]
    history = list(graph.get_state_history(thread_id="1"))
    assert [snapshot.parent_config for snapshot in history[:-1]] == [snapshot.config for snapshot in history[1:]]
    assert [[(task.name, task.result) for task in snapshot.tasks] for snapshot in history[1:]] == [
        [("c", {"steps": ["c"]})],
        [("b", {"steps": ["b"]})],
        [("a", {"steps": ["a"]})],
        [("__start__", {"steps": ["i"]})],
    ]
    assert [graph.get_state(snapshot.config) for snapshot in history] == history
    addresses = [snapshot.config["configurable"]["checkpoint_id"] for snapshot in history]
    assert addresses == sorted(addresses, reverse=True)


def test_history_by_pages_and_filters() -> None:
    graph = chain()
    for _ in range(2):
        graph.invoke({"steps": []}, thread_id="1")
    history = list(graph.get_state_history(thread_id="1"))
    assert len(history) == 10
    assert [seen(s)[3] for s in history] == [8, 7, 6, 5, 4, 3, 2, 1, 0, -1]
    assert list(graph.get_state_history(thread_id="1", before=history[3].config, limit=3)) == history[4:7]
    assert list(graph.get_state_history(thread_id="1", filter={"source": "input"})) == [history[4], history[9]]

    async def main() -> list[StateSnapshot]:
        return [snapshot async for snapshot in graph.aget_state_history(thread_id="1")]

    assert asyncio.run(main()) == history


def test_unknown_moments() -> None:
    graph = chain()
    assert graph.get_state(thread_id="1").values == {}
    graph.invoke({"steps": []}, thread_id="1")
    run_id = graph.runs("1")[0].run_id
    for unknown in (f"{run_id}-0.000009", f"{run_id}-2", "x", f"{run_id}-0.1"):
        with pytest.raises(ConfigError):
            graph.get_state({"configurable": {"thread_id": "1", "checkpoint_id": unknown}})


def test_going_on_from_a_step() -> None:
    graph = chain()
    graph.invoke({"steps": ["i"]}, thread_id="1")
    ran.clear()
    assert graph.invoke(None, at(graph, "b")) == {"steps": ["i", "a", "b", "c"]}
    assert ran == ["b", "c"]
    assert histories(graph)[:3] == [
        (["i", "a", "b", "c"], (), "loop", 4),
        (["i", "a", "b"], ("c",), "loop", 3),
        (["i", "a"], ("b",), "fork", 2),
    ]
    fork = list(graph.get_state_history(thread_id="1"))[2]
    assert fork.parent_config is not None
    assert graph.get_state(fork.parent_config).next == ("b",)


def test_a_new_input_at_a_step() -> None:
    graph = chain()
    graph.invoke({"steps": ["i"]}, thread_id="1")
    assert graph.invoke({"steps": ["j"]}, at(graph, "b")) == {"steps": ["i", "a", "j", "a", "b", "c"]}
    assert graph.get_state(thread_id="1").values == {"steps": ["i", "a", "j", "a", "b", "c"]}


def ask(state: Log) -> dict[str, Any]:
    return {"steps": [interrupt("ok?")]}


def asking() -> CompiledStateGraph[Log]:
    graph = StateGraph(Log).add_node("a", named("a")).add_node("ask", ask).add_node("beside", named("beside"))
    graph.add_edge(START, "a").add_edge("a", "ask").add_edge("a", "beside")
    return graph.compile(SqliteSaver(":memory:"))


def test_an_open_step_shows_what_is_done_and_what_is_asked() -> None:
    graph = asking()
    graph.invoke({"steps": []}, thread_id="1")
    state = graph.get_state(thread_id="1")
    assert (state.values, state.next) == ({"steps": ["a", "beside"]}, ("ask",))
    assert [(task.name, task.result, [q.value for q in task.interrupts]) for task in state.tasks] == [
        ("ask", None, ["ok?"]),
        ("beside", {"steps": ["beside"]}, []),
    ]
    assert [question.value for question in state.interrupts] == ["ok?"]
    assert graph.invoke(Command(resume="yes"), state.config) == {"steps": ["a", "yes", "beside"]}


def test_a_failed_step_shows_its_error() -> None:
    def fail(state: Log) -> None:
        raise ValueError("boom")

    graph = StateGraph(Log).add_node(fail).add_edge(START, "fail").compile(InMemorySaver())
    with pytest.raises(ValueError, match="boom"):
        graph.invoke({"steps": []}, thread_id="1")
    [task] = graph.get_state(thread_id="1").tasks
    assert (task.name, repr(task.error)) == ("fail", "ValueError('boom')")


def test_runs_that_failed_between_nodes_can_be_looked_at() -> None:
    class One(TypedDict):
        value: int

    graph = StateGraph(One)
    for name in "ab":
        graph.add_node(name, lambda state: {"value": 1}).add_edge(START, name)
    compiled = graph.compile(InMemorySaver())
    with pytest.raises(InvalidUpdateError):
        compiled.invoke({"value": 0}, thread_id="1")
    assert compiled.get_state(thread_id="1").values == {"value": 0}
    with pytest.raises(InvalidUpdateError):
        compiled.invoke({"nope": 0}, thread_id="2")
    assert compiled.get_state(thread_id="2").next == ("__start__",)


def test_updates_lead_where_the_node_leads() -> None:
    graph = chain()
    config = graph.update_state(None, {"steps": ["u"]}, as_node="a", thread_id="1")
    assert seen(graph.get_state(config)) == (["u"], ("b",), "update", 0)
    assert seen(graph.get_state(thread_id="1")) == (["u"], ("b",), "update", 0)
    assert graph.invoke(None, thread_id="1") == {"steps": ["u", "b", "c"]}
    assert ran == ["b", "c"]
    graph.update_state(None, {"steps": ["v"]}, thread_id="1")  # as the node that ran last
    assert seen(graph.get_state(thread_id="1")) == (["u", "b", "c", "v"], (), "update", 3)
    with pytest.raises(EmptyInputError):
        graph.invoke(None, thread_id="1")
    graph.update_state(None, {"steps": ["w"]}, as_node=START, thread_id="1")
    assert graph.get_state(thread_id="1").next == ("a",)
    graph.update_state(None, None, as_node=END, thread_id="1")
    assert seen(graph.get_state(thread_id="1"))[:2] == (["u", "b", "c", "v", "w"], ())
    assert graph.invoke({"steps": []}, thread_id="1") == {"steps": ["u", "b", "c", "v", "w", "a", "b", "c"]}


def test_an_update_of_an_open_step_takes_its_place() -> None:
    graph = asking()
    graph.invoke({"steps": []}, thread_id="1")
    graph.update_state(None, {"steps": ["by hand"]}, as_node="ask", thread_id="1")
    state = graph.get_state(thread_id="1")
    assert (state.values, state.next, state.interrupts) == ({"steps": ["a", "by hand"]}, (), ())
    assert graph.runs("1")[1].status == "abandoned"


def test_an_update_of_the_past_begins_there() -> None:
    graph = chain()
    graph.invoke({"steps": []}, thread_id="1")
    config = graph.update_state(at(graph, "c"), {"steps": ["x"]})
    assert graph.get_state(config).next == ("c",)
    assert graph.invoke(None, config) == {"steps": ["a", "b", "x", "c"]}
    assert graph.bulk_update_state(at(graph, "b"), [[(None, "b")], [({"steps": ["y"]}, "b")]])  # type: ignore[list-item]
    assert graph.get_state(thread_id="1").values == {"steps": ["a", "y"]}


def test_updates_go_through_routers() -> None:
    async def route(state: Log) -> Literal["b", "c"]:
        return "c" if "x" in state["steps"] else "b"

    graph = StateGraph(Log).add_node("a", named("a")).add_node("b", named("b")).add_node("c", named("c"))
    compiled = graph.add_edge(START, "a").add_conditional_edges("a", route).compile(InMemorySaver())
    compiled.update_state(None, {"steps": ["x"]}, as_node="a", thread_id="1")
    assert compiled.get_state(thread_id="1").next == ("c",)

    async def main() -> Any:
        await compiled.aupdate_state(None, {"steps": ["y"]}, as_node="a", thread_id="2")
        return (await compiled.aget_state(thread_id="2")).next

    assert asyncio.run(main()) == ("b",)


def test_updates_that_cannot_be() -> None:
    graph = asking()
    with pytest.raises(InvalidUpdateError, match="no node 'nope' to update as"):
        graph.update_state(None, {"steps": []}, as_node="nope", thread_id="1")
    with pytest.raises(InvalidUpdateError, match="has only the keys steps"):
        graph.update_state(None, {"nope": []}, as_node="a", thread_id="1")
    graph.invoke({"steps": []}, thread_id="1")
    graph.invoke(Command(resume="yes"), thread_id="1")
    with pytest.raises(InvalidUpdateError, match="'ask', 'beside' ran last, so say as which"):
        graph.update_state(None, {"steps": []}, thread_id="1")

    def update_itself(state: Log) -> None:
        itself.update_state(None, {"steps": []}, thread_id="1")

    itself = StateGraph(Log).add_node(update_itself).add_edge(START, "update_itself").compile(InMemorySaver())
    with pytest.raises(ThreadBusy):
        itself.invoke({"steps": []}, thread_id="1")


def test_changing_the_state_at_a_pause() -> None:
    graph = chain(interrupt_before=["b"])
    graph.invoke({"steps": []}, thread_id="1")
    assert seen(graph.get_state(thread_id="1"))[:2] == (["a"], ("b",))
    graph.update_state(None, {"steps": ["edited"]}, thread_id="1")
    assert graph.invoke(None, thread_id="1") == {"steps": ["a", "edited", "b", "c"]}


def test_commands_as_input() -> None:
    graph = chain()
    assert graph.invoke(Command(update={"steps": ["x"]}, goto="c"), thread_id="1") == {"steps": ["x", "c"]}
    assert graph.invoke(Command(goto=[Send("b", None)]), thread_id="1") == {"steps": ["x", "c", "b", "c"]}
    open_one = asking()
    open_one.invoke({"steps": []}, thread_id="1")
    asked = open_one.invoke(Command(update={"steps": ["x"]}), thread_id="1")
    assert (asked["steps"], len(asked["__interrupt__"])) == (["a", "x"], 1)
    with pytest.raises(InvalidUpdateError, match="two things at once"):
        open_one.invoke(Command(resume=1, update={"steps": []}), thread_id="1")
    with pytest.raises(InvalidUpdateError, match="leads to 'nope'"):
        chain().invoke(Command(goto="nope"), thread_id="1")


def test_graphs_in_graphs_show_their_state() -> None:
    inner = (
        StateGraph(Log)
        .add_node("deep", named("deep"))
        .add_node("ask", ask)
        .add_edge(START, "deep")
        .add_edge("deep", "ask")
    )
    graph = StateGraph(Log).add_node("a", named("a")).add_node("inner", inner.compile()).add_edge(START, "a")
    compiled = graph.add_edge("a", "inner").compile(InMemorySaver())
    compiled.invoke({"steps": []}, thread_id="1")
    [task] = compiled.get_state(thread_id="1", subgraphs=True).tasks
    assert (task.name, task.state.values, task.state.next) == ("inner", {"steps": ["a", "deep"]}, ("ask",))
    assert [question.value for question in task.interrupts] == ["ok?"]
    [short] = compiled.get_state(thread_id="1").tasks
    assert list(short.state) == ["configurable"]
    compiled.invoke(Command(resume="yes"), thread_id="1")
    assert ran == ["a", "deep"]


def test_the_history_of_a_long_loop_is_told_in_one_go() -> None:
    """Each step is told once: decoding a record again for every later step would be quadratic."""
    graph = StateGraph(Log).add_node("a", named("a")).add_edge(START, "a")
    graph.add_conditional_edges("a", lambda state: END if len(state["steps"]) >= 300 else "a", ["a", END])
    compiled = graph.compile(InMemorySaver())
    compiled.invoke({"steps": []}, thread_id="1")
    history = list(compiled.get_state_history(thread_id="1"))
    assert [len(snapshot.values["steps"]) for snapshot in history] == [*range(300, -1, -1), 0]
    assert compiled.invoke(None, history[100].config)["steps"] == ["a"] * 300
    assert len(ran) == 300 + 100
