"""Recorded runs are exported as JSON, replayed against other code, and put into other databases."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

import durably
from durably import Command, InMemorySaver, entrypoint, interrupt, task
from durably.errors import ConfigError, NonDeterminismError
from durably.testing import aexport_history, areplay, export_history, import_history, replay

ran: Counter[Any] = Counter()


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()


@task
def step(what: Any) -> Any:
    ran[what] += 1
    return [what]


@task
async def astep(what: Any) -> Any:
    ran[what] += 1
    if what == "fails":
        raise KeyError(what)
    return [what]


def exported(workflow: Any, thread_id: str = "t") -> Any:
    history = json.loads(json.dumps(export_history(workflow, thread_id)))
    ran.clear()
    return history


def publish(saver: InMemorySaver) -> Any:
    @entrypoint(checkpointer=saver, name="publish")
    def publish(topic: str, *, previous: Any = None) -> Any:
        draft = step(topic).result()
        return [draft, interrupt("ok?"), step("publish").result(), previous]

    return publish


def finished() -> Any:
    workflow = publish(InMemorySaver())
    for topic in ("first", "second"):
        workflow.invoke(topic, thread_id="t")
        workflow.invoke(Command(resume="yes"), thread_id="t")
    return workflow


def test_a_finished_run_replays_without_calling_anything() -> None:
    workflow = finished()
    found = replay(workflow, exported(workflow))
    assert found.value == [["second"], "yes", ["publish"], [["first"], "yes", ["publish"], None]]
    assert (found.status, found.new_calls, found.error, found.questions) == ("done", (), None, ())
    assert not ran


def test_an_older_run_of_the_thread() -> None:
    workflow = finished()
    first = workflow.runs("t")[1]
    history = export_history(workflow, "t", run_id=first.run_id)
    assert replay(workflow, history).value == [["first"], "yes", ["publish"], None]


def test_a_run_that_asks_asks_again() -> None:
    workflow = publish(InMemorySaver())
    workflow.invoke("topic", thread_id="t")
    found = replay(workflow, exported(workflow))
    assert found.status == "asked"
    assert [question.value for question in found.questions] == ["ok?"]
    assert not ran


def test_an_open_run_comes_to_the_calls_it_has_still_to_make() -> None:
    class Down(Exception):
        pass

    @entrypoint(checkpointer=InMemorySaver(), name="run")
    def stopped(_: int) -> Any:
        step("a").result()
        raise Down

    @entrypoint(name="run")
    def longer(_: int) -> Any:
        return [step("a").result(), step("b").result()]

    with pytest.raises(Down):
        stopped.invoke(1, thread_id="t")
    history = exported(stopped)
    assert replay(longer, history).new_calls == ("step.1",)
    assert type(replay(stopped, history).error) is Down
    assert not ran


def test_branches_of_an_open_run() -> None:
    gate = ["closed"]

    @task
    async def waits(what: str) -> str:
        if gate and what == "b":
            raise KeyError(what)
        return what

    async def branch(what: str) -> list[str]:
        return [await waits(f"{what}0"), await waits(what), await waits(f"{what}1")]

    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        return await asyncio.gather(branch("a"), branch("b"))

    with pytest.raises(KeyError):
        run.invoke(1, thread_id="t")
    found = replay(run, exported(run))
    assert isinstance(found.error, KeyError)


def changed(how: str) -> Any:
    @entrypoint(name="publish", checkpointer=InMemorySaver())
    def changed(topic: str, *, previous: Any = None) -> Any:
        if how == "before":
            astep("new").result()
        if how == "patched" and durably.patched("new"):
            astep("new").result()
        draft = step(topic.upper() if how == "arguments" else topic).result()
        answer = interrupt("really?" if how == "question" else "ok?")
        if how == "after":
            astep("new").result()
        return [draft, answer, step("publish").result(), previous]

    return changed


@pytest.mark.parametrize("how", ["before", "arguments", "question", "after"])
def test_changes_that_would_break_it_are_found(how: str) -> None:
    history = exported(finished())
    with pytest.raises(NonDeterminismError):
        replay(changed(how), history)
    assert not ran


@pytest.mark.parametrize("how", ["nothing", "patched"])
def test_changes_that_would_not_are_let_pass(how: str) -> None:
    history = exported(finished())
    assert replay(changed(how), history).value[0] == ["second"]
    assert not ran


def test_a_new_call_before_recorded_ones_of_an_open_run() -> None:
    workflow = publish(InMemorySaver())
    workflow.invoke("topic", thread_id="t")
    with pytest.raises(NonDeterminismError, match=r"astep\.0.*before the recorded ones: interrupt\.0, step\.0"):
        replay(changed("before"), exported(workflow))


def test_handled_failures_and_nested_work() -> None:
    @task
    async def outer(what: str) -> Any:
        try:
            return await astep(what)
        except KeyError:
            return ["handled", await astep("instead")]

    @entrypoint()
    async def child(what: str) -> Any:
        return await outer(what)

    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        found = await asyncio.gather(outer("fails"), child.ainvoke("a"), return_exceptions=True)
        return [*found, await outer("b")]

    result = run.invoke(1, thread_id="t")
    history = exported(run)
    assert replay(run, history).value == result
    assert asyncio.run(areplay(run, history)).value == result
    assert not ran


def test_without_blocking_a_loop() -> None:
    workflow = finished()
    assert asyncio.run(aexport_history(workflow, "t")) == export_history(workflow, "t")


def test_into_another_database_where_it_goes_on() -> None:
    workflow = publish(InMemorySaver())
    workflow.invoke("first", thread_id="t")
    workflow.invoke(Command(resume="yes"), thread_id="t")
    workflow.invoke("second", thread_id="t")
    history = exported(workflow)
    other = InMemorySaver()
    assert import_history(history, other) == "t"
    with pytest.raises(ConfigError, match="is used"):
        import_history(history, other)
    there = publish(other)
    assert [question.value for question in there.get_state(thread_id="t").interrupts] == ["ok?"]
    result = there.invoke(Command(resume="no"), thread_id="t")
    assert result == [["second"], "no", ["publish"], [["first"], "yes", ["publish"], None]]
    assert ran == {"publish": 1}


def test_what_is_no_history() -> None:
    workflow = publish(InMemorySaver())
    with pytest.raises(ConfigError, match="has no run"):
        export_history(workflow, "unknown")
    with pytest.raises(ConfigError, match="no history"):
        replay(workflow, {"format": 99})
    history = exported(finished())
    with pytest.raises(ConfigError, match="'publish', and 'other'"):
        replay(entrypoint(name="other")(lambda x: x), history)
