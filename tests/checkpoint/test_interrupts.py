"""Questions: surfaced together, not swallowed, answered once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from replaying import Boom, FaultySaver, Ledger, questions

from durably import Command, InMemorySaver, entrypoint, interrupt, task
from durably.errors import (
    AlreadyAnswered,
    AmbiguousAnswerError,
    ConfigError,
    EmptyInputError,
    UnknownInterruptError,
)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def saver() -> FaultySaver:
    return FaultySaver()


@task
def confirm(what: Any) -> Any:
    return interrupt(what)


@task(name="confirm")
async def aconfirm(what: Any) -> Any:
    await asyncio.sleep(0)
    return interrupt(what)


def parallel(saver: FaultySaver, ledger: Ledger, *, is_async: bool) -> Any:
    """A workflow that asks several questions at once, beside a task that asks none."""
    if is_async:

        @task(name="other")
        async def aother(n: int) -> Any:
            return ledger.note(n)

        @entrypoint(checkpointer=saver, name="ask")
        async def aask(parts: list[str]) -> Any:
            return await asyncio.gather(*(aconfirm(part) for part in parts), aother(1))

        return aask

    @task
    def other(n: int) -> Any:
        return ledger.note(n)

    @entrypoint(checkpointer=saver)
    def ask(parts: list[str]) -> Any:
        calls = [*(confirm(part) for part in parts), other(1)]
        return [call.result() for call in calls]

    return ask


@pytest.mark.parametrize("is_async", [False, True])
def test_parallel_questions_surface_together(saver: FaultySaver, ledger: Ledger, is_async: bool) -> None:
    workflow = parallel(saver, ledger, is_async=is_async)
    ids = questions(workflow.invoke(["a", "b", "c"], thread_id="t"))
    assert sorted(ids) == ["a", "b", "c"]
    assert len(set(ids.values())) == 3
    assert ledger.take() == [1], "a task that had begun finishes"
    assert questions(workflow.invoke(None, thread_id="t")) == ids, "ids stay the same"
    with pytest.raises(AmbiguousAnswerError, match=ids["b"]):
        workflow.invoke(Command(resume="x"), thread_id="t")
    assert questions(workflow.invoke(Command(resume={ids["b"]: 2}), thread_id="t")) == {"a": ids["a"], "c": ids["c"]}
    assert questions(workflow.invoke(Command(resume={ids["a"]: 1}), thread_id="t")) == {"c": ids["c"]}
    assert workflow.invoke(Command(resume=3), thread_id="t") == [1, 2, 3, 1]
    assert ledger.take() == []


@pytest.mark.once("counts bodies")
def test_questions_one_after_another_in_one_task(saver: FaultySaver) -> None:
    runs = []

    @task
    def interview(name: str) -> Any:
        runs.append(name)
        return [interrupt(f"{name} {n}?") for n in range(3)]

    @entrypoint(checkpointer=saver)
    def ask(name: str) -> Any:
        return interview(name).result()

    result: Any = ask.invoke("Ada", thread_id="t")
    ids = set()
    for n in range(3):
        ((value, name),) = questions(result).items()
        assert value == f"Ada {n}?"
        ids.add(name)
        result = ask.invoke(Command(resume=n), thread_id="t")
    assert result == [0, 1, 2]
    assert len(ids) == 3
    assert len(runs) == 4, "a body that asks runs again from its top"


@pytest.mark.parametrize("shape", ["exception", "group"])
def test_except_exception_does_not_swallow_a_question(saver: FaultySaver, shape: str) -> None:
    swallowed = []

    @entrypoint(checkpointer=saver)
    def ask(n: int) -> Any:
        found = None
        if shape == "group":
            try:
                found = confirm("sure?").result()
            except* Exception:
                swallowed.append("group")
        else:
            try:
                found = confirm("sure?").result()
            except Exception:
                swallowed.append("exception")
        return found

    assert list(questions(ask.invoke(1, thread_id="t"))) == ["sure?"]
    assert swallowed == []
    assert ask.invoke(Command(resume="yes"), thread_id="t") == "yes"


def test_a_task_group_does_not_swallow_questions(saver: FaultySaver) -> None:
    swallowed = []

    @entrypoint(checkpointer=saver)
    async def ask(parts: list[str]) -> Any:
        async def one(part: str) -> Any:
            return await aconfirm(part)

        found: list[asyncio.Task[Any]] = []
        try:
            async with asyncio.TaskGroup() as group:
                found += [group.create_task(one(part)) for part in parts]
        except* Exception as errors:
            swallowed.append(errors)
        return [each.result() for each in found]

    async def main() -> Any:
        result: Any = await ask.ainvoke(["a", "b"], thread_id="t")
        assert questions(result)
        while isinstance(result, dict):
            answers = {name: part.upper() for part, name in questions(result).items()}
            result = await ask.ainvoke(Command(resume=answers), thread_id="t")
        return result

    assert asyncio.run(main()) == ["A", "B"]
    assert swallowed == []


@pytest.mark.parametrize("where", ["workflow", "task", "task and workflow"])
def test_a_body_that_swallows_a_question_stops_all_the_same(saver: FaultySaver, where: str) -> None:
    after = []

    @task
    def swallowing() -> Any:
        try:
            return interrupt("sure?")
        except BaseException:
            if "task" not in where:
                raise
            return "swallowed"

    @entrypoint(checkpointer=saver)
    def ask(n: int) -> Any:
        try:
            found = swallowing().result()
        except BaseException:
            if "workflow" not in where:
                raise
            return "swallowed"
        after.append(found)
        return found

    for _ in range(2):
        assert list(questions(ask.invoke(1, thread_id="t"))) == ["sure?"]
    assert after == []
    assert ask.invoke(Command(resume=0), thread_id="t") == 0


def test_a_swallowed_question_stops_the_body_at_its_next_call_or_end(saver: FaultySaver, ledger: Ledger) -> None:
    @task
    def other(n: int) -> Any:
        return ledger.note(n)

    @entrypoint(checkpointer=saver)
    def ask(n: int) -> Any:
        try:
            interrupt("sure?")
        except BaseException:
            other(n).result()
        return "went on"

    assert list(questions(ask.invoke(1, thread_id="t"))) == ["sure?"]


# Answers.


def one_question(saver: FaultySaver) -> tuple[Any, str]:
    @entrypoint(checkpointer=saver)
    def ask(n: int) -> Any:
        first = interrupt("first?")
        return first, interrupt("second?")

    return ask, questions(ask.invoke(1, thread_id="t"))["first?"]


@pytest.mark.parametrize("answer", ["text", None, 0, False, [], {}, {"a": 1}, {"yes": "no"}])
def test_a_plain_answer_may_be_anything(saver: FaultySaver, answer: Any) -> None:
    ask, _ = one_question(saver)
    ask.invoke(Command(resume=answer), thread_id="t")
    assert ask.invoke(Command(resume="z"), thread_id="t") == (answer, "z")


def test_an_unknown_id_is_refused_and_nothing_is_recorded(saver: FaultySaver) -> None:
    ask, name = one_question(saver)
    before = saver.journal("t")
    with pytest.raises(UnknownInterruptError, match=name):
        ask.invoke(Command(resume={"0" * 32: "x", name: "y"}), thread_id="t")
    assert saver.journal("t") == before
    assert ask.invoke(Command(resume={name: "y"}), thread_id="t")
    assert ask.invoke(Command(resume="z"), thread_id="t") == ("y", "z")


def test_the_same_answer_twice_is_one_and_another_is_refused(saver: FaultySaver) -> None:
    ask, name = one_question(saver)
    for _ in range(2):
        assert list(questions(ask.invoke(Command(resume={name: "x"}), thread_id="t"))) == ["second?"]
    for other in ("y", None, b"x"):
        with pytest.raises(AlreadyAnswered, match=name):
            ask.invoke(Command(resume={name: other}), thread_id="t")
    assert ask.invoke(Command(resume="z"), thread_id="t") == ("x", "z")


def test_an_answer_where_nothing_is_open(saver: FaultySaver) -> None:
    @entrypoint(checkpointer=saver)
    def plain(n: int) -> Any:
        return n

    for _ in range(2):
        with pytest.raises(UnknownInterruptError):
            plain.invoke(Command(resume="x"), thread_id="t")
        with pytest.raises(EmptyInputError):
            plain.invoke(None, thread_id="t")
        plain.invoke(1, thread_id="t")


def test_a_failed_run_without_a_question_takes_no_answer(saver: FaultySaver) -> None:
    fail = [True]

    @entrypoint(checkpointer=saver)
    def ask(n: int) -> Any:
        answer = interrupt("?")
        if fail:
            raise Boom
        return answer

    ask.invoke(1, thread_id="t")
    with pytest.raises(Boom):
        ask.invoke(Command(resume=1), thread_id="t")
    with pytest.raises(UnknownInterruptError, match="invoke"):
        ask.invoke(Command(resume=2), thread_id="t")
    fail.clear()
    assert ask.invoke(None, thread_id="t") == 1


def test_an_answer_that_cannot_be_stored_leaves_the_question_open(saver: FaultySaver) -> None:
    ask, name = one_question(saver)
    with pytest.raises(TypeError):
        ask.invoke(Command(resume=open), thread_id="t")
    assert questions(ask.invoke(None, thread_id="t")) == {"first?": name}


def test_a_question_without_a_checkpointer_surfaces_and_cannot_be_answered() -> None:
    @entrypoint()
    def ask(n: int) -> Any:
        return confirm("?").result()

    assert list(questions(ask.invoke(1))) == ["?"]
    with pytest.raises(ConfigError, match="checkpointer"):
        ask.invoke(Command(resume=1))


# Limits.


@pytest.mark.parametrize("is_async", [False, True])
def test_queued_tasks_do_not_start_after_a_question(saver: FaultySaver, ledger: Ledger, is_async: bool) -> None:
    workflow = parallel(saver, ledger, is_async=is_async)
    config = {"configurable": {"thread_id": "t"}, "max_concurrency": 1}
    result = workflow.invoke(["a", "b"], config)
    assert list(questions(result)) == ["a"]
    assert ledger.take() == []
    result = workflow.invoke(Command(resume="A"), config)
    assert list(questions(result)) == ["b"]
    assert ledger.take() == []
    assert workflow.invoke(Command(resume="B"), config) == ["A", "B", 1]
    assert ledger.take() == [1]


def test_waiting_for_a_task_that_was_held_back_asks_too(saver: FaultySaver, ledger: Ledger) -> None:
    """Neither does the body wait for ever, nor does it take the cancellation for a failure."""

    @task
    def other(n: int) -> Any:
        return ledger.note(n)

    @entrypoint(checkpointer=saver)
    def ask(n: int) -> Any:
        first, second = confirm("?"), other(1)
        while not first.done():
            pass
        try:
            return second.result(), first.result()
        except Exception:
            return "swallowed"

    config = {"configurable": {"thread_id": "t"}, "max_concurrency": 1}
    assert list(questions(ask.invoke(1, config))) == ["?"]
    assert ledger.take() == []
    assert ask.invoke(Command(resume="yes"), config) == (1, "yes")


def test_a_body_that_turns_the_signal_into_another_exception_stops_all_the_same() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def run(_: int) -> str:
        try:
            return interrupt("?")
        except BaseException:
            raise ValueError("no questions here") from None

    assert run.invoke(0, thread_id="a")["__interrupt__"][0].value == "?"
    assert run.invoke(Command(resume="yes"), thread_id="a") == "yes"
