"""Runs that are stopped and replayed after each call."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from durably import Command, InMemorySaver, RetryPolicy, entrypoint, interrupt, task
from durably.errors import NonDeterminismError
from durably.testing import always_replay

ROOT = Path(__file__).parents[2]
ran: Counter[str] = Counter()
passes: list[int] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()
    passes.clear()


@task
def step(n: int) -> int:
    ran["step"] += 1
    return n + 1


@pytest.mark.once("counts bodies")
def test_the_body_runs_again_after_each_call_and_no_task_does() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    def run(n: int) -> int:
        passes.append(n)
        for _ in range(3):
            n = step(n).result()
        return n

    with always_replay():
        assert run.invoke(0, thread_id="1") == 3
    assert (len(passes), ran["step"]) == (4, 3)
    assert run.runs("1")[0].status == "done"
    assert run.invoke(0, thread_id="2") == 3
    assert len(passes) == 5


def test_calls_under_way_are_left_alone() -> None:
    @task
    async def astep(n: int) -> int:
        ran["astep"] += 1
        await asyncio.sleep(0.001 * n)
        return n

    @task
    async def pair(n: int) -> int:
        return sum(await asyncio.gather(astep(n), astep(n + 1)))

    @entrypoint(checkpointer=InMemorySaver())
    async def run(n: int) -> Any:
        return [await asyncio.gather(pair(0), pair(2), astep(1)), await astep(0)]

    with always_replay():
        assert run.invoke(0, thread_id="1") == [[1, 5, 1], 0]
    assert ran["astep"] == 6


def test_questions_retries_and_failures() -> None:
    @task(retry_policy=RetryPolicy(initial_interval=0, jitter=False))
    def unsteady() -> str:
        ran["unsteady"] += 1
        if ran["unsteady"] == 1:
            raise ConnectionError
        return "steady"

    @task
    def fails() -> None:
        raise KeyError("no")

    @entrypoint(checkpointer=InMemorySaver())
    def run(n: int) -> Any:
        failure = fails().exception()
        return [str(failure), unsteady().result(), interrupt("?"), step(n).result()]

    with always_replay():
        assert [question.value for question in run.invoke(1, thread_id="1")["__interrupt__"]] == ["?"]
        assert run.invoke(Command(resume="!"), thread_id="1") == ["'no'", "steady", "!", 2]
    assert ran == {"unsteady": 2, "step": 1}


def test_what_differs_from_pass_to_pass_is_found() -> None:
    numbers = iter(range(100))

    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    def run(_: int) -> int:
        step(0).result()
        return step(next(numbers)).result()

    with always_replay(), pytest.raises(NonDeterminismError, match=r"call step\.1"):
        run.invoke(0, thread_id="1")


def test_a_body_that_changes_its_input_is_found() -> None:
    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    def run(words: list[int]) -> int:
        words.append(1)
        return step(len(words)).result()

    with always_replay():
        assert run.invoke([], thread_id="1") == 2, "each pass has the input as it was stored"


@pytest.mark.once("runs others so")
def test_a_part_of_the_ordinary_tests_passes_so() -> None:
    """The whole of them is a command of its own: see CONTRIBUTING.md."""
    part = ["tests/checkpoint/test_interrupts.py", "tests/checkpoint/test_replay.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--always-replay", *part]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "not under --always-replay" in done.stdout
