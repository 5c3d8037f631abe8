"""Branches: asyncio tasks and named blocks have scopes of their own, so their order does not matter on replay."""

from __future__ import annotations

import asyncio
import contextvars
import random
import sys
import threading
from collections import Counter
from typing import Any

import pytest

import durably
from durably import Command, InMemorySaver, entrypoint, interrupt, task
from durably.errors import ConfigError, OutsideRunError
from durably.testing import crash_everywhere

ran: Counter[Any] = Counter()


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()


@task
async def step(what: Any) -> Any:
    ran[what] += 1
    await asyncio.sleep(0)
    return what


@task
def sync_step(what: Any) -> Any:
    ran[what] += 1
    return what


def scopes(workflow: Any, thread_id: str = "t") -> dict[Any, str]:
    return {call.value: call.scope for call in workflow.runs(thread_id)[0].calls()}


# Numbered.


def test_a_gathered_coroutine_is_a_branch_numbered_by_its_parent() -> None:
    async def two(name: str) -> list[Any]:
        return [await step((name, i)) for i in range(2)]

    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        return [await step("first"), await asyncio.gather(two("a"), two("b")), await step("last")]

    run.invoke(1, thread_id="t")
    assert scopes(run) == {
        "first": "",
        ("a", 0): "~0",
        ("a", 1): "~0",
        ("b", 0): "~1",
        ("b", 1): "~1",
        "last": "",
    }


def test_branches_of_a_task_belong_to_the_task() -> None:
    @task
    async def outer(name: str) -> Any:
        async with asyncio.TaskGroup() as group:
            parts = [group.create_task(part((name, i))) for i in range(2)]
        return [p.result() for p in parts]

    async def part(what: Any) -> Any:
        inner = asyncio.create_task(branch_of_branch(what))
        return await step(what), await inner

    async def branch_of_branch(what: Any) -> Any:
        return await step((*what, "deep"))

    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        return await asyncio.gather(outer("a"), outer("b"))

    run.invoke(1, thread_id="t")
    calls = run.runs("t")[0].calls()
    found = {call.value: call.scope for call in calls if call.name == "step"}
    assert found == {
        ("a", 0): "outer.0~0",
        ("a", 0, "deep"): "outer.0~0~0",
        ("a", 1): "outer.0~1",
        ("a", 1, "deep"): "outer.0~1~0",
        ("b", 0): "outer.1~0",
        ("b", 0, "deep"): "outer.1~0~0",
        ("b", 1): "outer.1~1",
        ("b", 1, "deep"): "outer.1~1~0",
    }


@pytest.mark.parametrize("how", ["gather", "group", "create", "wait"])
@pytest.mark.once("notes what bodies see")
def test_equal_looking_calls_of_branches_keep_their_own_results(how: str) -> None:
    """The n-th call of each branch has the same name and number, and the branches race."""
    chance = random.Random(7)
    made = iter(range(1000))

    @task
    async def ticket(branch: int) -> int:
        await asyncio.sleep(chance.choice((0, 0, 0.002)))
        return next(made)

    async def walk(branch: int, seen: dict[int, list[int]]) -> None:
        for _ in range(3):
            await asyncio.sleep(chance.choice((0, 0.001)))
            seen[branch].append(await ticket(branch))

    async def together(seen: dict[int, list[int]]) -> None:
        if how == "gather":
            await asyncio.gather(*(walk(i, seen) for i in range(4)))
        elif how == "group":
            async with asyncio.TaskGroup() as group:
                for i in range(4):
                    group.create_task(walk(i, seen))
        elif how == "create":
            for each in [asyncio.create_task(walk(i, seen)) for i in range(4)]:
                await each
        else:
            await asyncio.wait([asyncio.create_task(walk(i, seen)) for i in range(4)])

    attempts = []

    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    async def run(_: int) -> Any:
        seen: dict[int, list[int]] = {i: [] for i in range(4)}
        await together(seen)
        attempts.append(seen)
        return interrupt("?")

    run.invoke(1, thread_id="t")
    run.invoke(Command(resume=1), thread_id="t")
    assert attempts[0] == attempts[1]
    assert sorted(n for found in attempts[0].values() for n in found) == list(range(12))


def test_stopped_anywhere_with_random_interleavings() -> None:
    chance = random.Random(1)

    async def walk(branch: int) -> list[Any]:
        found = []
        for i in range(3):
            await asyncio.sleep(chance.choice((0, 0.0005)))
            found.append(await step((branch, i)))
            found.append(await asyncio.to_thread(lambda i=i: sync_step((branch, i, "sync")).result()))
        return found

    @entrypoint(replay="strict")
    async def run(n: int) -> Any:
        walks = await asyncio.gather(*map(walk, range(n)))
        return [*walks, await step("end")]

    sweep = crash_everywhere(run, 3)
    assert sweep.result[-1] == "end"
    assert sweep.ran == {"step": 10, "sync_step": 9}
    assert len(sweep.stops) >= 5


# Named.


def test_a_named_branch_may_move() -> None:
    order = ["left", "right"]

    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    def run(_: int) -> Any:
        found = {}
        for name in order:
            with durably.branch(name):
                found[name] = sync_step(0).result(), interrupt(name) if name == "right" else None
        return found

    run.invoke(1, thread_id="t")
    order.reverse()
    assert run.invoke(Command(resume="yes"), thread_id="t") == {"left": (0, None), "right": (0, "yes")}
    assert ran == {0: 2}
    keys = {str(call.key) for call in run.runs("t")[0].calls()}
    assert keys == {"~=left/sync_step.0", "~=right/sync_step.0", "~=right/interrupt.0"}


