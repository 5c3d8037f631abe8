"""The stream mode ``messages`` with LangChain's models: every token once, whoever called the model and however."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnableParallel
from models import Named, silent, speaking

from durably import Command, InMemorySaver, Workflow, entrypoint, get_config, interrupt, task

Stream = Callable[..., list[tuple[Any, dict[str, Any]]]]


def stream(workflow: Workflow[Any, Any], value: Any, *how: Any, **more: Any) -> list[Any]:
    return list(workflow.stream(value, *how, **{"stream_mode": "messages", **more}))


def astream(workflow: Workflow[Any, Any], value: Any, *how: Any, **more: Any) -> list[Any]:
    async def all_of_it() -> list[Any]:
        chunks = workflow.astream(value, *how, **{"stream_mode": "messages", **more})
        return [chunk async for chunk in chunks]

    return asyncio.run(all_of_it())


both_ways = pytest.mark.parametrize("stream", [stream, astream])


def said(chunks: list[tuple[BaseMessage, Any]]) -> list[Any]:
    return [message.content for message, _ in chunks]


def invoked(question: str) -> Any:
    return speaking().invoke(question)


def streamed(question: str) -> Any:
    pieces = iter(speaking().stream(question))
    whole = next(pieces)
    for piece in pieces:
        whole += piece
    return whole


def in_a_chain(question: str) -> Any:
    return (RunnableLambda(lambda x: [HumanMessage(x)]) | speaking()).invoke(question)


def with_the_config(question: str, config: RunnableConfig) -> Any:
    return speaking().invoke(question, config)


def with_the_config_asked_for(question: str) -> Any:
    return speaking().invoke(question, get_config())  # type: ignore[arg-type]


def in_threads(question: str) -> Any:
    both = RunnableParallel(one=speaking("hello there"), other=lambda _: "nothing")
    return both.invoke(question)["one"]


async def ainvoked(question: str) -> Any:
    return await speaking().ainvoke(question)


async def astreamed(question: str) -> Any:
    pieces = [piece async for piece in speaking().astream(question)]
    return sum(pieces[1:], pieces[0])  # type: ignore[arg-type]


async def in_an_asyncio_task(question: str) -> Any:
    return await asyncio.create_task(speaking().ainvoke(question))


async def in_a_thread(question: str) -> Any:
    return await asyncio.to_thread(speaking().invoke, question)


WAYS = [
    invoked,
    streamed,
    in_a_chain,
    with_the_config,
    with_the_config_asked_for,
    in_threads,
    ainvoked,
    astreamed,
    in_an_asyncio_task,
    in_a_thread,
]


@both_ways
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["task", "workflow"])
def test_every_token_comes_once(stream: Stream, way: Callable[..., Any], where: str) -> None:
    ask: Any = task(way, name="ask") if where == "task" else entrypoint(name="ask")(way)

    @entrypoint()
    def around(question: str) -> Any:
        return ask(question).result()

    chunks = stream(around if where == "task" else ask, "hi")
    assert said(chunks) == ["hello", " ", "there"]
    assert {type(message) for message, _ in chunks} == {AIMessageChunk}
    assert {metadata["langgraph_node"] for _, metadata in chunks} == {"ask"}
    assert len({message.id for message, _ in chunks}) == 1


@task
def ask(question: str) -> Any:
    return speaking().with_config(tags=["inner"], metadata={"purpose": "test"}).invoke(question)


@entrypoint(checkpointer=InMemorySaver())
def flow(question: str) -> Any:
    return ask(question).result()


@both_ways
def test_metadata_says_where_a_token_comes_from(stream: Stream) -> None:
    config = {"configurable": {"thread_id": stream.__name__}, "tags": ["outer"], "metadata": {"user": "Ada"}}
    metadata = stream(flow, "hi", config)[0][1]
    assert metadata | KNOWN == metadata
    assert metadata["thread_id"] == stream.__name__
    assert sorted(metadata["tags"]) == ["inner", "outer"]
    (recorded,) = flow.runs(stream.__name__)
    assert metadata["run_id"] == recorded.run_id
    names = [part.partition(":")[0] for part in metadata["langgraph_checkpoint_ns"].split("|")]
    assert names == ["flow", "ask"]
    assert metadata["langgraph_checkpoint_ns"].endswith(f"ask:{metadata['task_id']}")


KNOWN = {
    "task": "ask",
    "langgraph_node": "ask",
    "langgraph_triggers": ("__pregel_push",),
    "user": "Ada",
    "purpose": "test",
    "ls_provider": "paper",
    "ls_model_name": "paper-1",
    "ls_model_type": "chat",
}


@both_ways
def test_parallel_tasks_can_be_told_apart(stream: Stream) -> None:
    @task
    async def say(text: str) -> str:
        return str((await speaking(text).ainvoke("hi")).content)

    @entrypoint()
    async def several(_: str) -> list[str]:
        return list(await asyncio.gather(say("one two"), say("three four"), say("five six")))

    by_task: dict[str, str] = {}
    for message, metadata in stream(several, ""):
        by_task[metadata["task_id"]] = by_task.get(metadata["task_id"], "") + message.content
    assert sorted(by_task.values()) == ["five six", "one two", "three four"]


@dataclass
class State:
    messages: list[BaseMessage]
    last: BaseMessage


@task
def whole(form: str) -> Any:
    first, second = HumanMessage("first", id="1"), AIMessage("second", id="2")
    forms = {
        "message": first,
        "list": [first, second, "no message"],
        "dict": {"messages": [first, second], "other": ToolMessage("third", tool_call_id="t", id="3"), "x": 1},
        "object": State([first], second),
        "deeper": {"a": {"b": first}},
        "none": None,
    }
    return forms[form]


@entrypoint()
def returning(form: str) -> Any:
    return whole(form).result()


@both_ways
@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("message", ["first"]),
        ("list", ["first", "second"]),
        ("dict", ["first", "second", "third"]),
        ("object", ["first", "second"]),
        ("deeper", []),
        ("none", []),
    ],
)
def test_what_is_returned_unstreamed_comes_whole_and_once(stream: Stream, form: str, expected: list[str]) -> None:
    chunks = stream(returning, form, {"tags": ["mine"]})
    assert said(chunks) == expected
    assert all(metadata["langgraph_node"] == "whole" and metadata["tags"] == ["mine"] for _, metadata in chunks)


@both_ways
def test_what_a_body_was_given_is_no_news(stream: Stream) -> None:
    @task
    def answered(messages: list[BaseMessage], last: BaseMessage) -> Any:
        return [*messages, last, AIMessage("an answer", id="a")]

    @entrypoint()
    def chat(given: dict[str, Any]) -> Any:
        question = HumanMessage("another question", id="q2")
        return {"messages": answered(given["messages"], question).result()}

    assert said(stream(chat, {"messages": [HumanMessage("a question", id="q1")]})) == ["an answer"]


@both_ways
def test_a_message_without_an_id_gets_one_for_the_stream_only(stream: Stream) -> None:
    made: list[AIMessage] = []

    @task
    def nameless() -> AIMessage:
        made.append(AIMessage("nobody"))
        return made[-1]

    @entrypoint()
    def twice(_: str) -> list[AIMessage]:
        return [nameless().result(), nameless().result()]

    chunks = stream(twice, "")
    assert said(chunks) == ["nobody", "nobody"]
    assert None not in {message.id for message, _ in chunks}
    assert len({message.id for message, _ in chunks}) == 2
    assert [message.id for message in made] == [None, None]


@both_ways
def test_a_model_that_cannot_stream_says_everything_at_once(stream: Stream) -> None:
    @entrypoint()
    def whole(question: str) -> Any:
        return silent("in one piece").invoke(question)

    ((message, metadata),) = stream(whole, "hi")
    assert message.content == "in one piece"
    assert metadata["ls_model_type"] == "chat"


@both_ways
def test_a_model_can_be_kept_out(stream: Stream) -> None:
    @entrypoint()
    def secretive(question: str) -> Any:
        return str(speaking().invoke(question, {"tags": ["nostream"]}).content)

    assert stream(secretive, "hi") == []


@entrypoint()
def inner(question: str) -> Any:
    return ask(question).result()


@entrypoint()
def outer(question: str) -> Any:
    return inner.invoke(question)


@both_ways
def test_nested_workflows_are_shown_when_asked_for(stream: Stream) -> None:
    chunks = stream(outer, "hi", subgraphs=True)
    assert said([chunk for _, chunk in chunks]) == ["hello", " ", "there"]
    assert {len(namespace) for namespace, _ in chunks} == {1}
    assert {namespace[0].partition(":")[0] for namespace, _ in chunks} == {"inner"}


@both_ways
def test_what_was_not_shown_of_a_nested_workflow_comes_whole_when_it_is_returned(stream: Stream) -> None:
    ((message, metadata),) = stream(outer, "hi")
    assert message.content == "hello there"
    assert metadata["langgraph_node"] == "outer"


@both_ways
def test_other_modes_come_beside_it(stream: Stream) -> None:
    chunks = stream(flow, "hi", stream_mode=["messages", "updates"], thread_id="several")
    assert [mode for mode, _ in chunks] == ["messages"] * 3 + ["updates"] * 2


class Unobserved(Named):
    """Fails when it is made to stream."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        raise AssertionError("nobody listens")


