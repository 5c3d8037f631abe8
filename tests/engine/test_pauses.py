"""Pauses, values that bodies say themselves, and tasks that say what identifies and shows their calls."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from durably import Command, InMemorySaver, entrypoint, get_stream_writer, interrupt, task
from durably.concurrency import pause
from durably.errors import ConfigError, UnknownInterruptError
from durably.testing import always_replay
from durably.types import Display

calls = list[Any]()


@pytest.fixture(autouse=True)
def _forget() -> None:
    calls.clear()


@task
def double(x: int) -> int:
    calls.append(x)
    return 2 * x


@entrypoint(checkpointer=InMemorySaver())
def pausing(x: int) -> int:
    for _ in range(2):
        x = double(x).result()
        pause("doubled")
    return x


def test_a_pause_stops_once() -> None:
    assert pausing.invoke(1, thread_id="1") == {"__interrupt__": []}
    assert pausing.get_state(thread_id="1").next == ("pausing",)
    with pytest.raises(UnknownInterruptError):
        pausing.invoke(Command(resume="x"), thread_id="1")
    assert pausing.invoke(None, thread_id="1") == {"__interrupt__": []}
    assert pausing.invoke(None, thread_id="1") == 4
    assert calls == [1, 2]


def test_a_pause_in_a_task_and_on_an_event_loop() -> None:
    @task
    async def stops(x: int) -> int:
        pause()
        return x

    @entrypoint(checkpointer=InMemorySaver())
    async def workflow(x: int) -> int:
        return await stops(x)

    async def main() -> Any:
        assert await workflow.ainvoke(5, thread_id="1") == {"__interrupt__": []}
        return await workflow.ainvoke(None, thread_id="1")

    assert asyncio.run(main()) == 5


def test_a_pause_needs_a_checkpointer() -> None:
    @entrypoint()
    def workflow(_: int) -> None:
        pause()

    with pytest.raises(ConfigError, match="a run that is not stored cannot be gone on with"):
        workflow.invoke(1)


@entrypoint(checkpointer=InMemorySaver())
def saying(x: int) -> dict[str, int]:
    say = get_stream_writer("values")
    for _ in range(2):
        say({"x": x})
        x = double(x).result()
    say({"x": x})
    x += interrupt("how much?")
    say({"x": x})
    return {"x": x}


@pytest.mark.once("counts chunks")
def test_values_are_said_again_only_where_the_last_attempt_left_off() -> None:
    first = list(saying.stream(1, thread_id="1", stream_mode="values"))
    assert [chunk["x"] for chunk in first] == [1, 2, 4, 4]
    assert [question.value for question in first[-1]["__interrupt__"]] == ["how much?"]
    again = list(saying.stream(Command(resume=3), thread_id="1", stream_mode="values"))
    assert again == [None, {"x": 7}]  # the thread's value before the run, and what is new
    assert calls == [1, 2]


def test_who_asks_gives_the_value_so_far() -> None:
    asked = saying.invoke(1, thread_id="2")
    assert asked["x"] == 4
    assert saying.invoke(1, thread_id="3", version="v2").value == {"x": 4}


def large(what: list[int], name: str) -> tuple[Any, ...]:
    return (name,)


@task(identity=large)
def count(what: list[int], name: str) -> int:
    calls.append(name)
    return len(what)


def test_calls_are_recognized_by_what_identifies_them() -> None:
    size = [1]

    @entrypoint(checkpointer=InMemorySaver())
    def workflow(_: int) -> list[int]:
        found = [count(list(range(size[0])), "a").result(), count([], "b").result()]
        return [*found, interrupt("ok?")]

    workflow.invoke(1, thread_id="1")
    size[0] = 5  # other arguments, and yet the same call
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert workflow.invoke(Command(resume=0), thread_id="1") == [1, 0, 0]
    assert calls == ["a", "b"]
    assert [call.arguments for call in workflow.runs("1")[0].calls() if call.name == "count"] == ["'a'", "'b'"]


def test_what_streams_show_of_a_call() -> None:
    @task(display=Display(input=lambda x: f"<{x}>", update=lambda result: result["text"]))
    def shown(x: int) -> dict[str, Any]:
        return {"text": str(x), "secret": 1}

    @task(display=Display(hidden=True))
    def hidden(x: int) -> int:
        return x

    @entrypoint()
    def workflow(x: int) -> int:
        return hidden(shown(x).result()["secret"]).result()

    chunks = list(workflow.stream(7, stream_mode=["updates", "tasks"]))
    assert [chunk for mode, chunk in chunks if mode == "updates"] == [{"shown": "7"}, {"workflow": 1}]
    tasks = [chunk for mode, chunk in chunks if mode == "tasks" and chunk["name"] != "workflow"]
    assert (tasks[0]["input"], tasks[1]["result"], len(tasks)) == ("<7>", {"__return__": "7"}, 2)


class TestKilledOnTheWayToThePause:
    """Nobody has seen the pause yet, so whoever recovers the run comes to it again, and does not pass."""

    def test_while_another_call_was_recorded(self) -> None:
        saver, gate = InMemorySaver(), threading.Event()

        @task
        def late(x: int) -> int:
            gate.wait()
            return x

        @entrypoint(checkpointer=saver)
        def careful(x: int) -> int:
            beside = late(x)
            try:
                pause()
            finally:
                gate.set()  # so that it is written before the attempt has ended
            return beside.result()

        with crashing(saver), pytest.raises(OSError):
            careful.invoke(1, thread_id="1", durability="sync")
        assert [call.name for call in careful.runs("1")[0].calls()] == ["late"]
        assert careful.invoke(None, thread_id="1") == {"__interrupt__": []}
        assert careful.invoke(None, thread_id="1") == 1

    def test_under_always_replay(self) -> None:
        with always_replay():
            assert pausing.invoke(1, thread_id="replayed") == {"__interrupt__": []}
            assert pausing.invoke(None, thread_id="replayed") == {"__interrupt__": []}
            assert pausing.invoke(None, thread_id="replayed") == 4
        assert calls == [1, 2]

    def test_a_pause_is_passed_by_an_answer_to_a_question_beside_it(self) -> None:
        @task
        def asks() -> str:
            return str(interrupt("name?"))

        @entrypoint(checkpointer=InMemorySaver())
        def both(_: int) -> str:
            asked = asks()
            pause()
            return asked.result()

        (question,) = both.invoke(1, thread_id="1")["__interrupt__"]
        assert both.invoke(Command(resume={question.id: "Ada"}), thread_id="1") == "Ada"


@contextmanager
def crashing(saver: InMemorySaver) -> Iterator[None]:
    """The database refuses what would end the attempt, which is all that a killed process leaves out."""
    transact = saver.transact

    def refuse(works: Any, **options: Any) -> Any:
        if any(getattr(work, "__qualname__", "").startswith("settle") for work in works):
            raise OSError("killed")
        return transact(works, **options)

    saver.transact = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        saver.transact = transact  # type: ignore[method-assign]
