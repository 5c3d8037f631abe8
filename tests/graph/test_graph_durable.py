"""What a graph has done it does not do again: after questions, errors and crashes, in nodes and in nested graphs."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, Literal, TypedDict

import pytest

from durably import InMemorySaver, entrypoint, interrupt, task
from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import EmptyInputError
from durably.graph import END, START, StateGraph
from durably.testing import acrash_everywhere, crash_everywhere
from durably.types import Command, Send


class Log(TypedDict):
    steps: Annotated[list[Any], operator.add]


@task
def work(x: int) -> int:
    calls.append(x)
    return 2 * x


@task
async def awork(x: int) -> int:
    calls.append(x)
    return 2 * x


calls = list[Any]()


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    calls.clear()


def asks(state: Log) -> dict[str, Any]:
    return {"steps": ["asks", work(1).result(), interrupt("one?")]}


async def asks_too(state: Log) -> dict[str, Any]:
    return {"steps": ["asks_too", await awork(2), interrupt("two?")]}


def plain(state: Log) -> dict[str, Any]:
    calls.append("plain")
    return {"steps": ["plain"]}


def last(state: Log) -> dict[str, Any]:
    return {"steps": [len(state["steps"])]}


def side_by_side() -> StateGraph[Log]:
    graph = StateGraph(Log).add_node(asks).add_node(asks_too).add_node(plain).add_node(last)
    for name in ("asks", "asks_too", "plain"):
        graph.add_edge(START, name)
    return graph.add_edge(["asks", "asks_too", "plain"], "last")


def questions(result: Any) -> dict[str, str]:
    return {question.value: question.id for question in result["__interrupt__"]}


def test_questions_of_parallel_nodes_are_put_together() -> None:
    graph = side_by_side().compile(InMemorySaver())
    asked = questions(graph.invoke({"steps": []}, thread_id="1"))
    assert asked.keys() == {"one?", "two?"}
    left = questions(graph.invoke(Command(resume={asked["two?"]: "B"}), thread_id="1"))
    assert left.keys() == {"one?"}
    result = graph.invoke(Command(resume="A"), thread_id="1")
    assert result == {"steps": ["asks", 2, "A", "asks_too", 4, "B", "plain", 7]}
    assert sorted(calls, key=str) == [1, 2, "plain"]


def test_the_same_on_an_event_loop_and_another_process() -> None:
    async def main() -> None:
        saver = SqliteSaver(":memory:")
        asked = questions(await side_by_side().compile(saver).ainvoke({"steps": []}, thread_id="1"))
        again = side_by_side().compile(saver)  # as another process would
        result = await again.ainvoke(Command(resume={asked["one?"]: "A", asked["two?"]: "B"}), thread_id="1")
        assert result["steps"][-1] == 7

    asyncio.run(main())
    assert sorted(calls, key=str) == [1, 2, "plain"]


def test_a_failed_node_runs_again_and_those_beside_it_do_not() -> None:
    broken = [True]

    def shaky(state: Log) -> dict[str, Any]:
        calls.append("shaky")
        if broken:
            raise ValueError("boom")
        return {"steps": ["shaky"]}

    builder = StateGraph(Log).add_node("a", plain).add_node("b", shaky).add_edge(START, "a").add_edge(START, "b")
    graph = builder.compile(InMemorySaver())
    with pytest.raises(ValueError, match="boom"):
        graph.invoke({"steps": []}, thread_id="1")
    broken.clear()
    assert graph.invoke(None, thread_id="1") == {"steps": ["plain", "shaky"]}
    assert calls == ["plain", "shaky", "shaky"]
    with pytest.raises(EmptyInputError):
        graph.invoke(None, thread_id="1")


def inner_graph(name: str = "inner") -> StateGraph[Log]:
    return StateGraph(Log).add_node(name, asks).add_edge(START, name)


def test_questions_and_tasks_of_a_graph_in_a_graph() -> None:
    deepest = inner_graph().compile(name="deepest")
    middle = StateGraph(Log).add_node("deepest", deepest).add_edge(START, "deepest").compile(name="middle")
    outer = (
        StateGraph(Log).add_node(plain).add_node("middle", middle).add_edge(START, "plain").add_edge("plain", "middle")
    )
    graph = outer.compile(InMemorySaver())
    assert questions(graph.invoke({"steps": []}, thread_id="1")).keys() == {"one?"}
    result = graph.invoke(Command(resume="A"), thread_id="1")
    assert result["steps"] == ["plain", "plain", "plain", "asks", 2, "A"]  # each level adds what it was given
    assert calls == ["plain", 1]


class Other(TypedDict):
    text: str


def test_a_graph_with_another_state_called_in_a_node() -> None:
    inner = StateGraph(Other).add_node("ask", lambda state: {"text": state["text"] + interrupt("more?")})
    called = inner.add_edge(START, "ask").compile()

    def call(state: Log) -> dict[str, Any]:
        work(1).result()
        return {"steps": [called.invoke({"text": "a"})["text"]]}

    graph = StateGraph(Log).add_node(call).add_edge(START, "call").compile(InMemorySaver())
    graph.invoke({"steps": []}, thread_id="1")
    assert graph.invoke(Command(resume="b"), thread_id="1") == {"steps": ["ab"]}
    assert calls == [1]


def test_an_entrypoint_in_a_node_and_graphs_in_entrypoints_and_tasks() -> None:
    inner = inner_graph().compile(name="inner")

    @entrypoint()
    def flow(state: Log) -> dict[str, Any]:
        return {"steps": ["flow", *inner.invoke({"steps": []})["steps"]]}

    @task
    def through() -> Any:
        return StateGraph(Log).add_node("flow", flow).add_edge(START, "flow").compile(name="g").invoke({"steps": []})

    @entrypoint(checkpointer=InMemorySaver())
    def outer(_: int) -> Any:
        return through().result()

    assert questions(outer.invoke(1, thread_id="1")).keys() == {"one?"}
    assert outer.invoke(Command(resume="A"), thread_id="1") == {"steps": ["flow", "asks", 2, "A"]}
    assert calls == [1]


def hand_over(state: Log) -> Command[Literal["after"]]:
    calls.append("hand_over")
    return Command(graph=Command.PARENT, update={"steps": ["handed"]}, goto="after")


@pytest.mark.parametrize("as_node", [True, False])
def test_a_command_for_the_graph_around(as_node: bool) -> None:
    inner = StateGraph(Log).add_node("hand_over", hand_over, destinations=[]).add_edge(START, "hand_over")
    compiled = inner.compile(name="inner")

    def call(state: Log) -> dict[str, Any]:
        compiled.invoke(state)
        raise AssertionError("the command passes through")

    outer = StateGraph(Log).add_node("inner", compiled if as_node else call, destinations=["after"])
    outer.add_node("after", asks).add_edge(START, "inner")
    graph = outer.compile(InMemorySaver())
    graph.invoke({"steps": []}, thread_id="1")
    assert graph.invoke(Command(resume="A"), thread_id="1") == {"steps": ["handed", "asks", 2, "A"]}
    assert calls == ["hand_over", 1]


def test_a_nested_graph_that_remembers() -> None:
    inner = StateGraph(Log).add_node(last).add_edge(START, "last").compile(True, name="inner")
    outer = StateGraph(Other).add_node("call", lambda state: {"text": str(inner.invoke({"steps": ["x"]})["steps"])})
    graph = outer.add_edge(START, "call").compile(InMemorySaver())
    graph.invoke({"text": ""}, thread_id="1")
    assert graph.invoke({"text": ""}, thread_id="1") == {"text": "['x', 1, 'x', 3]"}


def routed(state: Log) -> list[Send]:
    calls.append("routed")
    return [Send("square", n) for n in range(3)]


def test_what_routers_said_is_recorded() -> None:
    builder = StateGraph(Log).add_node("square", lambda n: {"steps": [n * n]}).add_node("asks", asks)
    builder.add_conditional_edges(START, routed, ["square"]).add_edge("square", "asks")
    graph = builder.compile(InMemorySaver())
    graph.invoke({"steps": []}, thread_id="1")
    assert graph.invoke(Command(resume="A"), thread_id="1") == {"steps": [0, 1, 4, "asks", 2, "A"]}
    assert calls == ["routed", 1]


def looping(state: Log) -> Any:
    return "step" if len(state["steps"]) < 6 else [Send("square", 3), Send("square", 4)]


def crashing() -> StateGraph[Log]:
    def step(state: Log) -> dict[str, Any]:
        return {"steps": [work(len(state["steps"])).result()]}

    async def square(n: int) -> dict[str, Any]:
        return {"steps": [await awork(n), interrupt("ok?")]}

    graph = StateGraph(Log).add_node(step).add_node(square).add_node("end", inner_graph().compile(name="inner"))
    graph.add_edge(START, "step").add_conditional_edges("step", looping).add_edge("square", "end")
    return graph


def test_stopped_at_every_write() -> None:
    """Whatever was on disk when the process died, the graph ends the same, and does no finished work again."""
    answers = {"ok?": "yes", "one?": "no"}
    sweep = crash_everywhere(crashing().compile(), {"steps": []}, answer=lambda question: answers[question])
    steps = [0, 2, 4, 6, 8, 10, 6, "yes", 8, "yes"]
    assert sweep.result == {"steps": [*steps, *steps, "asks", 2, "no"]}
    assert sweep.ran["step"] == 6
    assert sweep.most("step") == 7
    assert sweep.most("work") <= sweep.ran["work"] + 1
    assert (
        asyncio.run(
            acrash_everywhere(crashing().compile(), {"steps": []}, answer=lambda question: answers[question])
        ).result
        == sweep.result
    )


def test_ids_of_messages_are_the_same_on_replay() -> None:
    langchain = pytest.importorskip("langchain_core.messages")
    from durably.graph import MessagesState

    def forget(state: MessagesState) -> dict[str, Any]:
        return {"messages": [langchain.RemoveMessage(id=state["messages"][0].id)]}

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [langchain.AIMessage(interrupt("say"))]}

    graph = StateGraph(MessagesState).add_sequence([forget, ask]).set_entry_point("forget").compile(InMemorySaver())
    graph.invoke({"messages": [langchain.HumanMessage("a"), langchain.HumanMessage("a")]}, thread_id="1")
    result = graph.invoke(Command(resume="b"), thread_id="1")
    assert [message.content for message in result["messages"]] == ["a", "b"]
    assert len({message.id for message in result["messages"]}) == 2


def test_resuming_a_long_loop_claims_each_step_once() -> None:
    seen = list[int]()

    def step(state: Log) -> dict[str, Any]:
        seen.append(1)
        return {"steps": ["x"]}

    builder = StateGraph(Log).add_node(step).add_node(asks).add_edge(START, "step")
    builder.add_conditional_edges(
        "step", lambda state: "step" if len(state["steps"]) < 300 else "asks", ["step", "asks"]
    )
    graph = builder.add_edge("asks", END).compile(InMemorySaver())
    graph.invoke({"steps": []}, thread_id="1")
    assert len(graph.invoke(Command(resume="A"), thread_id="1")["steps"]) == 303
    assert len(seen) == 300
