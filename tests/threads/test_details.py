"""Details of runs and threads that ported programs rely on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durably import Command, entrypoint, interrupt, task
from durably.checkpoint.base import BaseCheckpointer
from durably.errors import EmptyInputError

CONFIG = {"configurable": {"thread_id": "t"}}


def test_without_a_checkpointer_a_question_still_comes_out(do: Any) -> None:
    @task
    def ask(what: str) -> Any:
        return interrupt(what)

    @entrypoint()
    def flow(what: str) -> Any:
        return ask(what).result()

    (question,) = do(flow, "invoke", "sure?")["__interrupt__"]
    assert question.value == "sure?"


def test_a_new_input_starts_fresh_calls(saver: BaseCheckpointer, do: Any) -> None:
    ran: list[int] = []

    @task
    def work(x: int) -> int:
        ran.append(x)
        return x

    @entrypoint(checkpointer=saver)
    def flow(x: int) -> Any:
        return [work(x).result(), interrupt("sure?")]

    for _ in range(2):
        do(flow, "invoke", 1, CONFIG)
    assert ran == [1, 1]
    assert do(flow, "invoke", Command(resume="yes"), CONFIG) == [1, "yes"]
    assert ran == [1, 1]


def test_nothing_to_resume_says_so(saver: BaseCheckpointer, do: Any) -> None:
    @entrypoint(checkpointer=saver)
    def flow(x: int) -> int:
        return x

    with pytest.raises(EmptyInputError, match="never run"):
        do(flow, "invoke", None, CONFIG)
    do(flow, "invoke", 1, CONFIG)
    with pytest.raises(EmptyInputError, match="is done"):
        do(flow, "invoke", None, CONFIG)


def test_a_task_that_finished_with_none_is_finished(saver: BaseCheckpointer, do: Any) -> None:
    ran: list[str] = []

    @task
    def work() -> None:
        ran.append("work")

    @entrypoint(checkpointer=saver)
    def flow(_: str) -> Any:
        return [work().result(), interrupt("sure?")]

    do(flow, "invoke", "", CONFIG)
    assert do(flow, "invoke", Command(resume=None), CONFIG) == [None, None]
    assert ran == ["work"]


def test_cancelled_async_tasks_run_again_on_resume(saver: BaseCheckpointer) -> None:
    ran: list[str] = []

    @task
    async def quick() -> str:
        ran.append("quick")
        return "quick"

    @task
    async def slow() -> str:
        ran.append("slow")
        if ran.count("slow") == 1:
            begun.set()
            await asyncio.Event().wait()
        return "slow"

    begun = asyncio.Event()

    @entrypoint(checkpointer=saver)
    async def flow(_: str) -> Any:
        return [await quick(), await slow()]

    async def whole() -> Any:
        first = asyncio.create_task(flow.ainvoke("", CONFIG))
        await begun.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await flow.aget_state(CONFIG)).metadata["status"] == "stopped"  # type: ignore[index]
        return await flow.ainvoke(None, CONFIG)

    assert asyncio.run(whole()) == ["quick", "slow"]
    assert ran == ["quick", "slow", "slow"]


def test_a_nested_workflow_called_twice_in_a_task_keeps_its_journals_apart(saver: BaseCheckpointer, do: Any) -> None:
    ran: list[str] = []

    @task
    def step(name: str) -> str:
        ran.append(name)
        return name

    @entrypoint()
    def child(name: str) -> Any:
        return [step(name).result(), interrupt(f"{name}?")]

    @task
    def twice() -> Any:
        return [child.invoke("a"), child.invoke("b")]

    @entrypoint(checkpointer=saver)
    def parent(_: str) -> Any:
        return twice().result()

    for answer, question in ((None, "a?"), (1, "b?")):
        given = "" if answer is None else Command(resume=answer)
        assert do(parent, "invoke", given, CONFIG)["__interrupt__"][0].value == question
    assert do(parent, "invoke", Command(resume=2), CONFIG) == [["a", 1], ["b", 2]]
    assert ran == ["a", "b"]


def test_several_questions_are_answered_in_part(saver: BaseCheckpointer, do: Any) -> None:
    @task
    def ask(what: str) -> Any:
        return interrupt(what)

    @entrypoint(checkpointer=saver)
    def flow(_: str) -> Any:
        return [answer.result() for answer in [ask("a"), ask("b"), ask("c")]]

    ids = {q.value: q.id for q in do(flow, "invoke", "", CONFIG)["__interrupt__"]}
    do(flow, "invoke", Command(resume={ids["b"]: 2}), CONFIG)
    state = do(flow, "get_state", CONFIG)
    assert {q.value: q.id for q in state.interrupts} == {"a": ids["a"], "c": ids["c"]}
    assert state.tasks[0].interrupts == state.interrupts
    assert do(flow, "invoke", Command(resume={ids["c"]: 3, ids["a"]: 1}), CONFIG) == [1, 2, 3]