def test_a_second_block_of_the_same_name_goes_on() -> None:
    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    def run(n: int) -> Any:
        found = []
        for i in range(n):
            with durably.branch("again"):
                found.append(sync_step(i).result())
        return found, interrupt("?")

    run.invoke(3, thread_id="t")
    assert [str(call.key) for call in run.runs("t")[0].calls()][:3] == [f"~=again/sync_step.{i}" for i in range(3)]
    assert run.invoke(Command(resume=0), thread_id="t") == ([0, 1, 2], 0)
    assert ran == {0: 1, 1: 1, 2: 1}


def test_branches_nest_and_end() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def run(_: int) -> Any:
        with durably.branch("a"):
            sync_step("in a").result()
            with durably.branch("b/c"):
                sync_step("in b").result()
            sync_step("in a again").result()
        return sync_step("outside").result()

    run.invoke(1, thread_id="t")
    assert scopes(run) == {"in a": "~=a", "in b": "~=a~=b%2Fc", "in a again": "~=a", "outside": ""}


def test_an_asyncio_task_in_a_named_branch_is_a_branch_of_it() -> None:
    async def child() -> Any:
        return await step("child")

    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        with durably.branch("a"):
            return await asyncio.create_task(child())

    run.invoke(1, thread_id="t")
    assert scopes(run) == {"child": "~=a~0"}


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_branch_needs_a_name(name: Any) -> None:
    @entrypoint()
    def run(_: int) -> Any:
        with durably.branch(name):
            pass

    with pytest.raises(ConfigError, match="branch"):
        run.invoke(1)


def test_outside_a_run() -> None:
    with pytest.raises(OutsideRunError, match=r"branch\(\)"), durably.branch("a"):
        pass
    with pytest.raises(OutsideRunError, match=r"patched\(\)"):
        durably.patched("a")
    with pytest.raises(OutsideRunError, match=r"wait\(\)"):
        durably.wait([])


# Threads.


def carrying(how: str) -> Any:
    """Runs a function in another thread and gives what it returned."""

    def in_thread(target: Any) -> Any:
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(target()))
        thread.start()
        thread.join()
        return found[0]

    if how == "in_context":
        return lambda f: in_thread(durably.in_context(f))
    context = contextvars.copy_context()
    return lambda f: in_thread(lambda: context.run(f))


@pytest.mark.parametrize("how", ["in_context", "copy_context"])
@pytest.mark.once("its threads do not hand signals on")
def test_a_thread_that_carries_the_context_shares_the_scope(how: str) -> None:
    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    def run(_: int) -> Any:
        carry = carrying(how)
        found = [sync_step("a").result(), carry(lambda: sync_step("b").result()), sync_step("c").result()]
        return found, interrupt("?")

    run.invoke(1, thread_id="t")
    assert [str(call.key) for call in run.runs("t")[0].calls()][:3] == [f"sync_step.{i}" for i in range(3)]
    assert run.invoke(Command(resume=1), thread_id="t") == (["a", "b", "c"], 1)
    assert set(ran.values()) == {1}


def test_to_thread_shares_the_scope_and_is_stopped_anywhere() -> None:
    @entrypoint(replay="strict")
    async def run(_: int) -> Any:
        return [
            await step("a"),
            await asyncio.to_thread(lambda: [sync_step("b").result(), sync_step("c").result()]),
            await step("d"),
        ]

    sweep = crash_everywhere(run, 1)
    assert sweep.result == ["a", ["b", "c"], "d"]
    assert sweep.most("sync_step") == 3


def test_a_question_in_a_carried_thread_stops_the_run() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        return await asyncio.to_thread(lambda: [sync_step("a").result(), interrupt("go on?")])

    asked = run.invoke(1, thread_id="t")
    assert [question.value for question in asked["__interrupt__"]] == ["go on?"]
    assert run.invoke(Command(resume="yes"), thread_id="t") == ["a", "yes"]
    assert ran == {"a": 1}


@pytest.mark.skipif(getattr(sys.flags, "thread_inherit_context", 0), reason="here every thread carries its context")
def test_a_plain_thread_is_told_the_three_ways() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            sync_step("a")
        except OutsideRunError as error:
            errors.append(error)

    @entrypoint()
    def run(_: int) -> Any:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return "ended"

    assert run.invoke(1) == "ended"
    (error,) = errors
    for way in ("asyncio.to_thread", "contextvars.copy_context().run", "durably.in_context"):
        assert way in str(error)


@pytest.mark.once("its threads do not hand signals on")
def test_in_context_can_be_called_many_times_and_at_once() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def run(n: int) -> Any:
        found: list[Any] = []
        call = durably.in_context(lambda i: found.append(sync_step(i).result()))
        threads = [threading.Thread(target=call, args=(i,)) for i in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(found), interrupt("?")

    run.invoke(8, thread_id="t")
    assert run.invoke(Command(resume=1), thread_id="t") == (list(range(8)), 1)
    assert ran == dict.fromkeys(range(8), 1)
