"""The state of a graph: how its keys are merged, and in which shapes it is seen."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired, TypedDict

import pytest
from pydantic import BaseModel, ValidationError

from durably import InMemorySaver, Runtime
from durably.errors import EmptyInputError, InvalidUpdateError
from durably.graph import START, MessagesState, StateGraph
from durably.store.memory import InMemoryStore
from durably.types import Overwrite, StreamWriter


class Merged(TypedDict):
    items: Annotated[Sequence[str], operator.add]
    total: Annotated[int, operator.add]
    last: NotRequired[str]


def one(shape: Any, function: Any, **schemas: Any) -> Any:
    return StateGraph(shape, **schemas).add_node("node", function).add_edge(START, "node").compile()


def test_merged_keys_begin_with_what_their_type_gives() -> None:
    seen = list[Any]()
    graph = one(Merged, lambda state: seen.append(state))
    assert graph.invoke({}) == {"items": [], "total": 0}
    assert seen == [{"items": [], "total": 0}]


def test_a_merged_key_without_a_beginning_takes_its_first_update() -> None:
    class Longest(TypedDict):
        text: Annotated[str | None, lambda old, new: max(old, new, key=len)]

    assert one(Longest, lambda state: {"text": "abc"}).invoke({}) == {"text": "abc"}
    assert one(Longest, lambda state: {"text": "abc"}).invoke({"text": "abcd"}) == {"text": "abcd"}


def test_updates_of_a_step_apply_by_name() -> None:
    graph = StateGraph(Merged)
    for name in ("c", "a", "b"):
        graph.add_node(name, lambda state, name=name: {"items": [name], "total": 1})
        graph.add_edge(START, name)
    assert graph.compile().invoke({"items": ["0"]}) == {"items": ["0", "a", "b", "c"], "total": 3}


def test_two_writers_of_a_key_that_is_not_merged() -> None:
    graph = StateGraph(Merged)
    for name in ("b", "a"):
        graph.add_node(name, lambda state: {"last": "x"}).add_edge(START, name)
    with pytest.raises(InvalidUpdateError, match="'last' got several values in one step, from 'a', 'b'"):
        graph.compile().invoke({})


def test_overwrite() -> None:
    graph = StateGraph(Merged).add_node("a", lambda state: {"items": Overwrite(["new"])})
    graph.add_node("b", lambda state: {"items": ["lost"]}).add_edge(START, "a").add_edge(START, "b")
    assert graph.compile().invoke({"items": ["old"]})["items"] == ["new"]
    graph.add_node("c", lambda state: {"items": Overwrite([])}).add_edge(START, "c")
    with pytest.raises(InvalidUpdateError, match="several Overwrite values in one step, from 'a', 'c'"):
        graph.compile().invoke({})


def test_previous_state_is_the_beginning_of_the_next_run() -> None:
    graph = one(Merged, lambda state: {"items": ["node"]})
    with_memory = StateGraph(Merged).add_node("node", lambda state: {"items": ["n"]}).add_edge(START, "node")
    kept = with_memory.compile(InMemorySaver())
    assert graph.invoke({"items": ["a"]})["items"] == ["a", "node"]
    kept.invoke({"items": ["a"], "last": "x"}, thread_id="1")
    assert kept.invoke({"items": ["b"]}, thread_id="1") == {"items": ["a", "n", "b", "n"], "total": 0, "last": "x"}


class Question(TypedDict):
    question: str


class Answer(TypedDict):
    answer: str


class Everything(TypedDict):
    question: str
    answer: str
    drafts: Annotated[list[str], operator.add]


class Secret(TypedDict):
    secret: int


def test_different_input_and_output() -> None:
    seen = list[Any]()

    def reply(state: Everything) -> dict[str, Any]:
        seen.append(state)
        return {"answer": state["question"] + "!", "drafts": ["x"]}

    graph = one(Everything, reply, input_schema=Question, output_schema=Answer)
    assert graph.invoke({"question": "why", "answer": "ignored"}) == {"answer": "why!"}
    assert seen == [{"question": "why", "drafts": []}]


def test_the_whole_state_is_kept_for_the_next_run_whatever_is_returned() -> None:
    builder = StateGraph(Everything, output_schema=Answer)
    builder.add_node("reply", lambda state: {"answer": f"{len(state['drafts'])}", "drafts": ["x"]}).add_edge(
        START, "reply"
    )
    graph = builder.compile(InMemorySaver())
    assert [graph.invoke({"question": "q"}, thread_id="1") for _ in range(2)] == [{"answer": "0"}, {"answer": "1"}]


def test_private_keys_go_from_node_to_node() -> None:
    def make(state: Everything) -> Secret:
        return {"secret": 5}

    def use(state: Secret) -> dict[str, Any]:
        assert state == {"secret": 5}
        return {"answer": str(state["secret"])}

    graph = StateGraph(Everything).add_sequence([make, use]).set_entry_point("make").compile()
    assert graph.invoke({"question": "q"}) == {"question": "q", "answer": "5", "drafts": []}


@dataclass
class Card:
    name: str
    tags: Annotated[list[str], operator.add] = field(default_factory=list)
    size: int = 1


def test_dataclass_state() -> None:
    def grow(state: Card) -> dict[str, Any]:
        assert isinstance(state, Card)
        return {"tags": ["grown"], "size": state.size + 1}

    graph = one(Card, grow)
    assert graph.invoke({"name": "a"}) == {"name": "a", "tags": ["grown"], "size": 2}
    assert graph.invoke(Card("b", ["x"], 4)) == {"name": "b", "tags": ["x", "grown"], "size": 5}
    assert one(Card, lambda state: Card("c", size=9)).invoke({"name": "a"}) == {"name": "c", "tags": [], "size": 9}


class Order(BaseModel):
    number: int
    note: str | None = None
    lines: Annotated[list[str], operator.add] = []


def test_pydantic_state_is_checked_where_it_is_read() -> None:
    seen = list[Any]()

    def add(state: Order) -> dict[str, Any]:
        seen.append(state)
        return {"lines": ["x"]}

    graph = one(Order, add)
    graph.invoke({"number": "3"})
    assert seen == [Order(number=3)]
    assert graph.invoke(Order(number=1, lines=["a"])) == {"number": 1, "lines": ["a", "x"]}
    with pytest.raises(ValidationError):
        graph.invoke({"number": "three"})
    wrong = StateGraph(Order).add_node("a", lambda state: {"number": "x"}).add_node("b", add)
    with pytest.raises(ValidationError):
        wrong.add_edge(START, "a").add_edge("a", "b").compile().invoke({"number": 1})
    assert one(Order, lambda state: Order(number=7)).invoke({"number": 1}) == {"number": 7, "lines": []}


def test_pydantic_values_are_stored() -> None:
    class Cart(TypedDict):
        orders: Annotated[list[Order], operator.add]

    graph = StateGraph(Cart).add_node("buy", lambda state: {"orders": [Order(number=2)]}).add_edge(START, "buy")
    kept = graph.compile(InMemorySaver())
    kept.invoke({"orders": [Order(number=1)]}, thread_id="1")
    assert kept.invoke({"orders": []}, thread_id="1") == {"orders": [Order(number=1), Order(number=2), Order(number=2)]}


def test_messages_state() -> None:
    builder = StateGraph(MessagesState)
    builder.add_node("reply", lambda state: {"messages": {"role": "assistant", "content": "Hi!"}}).add_edge(
        START, "reply"
    )
    graph = builder.compile(InMemorySaver())
    graph.invoke({"messages": "Hello"}, thread_id="1")
    result = graph.invoke({"messages": [("user", "Bye")]}, thread_id="1")
    assert [message["content"] for message in result["messages"]] == ["Hello", "Hi!", "Bye", "Hi!"]


@pytest.mark.parametrize("result", [5, "text", [5]])
def test_what_is_no_update(result: Any) -> None:
    with pytest.raises(InvalidUpdateError, match="node 'node' gave"):
        one(Merged, lambda state: result).invoke({})


def test_unknown_keys() -> None:
    assert one(Merged, lambda state: {"nope": 1, "total": 1}).invoke({"nope": 1, "total": 1}) == {
        "items": [],
        "total": 2,
    }
    with pytest.raises(
        InvalidUpdateError, match="node 'node' wrote 'nope', and the state has only the keys items, total"
    ):
        one(Merged, lambda state: {"nope": 1}).invoke({})
    with pytest.raises(EmptyInputError, match="was given None"):
        one(Merged, lambda state: None).invoke(None)


def test_what_nodes_and_routers_get_beside_the_state() -> None:
    store = InMemoryStore()
    seen = dict[str, Any]()

    def sync(state: Merged, config: dict[str, Any], *, store: Any, previous: Any) -> None:
        seen["sync"] = config["tags"], store, previous

    async def awaited(state: Merged, runtime: Runtime[Any], writer: StreamWriter) -> None:
        writer("written")
        seen["async"] = runtime.context

    def router(state: Merged, runtime: Runtime[Any]) -> str:
        seen["router"] = runtime.context
        return "awaited"

    builder = StateGraph(Merged, dict).add_node(sync).add_node(awaited).add_edge(START, "sync")
    graph = builder.add_conditional_edges("sync", router, ["awaited"]).compile(store=store)
    chunks = graph.stream({}, {"tags": ["t"]}, context={"user": "Ada"}, stream_mode="custom")
    assert list(chunks) == ["written"]
    assert seen == {"sync": (["t"], store, None), "async": {"user": "Ada"}, "router": {"user": "Ada"}}


def test_sync_and_async_nodes_side_by_side() -> None:
    async def awaited(state: Merged) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"items": ["awaited"]}

    async def router(state: Merged) -> list[str]:
        return ["last"]

    builder = StateGraph(Merged).add_node(awaited).add_node("sync", lambda state: {"items": ["sync"]})
    builder.add_node("last", lambda state: {"items": ["last"]})
    builder.add_edge(START, "awaited").add_edge(START, "sync").add_conditional_edges("sync", router, ["last"])
    graph = builder.compile()
    expected = {"items": ["awaited", "sync", "last"], "total": 0}
    assert graph.invoke({}) == expected
    assert asyncio.run(graph.ainvoke({})) == expected
