"""The crash sweep finds what it is meant to find, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from durably import InMemorySaver, entrypoint, interrupt, task
from durably.errors import ReplayWarning
from durably.testing import acrash_everywhere, crash_everywhere, stub
from durably.types import RetryPolicy


@task
def double(x: int) -> int:
    return 2 * x


@task
async def adouble(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


@entrypoint()
def chain(x: int) -> int:
    return double(double(double(x).result()).result()).result()


@entrypoint()
async def fan(xs: list[int]) -> int:
    return sum(await asyncio.gather(*map(adouble, xs)))


@pytest.mark.once("counts writes")
def test_a_trial_for_each_write() -> None:
    sweep = crash_everywhere(chain, 1)
    assert sweep.result == 8
    assert sweep.ran == {"double": 3}
    # the start, a result each, and the end
    assert [stop.write for stop in sweep.stops] == [1, 2, 3, 4, 5]
    assert [stop.ran["double"] for stop in sweep.stops] == [3, 4, 4, 4, 3]
    assert sweep.most("double") == 4
    assert sweep.most("never called") == 0


def test_an_async_workflow_on_a_thread_and_on_a_loop() -> None:
    assert crash_everywhere(fan, [1, 2, 3]).result == 12
    sweep = asyncio.run(acrash_everywhere(fan, [1, 2, 3]))
    assert sweep.result == 12
    assert sweep.ran == {"adouble": 3}
    assert asyncio.run(acrash_everywhere(chain, 1)).result == 8


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_every_durability(durability: Any) -> None:
    sweep = crash_everywhere(chain, 1, durability=durability)
    assert sweep.result == 8
    assert sweep.stops


def test_questions_are_answered() -> None:
    @task
    def ask(what: str) -> Any:
        return interrupt(what)

    @entrypoint(checkpointer=InMemorySaver())
    def run(_: int) -> Any:
        both = [ask("a"), ask("b")]
        return [double(1).result(), *(each.result() for each in both), interrupt("c")]

    sweep = crash_everywhere(run, 1, answer=str.upper)
    assert sweep.result == [2, "A", "B", "C"]
    with pytest.raises(AssertionError, match="answer="):
        crash_everywhere(run, 1)


@pytest.mark.once("bodies have effects")
def test_an_effect_outside_of_tasks_is_found() -> None:
    ids = itertools.count()

    @entrypoint()
    def run(_: int) -> Any:
        number = next(ids) % 3
        double(1).result()
        return number

    with pytest.raises(AssertionError, match="stopped at write 1, 'run' returned 1, and without a stop 0"):
        crash_everywhere(run, 1)


def test_other_calls_on_replay_are_found() -> None:
    ids = itertools.count()

    @entrypoint()
    def run(_: int) -> Any:
        return double(next(ids)).result() and double(0).result()

    with pytest.raises(ReplayWarning):
        crash_everywhere(run, 1)


def test_a_task_that_is_not_safe_to_repeat_is_found() -> None:
    balance = 0

    @task
    def deposit(amount: int) -> int:
        nonlocal balance
        balance += amount
        return balance

    @entrypoint()
    def run(amount: int) -> int:
        return deposit(amount).result()

    def fresh() -> None:
        nonlocal balance
        balance = 0

    with pytest.raises(AssertionError, match="returned 20, and without a stop 10"):
        crash_everywhere(run, 10, fresh=fresh)


def test_a_workflow_that_fails_says_so_itself() -> None:
    @entrypoint()
    def run(_: int) -> Any:
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        crash_everywhere(run, 1)


def test_retries_count() -> None:
    failing = itertools.cycle([True, False])

    @task(retry_policy=RetryPolicy(initial_interval=0, jitter=False, retry_on=OSError))
    def flaky() -> str:
        if next(failing):
            raise OSError
        return "ok"

    @entrypoint()
    def run(_: int) -> Any:
        return flaky().result()

    assert crash_everywhere(run, 1).ran == {"flaky": 2}


def test_with_stubs_and_context() -> None:
    @entrypoint()
    def run(_: int, *, runtime: Any) -> Any:
        return double(1).result(), runtime.context

    with stub(double, returning=7) as stubbed:
        sweep = crash_everywhere(run, 1, context="given")
    assert sweep.result == (7, "given")
    unstopped = 2 * sweep.ran["double"]  # the first run, and the last trial, whose stop never came
    assert len(stubbed.calls) == unstopped + sum(stop.ran["double"] for stop in sweep.stops)


def test_the_workflow_itself_is_left_alone() -> None:
    saver = InMemorySaver()
    run = entrypoint(checkpointer=saver)(lambda x: double(x).result())
    crash_everywhere(run, 1)
    assert run.checkpointer is saver
    assert run.runs("test") == []
