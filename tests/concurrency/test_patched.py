"""Code that changes under running workflows: `patched`, and the edits that need none."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

import durably
from durably import Command, InMemorySaver, RetryPolicy, entrypoint, interrupt, task
from durably.testing import crash_everywhere

ran: Counter[Any] = Counter()


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()


@task
def step(what: Any) -> Any:
    ran[what] += 1
    return what


class Versions:
    """Two versions of one workflow on one database."""

    def __init__(self) -> None:
        saver = InMemorySaver()

        @entrypoint(checkpointer=saver, name="run", replay="strict")
        def old(asks_first: bool) -> Any:
            first = interrupt("first?") if asks_first else None
            found = [step("a").result(), step("old").result()]
            return found, first, interrupt("last?")

        @entrypoint(checkpointer=saver, name="run", replay="strict")
        def new(asks_first: bool) -> Any:
            first = interrupt("first?") if asks_first else None
            found = [step("a").result()]
            if durably.patched("better"):
                found += [step("new").result(), step("newer").result()]
            else:
                found.append(step("old").result())
            return found, first, interrupt("last?")

        @entrypoint(checkpointer=saver, name="run", replay="strict")
        def newest(asks_first: bool) -> Any:
            first = interrupt("first?") if asks_first else None
            found = [step("a").result(), step("new").result(), step("newer").result()]
            return found, first, interrupt("last?"), step("end").result()

        self.old, self.new, self.newest = old, new, newest


def test_a_new_run_has_the_change_and_keeps_it() -> None:
    versions = Versions()
    versions.new.invoke(False, thread_id="t")
    assert versions.new.invoke(Command(resume=1), thread_id="t") == (["a", "new", "newer"], None, 1)
    assert ran == {"a": 1, "new": 1, "newer": 1}


def test_a_run_that_had_passed_the_place_has_not() -> None:
    versions = Versions()
    versions.old.invoke(False, thread_id="t")
    assert versions.new.invoke(Command(resume=1), thread_id="t") == (["a", "old"], None, 1)
    assert ran == {"a": 1, "old": 1}


def test_a_run_that_had_not_come_to_the_place_has() -> None:
    versions = Versions()
    versions.old.invoke(True, thread_id="t")
    versions.new.invoke(Command(resume=0), thread_id="t")
    assert versions.new.invoke(Command(resume=1), thread_id="t") == (["a", "new", "newer"], 0, 1)


def test_the_call_can_be_taken_out_when_no_old_run_is_left() -> None:
    versions = Versions()
    versions.new.invoke(False, thread_id="t")
    assert versions.newest.invoke(Command(resume=1), thread_id="t") == (["a", "new", "newer"], None, 1, "end")
    assert ran == {"a": 1, "new": 1, "newer": 1, "end": 1}


@pytest.mark.once("counts bodies")
def test_the_answer_is_the_same_wherever_a_body_asks() -> None:
    answers: list[bool] = []
    saver = InMemorySaver()

    def version(changed: bool) -> Any:
        @entrypoint(checkpointer=saver, name="run")
        def run(n: int) -> Any:
            for i in range(n):
                if changed:
                    answers.append(durably.patched("p"))
                step(i).result()
            return interrupt("?")

        return run

    version(False).invoke(3, thread_id="t")
    version(True).invoke(Command(resume=1), thread_id="t")
    assert answers == [False] * 3
    answers.clear()
    version(True).invoke(3, thread_id="new")
    version(True).invoke(Command(resume=1), thread_id="new")
    assert answers == [True] * 6


def test_each_body_answers_for_itself() -> None:
    """Tasks that run side by side, of which one had passed the place and the other had not."""
    saver = InMemorySaver()
    answers: dict[str, bool] = {}

    def version(changed: bool) -> Any:
        @task
        def outer(name: str) -> Any:
            if name == "late":
                interrupt("start?")
            if changed:
                answers[name] = durably.patched("p")
            step(name).result()
            return interrupt(f"{name}?")

        @entrypoint(checkpointer=saver, name="run")
        def run(_: int) -> Any:
            return [future.result() for future in [outer("early"), outer("late")]]

        return run

    asked = version(False).invoke(1, thread_id="t")
    ids = {question.value: question.id for question in asked["__interrupt__"]}
    new = version(True)
    asked = new.invoke(Command(resume={ids["start?"]: 1}), thread_id="t")
    assert answers == {"early": False, "late": True}
    assert ran == {"early": 1, "late": 1}
    new.invoke(Command(resume={question.id: question.value for question in asked["__interrupt__"]}), thread_id="t")
    assert answers == {"early": False, "late": True}


def test_a_retried_body_keeps_its_answer() -> None:
    answers = []

    @task(retry_policy=RetryPolicy(initial_interval=0, jitter=False, retry_on=KeyError))
    def flaky() -> Any:
        answers.append(durably.patched("p"))
        step("in").result()
        if len(answers) < 2:
            raise KeyError
        return "ok"

    @entrypoint(checkpointer=InMemorySaver())
    def run(_: int) -> Any:
        return flaky().result()

    assert run.invoke(1, thread_id="t") == "ok"
    assert answers == [True, True]
    assert ran == {"in": 1}


def test_stopped_anywhere() -> None:
    async def branch(i: int) -> Any:
        if durably.patched("p"):
            await asyncio.to_thread(lambda: step(i).result())
        return durably.patched("q")

    @entrypoint(replay="strict")
    async def run(n: int) -> Any:
        return await asyncio.gather(*map(branch, range(n)))

    assert crash_everywhere(run, 3).result == [True] * 3