@both_ways
@pytest.mark.parametrize("mode", ["updates", "custom", ["values", "updates"]])
def test_models_stream_only_for_those_who_listen(stream: Stream, mode: Any) -> None:
    @entrypoint()
    def quiet(question: str) -> str:
        return str(Unobserved(messages=iter([AIMessage("quiet")])).invoke(question).content)

    stream(quiet, "hi", stream_mode=mode)
    assert quiet.invoke("hi") == "quiet"
    with pytest.raises(AssertionError, match="nobody listens"):
        stream(quiet, "hi")


@both_ways
def test_replayed_tasks_say_nothing(stream: Stream) -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def asking(question: str) -> str:
        first = ask(question).result()
        interrupt("go on?")
        return str(ask(f"{first.content}!").result().content)

    assert said(stream(asking, "hi", thread_id="1")) == ["hello", " ", "there"]
    assert said(stream(asking, Command(resume="yes"), thread_id="1")) == ["hello", " ", "there"]


def test_an_error_comes_after_the_tokens_before_it() -> None:
    @entrypoint()
    def failing(question: str) -> None:
        speaking().invoke(question)
        raise ValueError("afterwards")

    got: list[Any] = []
    with pytest.raises(ValueError, match="afterwards"):
        for chunk in failing.stream("hi", stream_mode="messages"):
            got.append(chunk)  # noqa: PERF402
    assert said(got) == ["hello", " ", "there"]


