"""`record`: streams of the OpenAI and Anthropic clients, read once and replayed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from model_server import WORDS, ModelServer, serving

from durably import Command, InMemorySaver, RetryPolicy, entrypoint, interrupt, record, task
from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import ConfigError, EncodeError, TaskFailed
from durably.recording import MessageChunk
from durably.recording.protocols import Teller, joined, read

TEXT = "".join(WORDS)
ASK: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def running() -> Iterator[ModelServer]:
    with serving() as model:
        yield model


@pytest.fixture
def model(running: ModelServer) -> ModelServer:
    running.requests.clear()
    running.break_after.clear()
    return running


@pytest.fixture
def clients(model: ModelServer) -> Iterator[dict[str, Any]]:
    with (
        openai.OpenAI(base_url=f"{model.url}/v1", api_key="none", max_retries=0) as o,
        anthropic.Anthropic(base_url=model.url, api_key="none", max_retries=0) as a,
    ):
        yield {"openai": o, "anthropic": a}


def requests(kind: str, clients: dict[str, Any]) -> Callable[[], Any]:
    """A function that makes a request of that kind."""
    makers: dict[str, Callable[[], Any]] = {
        "chat": lambda: clients["openai"].chat.completions.create(model="paper", messages=ASK, stream=True),
        "chat helper": lambda: clients["openai"].chat.completions.stream(model="paper", messages=ASK),
        "responses": lambda: clients["openai"].responses.create(model="paper", input="hi", stream=True),
        "responses helper": lambda: clients["openai"].responses.stream(model="paper", input="hi"),
        "messages": lambda: clients["anthropic"].messages.create(
            model="paper", max_tokens=9, messages=ASK, stream=True
        ),
        "messages helper": lambda: clients["anthropic"].messages.stream(model="paper", max_tokens=9, messages=ASK),
    }
    return makers[kind]


KINDS = ["chat", "responses", "messages"]
kinds = pytest.mark.parametrize("kind", KINDS)
all_kinds = pytest.mark.parametrize("kind", [*KINDS, *(f"{kind} helper" for kind in KINDS)])


def text_in(events: list[Any]) -> str:
    """What a program makes of the events of any of them."""
    text = ""
    for event in events:
        if event.__class__.__name__ == "ChatCompletionChunk":
            text += (event.choices[0].delta.content or "") if event.choices else ""
        elif event.type == "response.output_text.delta":
            text += event.delta
        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
            text += event.delta.text
    return text


def arguments_in(events: list[Any]) -> str:
    text = ""
    for event in events:
        if event.__class__.__name__ == "ChatCompletionChunk":
            calls = (event.choices[0].delta.tool_calls or []) if event.choices else []
            text += "".join(call.function.arguments or "" for call in calls)
        elif event.type == "response.function_call_arguments.delta":
            text += event.delta
        elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
            text += event.delta.partial_json
    return text


def asking(events: list[Any], recorded: Callable[[], Any], saver: Any) -> Any:
    """A workflow that reads a stream, keeps its events, and asks."""

    @entrypoint(checkpointer=saver)
    def flow(_: str) -> list[str]:
        events[:] = recorded()
        return [text_in(events), arguments_in(events), interrupt("go on?")]

    return flow


@all_kinds
@pytest.mark.once("compares the first pass with a replay")
def test_a_stream_is_read_once_and_replayed(kind: str, model: ModelServer, clients: dict[str, Any]) -> None:
    events: list[Any] = []
    flow = asking(events, lambda: record(requests(kind, clients)), SqliteSaver(":memory:"))
    flow.invoke("", thread_id="1")
    live = list(events)
    assert text_in(live) == TEXT
    assert flow.invoke(Command(resume="yes"), thread_id="1") == [TEXT, '{"word": "bee"}', "yes"]
    assert len(model.requests) == 1
    assert len(events) < len(live)
    assert {type(event) for event in events} == {type(event) for event in live}
    assert events[-1] == live[-1]


@all_kinds
def test_a_helper_may_be_given_itself(kind: str, model: ModelServer, clients: dict[str, Any]) -> None:
    if kind in KINDS:
        assert list(record(requests(kind, clients))) == list(requests(kind, clients)())
        return
    events: list[Any] = []
    flow = asking(events, lambda: record(requests(kind, clients)()), InMemorySaver())
    flow.invoke("", thread_id="1")
    assert flow.invoke(Command(resume="yes"), thread_id="1") == [TEXT, '{"word": "bee"}', "yes"]
    assert len(model.requests) == 1


@all_kinds
@pytest.mark.parametrize("given", ["the request", "a function"])
def test_the_same_with_an_async_client(kind: str, given: str, model: ModelServer) -> None:
    events: list[Any] = []

    @entrypoint(checkpointer=InMemorySaver())
    async def flow(_: str) -> list[str]:
        request = requests(kind, clients)
        source = request if given == "a function" else request()
        events[:] = [event async for event in record(source)]
        return [text_in(events), arguments_in(events), interrupt("go on?")]

    async def main() -> None:
        async with (
            openai.AsyncOpenAI(base_url=f"{model.url}/v1", api_key="none", max_retries=0) as o,
            anthropic.AsyncAnthropic(base_url=model.url, api_key="none", max_retries=0) as a,
        ):
            clients.update(openai=o, anthropic=a)
            await flow.ainvoke("", thread_id="1")
            assert text_in(events) == TEXT
            answer = await flow.ainvoke(Command(resume="yes"), thread_id="1")
            assert answer == [TEXT, '{"word": "bee"}', "yes"]

    clients: dict[str, Any] = {}
    asyncio.run(main())
    assert len(model.requests) == 1


# The stream mode messages.


@kinds
def test_what_the_model_says_is_streamed(kind: str, model: ModelServer, clients: dict[str, Any]) -> None:
    @task
    def ask() -> str:
        return text_in(list(record(requests(kind, clients))))

    @entrypoint(checkpointer=InMemorySaver())
    def flow(_: str) -> str:
        return ask().result()

    config = {"tags": ["nightly"], "metadata": {"user": "Ada"}, "configurable": {"thread_id": "7"}}
    chunks = list(flow.stream("", config, stream_mode="messages"))
    messages = [message for message, _ in chunks]
    assert {type(message) for message in messages} == {MessageChunk}
    assert [message.content for message in messages if message.content] == WORDS
    calls = [call for message in messages for call in message.tool_call_chunks]
    assert [call["name"] for call in calls if call["name"]] == ["look_up"]
    assert [call["id"] for call in calls if call["id"]] == ["call_1"]
    assert "".join(call["args"] or "" for call in calls) == '{"word": "bee"}'
    assert len({message.id for message in messages}) == 1
    assert messages[0].id
    known = {
        "task": "ask",
        "langgraph_node": "ask",
        "thread_id": "7",
        "tags": ["nightly"],
        "user": "Ada",
        "ls_provider": "anthropic" if kind == "messages" else "openai",
        "ls_model_name": "paper",
        "ls_integration": "durably.record",
    }
    for _, metadata in chunks:
        assert metadata | known == metadata


def test_a_replayed_stream_says_nothing(model: ModelServer, clients: dict[str, Any]) -> None:
    flow = asking([], lambda: record(requests("chat", clients)), InMemorySaver())
    assert len(list(flow.stream("", thread_id="1", stream_mode="messages"))) > len(WORDS)
    assert list(flow.stream(Command(resume="yes"), thread_id="1", stream_mode="messages")) == []


# Which record belongs to which stream.


def test_each_stream_has_its_own_record(model: ModelServer) -> None:
    asked: list[str] = []

    def saying(*words: str) -> Callable[[], Iterator[str]]:
        def begin() -> Iterator[str]:
            asked.append(words[0])
            yield from words

        return begin

    @task
    def say(word: str) -> str:
        return "".join(record(saying(word, "!")))

    @entrypoint(checkpointer=InMemorySaver())
    def flow(_: str) -> list[str]:
        both = [record(saying("a", "b")), record(saying("c"), name="other"), record(saying("d"))]
        second = list(both[1])  # the order of reading does not matter
        return [*both[0], *second, *both[2], say("e").result(), say("f").result(), interrupt("?")]

    flow.invoke("", thread_id="1")
    assert flow.invoke(Command(resume="!"), thread_id="1") == ["a", "b", "c", "d", "e!", "f!", "!"]
    assert asked == ["c", "a", "d", "e", "f"]
    names = [call.name for call in flow.runs("1")[0].calls()]
    assert (names.count("record"), names.count("other")) == (4, 1)


def test_parallel_async_streams(model: ModelServer) -> None:
    asked: list[str] = []

    async def letters(word: str) -> AsyncIterator[str]:
        asked.append(word)
        for letter in word:
            await asyncio.sleep(0)
            yield letter

    async def read_all(word: str) -> str:
        return "".join([letter async for letter in record(letters(word))])

    @entrypoint(checkpointer=InMemorySaver())
    async def flow(_: str) -> list[str]:
        words = await asyncio.gather(*(read_all(word) for word in ("one", "two", "three")))
        return [*words, interrupt("?")]

    async def main() -> Any:
        await flow.ainvoke("", thread_id="1")
        return await flow.ainvoke(Command(resume="!"), thread_id="1")

    assert asyncio.run(main()) == ["one", "two", "three", "!"]
    assert asked == ["one", "two", "three"]


def test_a_retry_of_a_task_reuses_its_streams() -> None:
    asked: list[int] = []

    def tokens() -> Iterator[str]:
        asked.append(1)
        yield "token"

    for saver in (InMemorySaver(), None):
        failures = [ValueError("afterwards")]

        @task(retry_policy=RetryPolicy(initial_interval=0.0, retry_on=ValueError))
        def ask() -> list[str]:
            events = list(record(tokens))
            if failures:
                raise failures.pop()
            return events

        @entrypoint(checkpointer=saver)
        def flow(_: str) -> list[str]:
            return ask().result()

        assert flow.invoke("", thread_id="1") == ["token"]
    assert asked == [1, 1]


# Failures.


@kinds
def test_a_stream_that_breaks_off_is_tried_again(kind: str, model: ModelServer, clients: dict[str, Any]) -> None:
    model.break_after = [2]
    flow = asking([], lambda: record(requests(kind, clients)), InMemorySaver())
    with pytest.raises((openai.APIError, anthropic.APIError), match="overloaded"):
        flow.invoke("", thread_id="1")
    flow.invoke(None, thread_id="1")
    assert flow.invoke(Command(resume="yes"), thread_id="1")[0] == TEXT
    assert len(model.requests) == 2


def test_a_handled_failure_is_history_with_what_came_before_it() -> None:
    asked: list[int] = []

    def breaking() -> Iterator[str]:
        asked.append(1)
        yield from ["a", "b"]
        raise ConnectionError("broke off")

    @entrypoint(checkpointer=InMemorySaver())
    def flow(_: str) -> str:
        text = ""
        try:
            for token in record(breaking):
                text += token
        except ConnectionError as error:
            text += f" ({error})"
        return f"{text} {interrupt('?')}"

    flow.invoke("", thread_id="1")
    assert flow.invoke(Command(resume="!"), thread_id="1") == "ab (broke off) !"
    assert asked == [1]


def test_a_retry_policy_asks_again(model: ModelServer, clients: dict[str, Any]) -> None:
    model.break_after = [2]
    read: list[int] = []

    @task(retry_policy=RetryPolicy(initial_interval=0.0, retry_on=openai.APIError))
    def ask() -> str:
        events = []
        for event in record(requests("chat", clients)):
            events.append(event)
            read.append(1)
        return text_in(events)

    @entrypoint(checkpointer=InMemorySaver())
    def flow(_: str) -> list[str]:
        return [ask().result(), interrupt("?")]

    flow.invoke("", thread_id="1")
    assert flow.invoke(Command(resume="!"), thread_id="1") == [TEXT, "!"]
    assert len(model.requests) == 2


@pytest.mark.once("sees the failure itself, as only the first pass does")
def test_a_failure_that_cannot_be_rebuilt_ends_the_attempt() -> None:
    class Hidden(Exception):
        def __new__(cls, *args: Any) -> Hidden:
            return super().__new__(cls, *args)

    def breaking() -> Iterator[str]:
        yield "a"
        raise Hidden(object())

    @entrypoint(checkpointer=InMemorySaver())
    def flow(_: str) -> str:
        try:
            return "".join(record(breaking))
        except Exception as error:
            return f"{type(error).__name__} {interrupt('?')}"

    flow.invoke("", thread_id="1")
    with pytest.raises(TaskFailed, match="Hidden"):
        flow.invoke(Command(resume="!"), thread_id="1")


def test_an_event_that_cannot_be_stored_is_refused() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def flow(_: str) -> int:
        return len(list(record(lambda: iter([object()]))))

    with pytest.raises(EncodeError, match=r"record\(\)"):
        flow.invoke("", thread_id="1")


# Left early, closed, and outside.


@pytest.mark.once("what is not recorded begins again in each pass")
def test_a_loop_left_early_closes_the_stream_and_records_nothing() -> None:
    told: list[str] = []

    def tokens() -> Iterator[str]:
        told.append("begin")
        try:
            yield from "abc"
        finally:
            told.append("closed")

    @entrypoint(checkpointer=InMemorySaver())
    def flow(_: str) -> str:
        events = iter(record(tokens))
        first = next(events)
        events.close()  # type: ignore[attr-defined]
        return first + interrupt("?")

    flow.invoke("", thread_id="1")
    assert told == ["begin", "closed"]
    assert flow.invoke(Command(resume="!"), thread_id="1") == "a!"
    assert told == ["begin", "closed"] * 2


def test_outside_a_run_the_events_pass_through(model: ModelServer, clients: dict[str, Any]) -> None:
    assert text_in(list(record(requests("chat", clients)))) == TEXT
    assert list(record(iter_of("abc"))) == ["a", "b", "c"]


def iter_of(text: str) -> Iterator[str]:
    yield from text


async def aiter_of(text: str) -> AsyncIterator[str]:
    for letter in text:
        yield letter


def test_a_request_that_was_made_already_is_refused(model: ModelServer, clients: dict[str, Any]) -> None:
    with requests("chat", clients)() as stream, pytest.raises(ConfigError, match="record\\(lambda"):
        record(stream)
    with pytest.raises(ConfigError, match="list"):
        record(["a"])


class Open:
    """A stream of a sync client."""

    def __init__(self, closed: list[int]) -> None:
        self._closed = closed

    def __iter__(self) -> Iterator[str]:
        return iter("a")

    def close(self) -> None:
        self._closed.append(1)


def test_colours_must_agree() -> None:
    async def reading() -> None:
        with pytest.raises(ConfigError, match="read it with `for`"):
            [event async for event in record(iter_of("a"))]

    asyncio.run(reading())
    with pytest.raises(ConfigError, match="read it with `async for`"):
        list(record(aiter_of("a")))

    closed: list[int] = []

    async def closing() -> None:
        with pytest.raises(ConfigError, match="read it with `for`"):
            [event async for event in record(lambda: Open(closed))]

    asyncio.run(closing())
    assert closed == [1]

    async def request() -> AsyncIterator[str]:
        raise AssertionError

    with pytest.raises(ConfigError, match="read it with `async for`"):
        list(record(request()))


def test_a_recording_is_read_once() -> None:
    recording = record(iter_of("ab"))
    assert list(recording) == ["a", "b"]
    with pytest.raises(ConfigError, match="read once"):
        list(recording)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_durabilities(durability: Any) -> None:
    asked: list[int] = []

    def tokens() -> Iterator[str]:
        asked.append(1)
        yield "a"

    @entrypoint(checkpointer=InMemorySaver())
    def flow(_: str) -> str:
        return "".join(record(tokens)) + interrupt("?")

    flow.invoke("", thread_id="1", durability=durability)
    assert flow.invoke(Command(resume="!"), thread_id="1") == "a!"
    assert asked == [1]


# What is stored.


@all_kinds
def test_deltas_are_joined_and_nothing_else(kind: str, model: ModelServer, clients: dict[str, Any]) -> None:
    live = [read(event) for event in record(requests(kind, clients))]
    stored: list[Any] = []
    for event in live:
        both = joined(stored[-1], event) if stored else None
        stored[len(stored) - (both is not None) :] = [both or event]
    assert len(stored) == len(live) - (len(WORDS) - 1) - 1 - (2 if kind.startswith("chat") else 0)
    assert [event for event in stored if event in live][-1] == live[-1]


@pytest.mark.parametrize("event", [("openai.chat", {}), ("openai.responses", {}), ("anthropic.messages", {}), ("", 1)])
def test_an_unusual_event_says_nothing(event: Any) -> None:
    assert Teller().chunk(event) is None


@pytest.mark.once("counts what each pass reads again")
def test_a_nested_workflow_that_records_nothing_reads_again() -> None:
    asked: list[int] = []

    def tokens() -> Iterator[str]:
        asked.append(1)
        yield "a"

    @entrypoint(checkpointer=False)
    def forgetful(_: str) -> str:
        return "".join(record(tokens))

    @entrypoint(checkpointer=InMemorySaver())
    def flow(_: str) -> str:
        text = "".join(record(tokens))
        forgotten = forgetful.invoke("") if interrupt("?") else ""
        return text + forgotten + interrupt("again?")

    flow.invoke("", thread_id="1")
    flow.invoke(Command(resume="!"), thread_id="1")
    assert flow.invoke(Command(resume="."), thread_id="1") == "aa."
    assert "record" in [call.name for call in flow.runs("1")[0].calls()]
    assert len(asked) == 3  # once for the caller, and for each attempt of what records nothing


CHUNK = {"id": "1", "object": "chat.completion.chunk"}


def chunk(index: int = 0, finish: str | None = None, logprobs: Any = None, **delta: Any) -> Any:
    choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
    return "openai.chat", {**CHUNK, "choices": [choice]}


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (chunk(content="a"), chunk(content="b"), chunk(content="ab")),
        (chunk(role="assistant", content=""), chunk(content="b"), chunk(role="assistant", content="b")),
        (chunk(role="assistant", content=None), chunk(content="b"), chunk(role="assistant", content="b")),
        (chunk(reasoning_content="a"), chunk(reasoning_content="b"), chunk(reasoning_content="ab")),
        (
            chunk(content="a", logprobs={"content": [1], "refusal": None}),
            chunk(content="b", logprobs={"content": [2], "refusal": None}),
            chunk(content="ab", logprobs={"content": [1, 2], "refusal": None}),
        ),
        (chunk(content="a"), chunk(reasoning_content="b"), None),
        (chunk(content="a"), chunk(content="b", index=1), None),
        (chunk(content="a"), chunk(content="b", finish="stop"), None),
        (chunk(content="a", finish="stop"), chunk(content="b"), None),
        (chunk(content="a"), chunk(audio="b"), None),
        (chunk(content="a"), ("openai.responses", {}), None),
        (("", "a"), ("", "b"), None),
        (("openai.chat", {}), ("openai.chat", {}), None),  # as no protocol has it
        (("openai.chat", {"choices": None}), chunk(content="b"), None),
        (("anthropic.messages", {}), ("anthropic.messages", {"type": "?"}), None),
    ],
)
def test_what_is_joined(one: Any, other: Any, both: Any) -> None:
    assert joined(one, other) == both
