"""Which failures are history and which are tried again, wherever the run was stopped in between."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import durably
from durably import Command, InMemorySaver, entrypoint, interrupt, task
from durably.testing import crash_everywhere
from durably.testing.lives import Stopped, StoppingSaver

ran: Counter[Any] = Counter()
failing: set[Any] = set()


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()
    failing.clear()


class Trouble(Exception):
    pass


@task
async def work(what: Any) -> Any:
    ran[what] += 1
    await asyncio.sleep(0)
    if what in failing:
        raise Trouble(what)
    return what


def broken_then_mended(run: Any, expected: Any, *causes: Any) -> Counter[Any]:
    """Runs while ``causes`` fail, then without them; returns what the second attempt ran."""
    failing.update(causes)
    with pytest.raises((Exception, ExceptionGroup)):
        run.invoke(1, thread_id="t")
    failing.clear()
    before = ran.copy()
    assert run.invoke(None, thread_id="t") == expected
    return ran - before


def test_a_failure_wrapped_in_another_exception() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        first = await work("a")
        try:
            return [first, await work("b")]
        except Trouble as trouble:
            raise ValueError("in other words") from trouble

    assert broken_then_mended(run, ["a", "b"], "b") == {"b": 1}


def test_a_failure_while_another_was_handled() -> None:
    """The latest one ended the attempt; the one that had been handled is history."""

    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        try:
            found = await work("a")
        except Trouble:
            found = ["instead", await work("b")]
        return found

    assert broken_then_mended(run, ["instead", "b"], "a", "b") == {"b": 1}


def test_one_of_two_in_a_gather() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        return await asyncio.gather(work("a"), work("b"))

    assert broken_then_mended(run, ["a", "b"], "b")["b"] == 1
    assert ran["a"] <= 2  # it may have been cancelled by the end of the run


def test_one_of_two_branches_in_a_group() -> None:
    async def branch(name: str) -> Any:
        return [await work((name, 0)), await work((name, 1))]

    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        async with asyncio.TaskGroup() as group:
            branches = [group.create_task(branch(name)) for name in "ab"]
        return [each.result() for each in branches]

    expected = [[("a", 0), ("a", 1)], [("b", 0), ("b", 1)]]
    assert broken_then_mended(run, expected, ("b", 1))[("b", 1)] == 1
    assert ran[("a", 0)] == ran[("b", 0)] == 1


def test_both_members_of_a_group() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        futures = [work("a"), work("b"), work("c")]
        found = await asyncio.gather(*futures, return_exceptions=True)
        errors = [each for each in found if isinstance(each, Exception)]
        if errors:
            raise ExceptionGroup("both", errors)
        return found

    assert broken_then_mended(run, ["a", "b", "c"], "a", "b") == {"a": 1, "b": 1}


def test_a_failure_deep_inside_tasks() -> None:
    @task
    async def inner(name: str) -> Any:
        return [await work((name, 0)), await work((name, 1))]

    @task
    async def outer(name: str) -> Any:
        try:
            return [await work((name, "first")), await inner(name)]
        except Trouble as trouble:
            raise RuntimeError(name) from trouble

    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        return await outer("a")

    expected = [("a", "first"), [("a", 0), ("a", 1)]]
    assert broken_then_mended(run, expected, ("a", 1)) == {("a", 1): 1}


def test_a_failure_that_nobody_asked_for_is_tried_again() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        loose = work("loose")
        await durably.wait([loose])
        await work("b")
        return await loose

    assert broken_then_mended(run, "loose", "loose", "b") == {"loose": 1, "b": 1}


def test_a_handled_failure_is_history_although_it_would_not_fail_any_more() -> None:
    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    async def run(_: int) -> Any:
        found = await asyncio.gather(work("a"), work("b"), return_exceptions=True)
        return [repr(each) for each in found], interrupt("?")

    failing.add("a")
    run.invoke(1, thread_id="t")
    failing.clear()
    assert run.invoke(Command(resume=1), thread_id="t") == (["Trouble('a')", "'b'"], 1)
    assert ran == {"a": 1, "b": 1}


# Stopped at every point.


def handled() -> Any:
    @entrypoint(replay="strict")
    async def run(_: int) -> Any:
        try:
            first = await work("a")
        except Trouble as trouble:
            first = ["no", trouble.args[0]]
        return [first, await work("b")]

    return run


def wrapped() -> Any:
    @task
    async def outer(name: str) -> Any:
        try:
            return await work(name)
        except Trouble as trouble:
            raise ValueError(name) from trouble

    @entrypoint(replay="strict")
    async def run(_: int) -> Any:
        found = await asyncio.gather(outer("a"), outer("b"), return_exceptions=True)
        return [repr(each) for each in found], await work("c")

    return run


def in_branches() -> Any:
    async def branch(name: str) -> Any:
        try:
            return [await work(name)]
        except Trouble:
            return ["no", await work((name, "instead"))]

    @entrypoint(replay="strict")
    async def run(_: int) -> Any:
        return await asyncio.gather(branch("a"), branch("b"), branch("c"))

    return run


@pytest.mark.parametrize("make", [handled, wrapped, in_branches])
def test_a_handled_failure_stopped_anywhere(make: Callable[[], Any]) -> None:
    failing.add("a")
    sweep = crash_everywhere(make(), 1)
    assert "no" in str(sweep.result) or "ValueError('a')" in str(sweep.result)
    assert len(sweep.stops) >= 4


def stops(run: Any) -> Iterator[tuple[Any, StoppingSaver]]:
    """A workflow whose process is killed at each write of its first attempt in turn, and its storage after that."""
    for write in range(1, 100):
        saver = StoppingSaver(stop_at=write)
        failing.add("b")
        ran.clear()
        with pytest.raises(Exception) as caught:  # either is a way to end here
            with_storage(run, saver).invoke(1, thread_id="t", durability="sync")
        failing.clear()
        yield caught.value, StoppingSaver(before=saver)
        if not saver.stopped:
            return
    raise AssertionError("it goes on for ever")


def with_storage(run: Any, saver: StoppingSaver) -> Any:
    return entrypoint(checkpointer=saver, name="run", replay="strict")(run)


async def one_fails(_: int) -> Any:
    return await asyncio.gather(work("a"), work("b"), work("c"))


async def wrapped_again(_: int) -> Any:
    first = await work("a")
    try:
        return [first, await work("b"), await work("c")]
    except Trouble as trouble:
        raise ValueError("in other words") from trouble


@pytest.mark.parametrize("run", [one_fails, wrapped_again])
def test_a_failure_followed_by_a_kill_is_tried_again(run: Any) -> None:
    """At once, or where others had ended after it, when the resumed attempt has ended with it as the killed one would."""
    kinds = set()
    for error, storage in stops(run):
        kinds.add(type(error))
        before, mended = ran.copy(), with_storage(run, storage)
        started = storage._tables.open("t").run is not None
        try:
            found = mended.invoke(None if started else 1, thread_id="t")
        except (Trouble, ValueError):
            assert ran == before
            found = mended.invoke(None, thread_id="t")
        assert found == ["a", "b", "c"]
        assert ran["b"] == before["b"] + 1
        assert all(count <= 2 for count in ran.values()), error
    assert Stopped in kinds
    assert len(kinds) >= 2


def test_a_call_that_is_cancelled_before_its_first_step_has_ended() -> None:
    """Otherwise whoever waits for it waits for ever, and a failing body as long as its grace."""

    @entrypoint()
    async def run(_: int) -> Any:
        loop, future = asyncio.get_running_loop(), work("a")

        def cancel_when_spawned() -> None:
            if future.asyncio_task is None:
                loop.call_soon(cancel_when_spawned)
            else:
                future.cancel()

        loop.call_soon(cancel_when_spawned)
        await asyncio.wait([future], timeout=30)
        return future.cancelled()

    assert run.invoke(1) is True
    assert not ran