WITHOUT = """
import sys
from durably import entrypoint, task

@task
def one() -> int:
    return 1

@entrypoint()
def flow(_: int) -> int:
    return one().result()

assert list(flow.stream(0, stream_mode="messages")) == []
from langchain_core.messages import AIMessage  # messages alone are no reason to load the rest, unless somebody streams them
assert list(flow.stream(0, stream_mode="updates")) == [{"one": 1}, {"flow": 1}]
loaded = [name for name in sys.modules if name.startswith(("langchain_core.callbacks", "durably.integrations"))]
assert not loaded, loaded

@entrypoint()
def said(_: int) -> object:
    return AIMessage("hello")

((message, _),) = said.stream(0, stream_mode="messages")
assert message.content == "hello"
"""


def test_langchain_is_never_imported_for_those_who_do_not() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT], check=True)


@both_ways
def test_tokens_can_be_joined_later(stream: Stream) -> None:
    """With or without somebody who streamed them; once, though the task returns the whole message."""

    @task
    def answer(question: str) -> Any:
        return speaking().invoke(question)

    @entrypoint(checkpointer=InMemorySaver(), durable_stream=True)
    def workflow(question: str) -> Any:
        return answer(question).result()

    live = stream(workflow, "hello?", {"configurable": {"thread_id": "1"}})
    workflow.invoke("hello?", thread_id="2")
    for thread in ("1", "2"):
        joined = [event.data for event in workflow.join_stream(thread_id=thread, stream_mode="messages")]
        assert said(joined) == said(live) == ["hello", " ", "there", *said(live)[3:]]
        assert [metadata["task"] for _, metadata in joined] == ["answer"] * len(joined)
