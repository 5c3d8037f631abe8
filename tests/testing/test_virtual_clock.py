"""Hours of pauses and timeouts pass at once, in their order."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

import durably
from durably import RetryPolicy, TimeoutPolicy, entrypoint, task
from durably.errors import ConfigError, NodeTimeoutError
from durably.testing import virtual_clock

HOURLY = RetryPolicy(initial_interval=3600, backoff_factor=2, max_interval=1e9, max_attempts=4, jitter=False)


def in_both_ways(workflow: Any, input: Any) -> list[Any]:
    """What it returns on the library's loop, or a thread, and on a loop of the test's own."""
    return [workflow.invoke(input), asyncio.run(workflow.ainvoke(input))]


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_pauses_before_retries(colour: str) -> None:
    attempts = []

    @task(retry_policy=HOURLY)
    def flaky() -> int:
        attempts.append(1)
        if len(attempts) % 4:
            raise ConnectionError
        return len(attempts)

    @task(name="flaky", retry_policy=HOURLY)
    async def aflaky() -> int:
        return flaky.__wrapped__()

    @entrypoint()
    async def run(_: int) -> int:
        return await (flaky() if colour == "sync" else aflaky())

    with virtual_clock() as clock:
        assert in_both_ways(run, 1) == [4, 8]
    assert clock.pauses == [3600, 7200, 14400] * 2
    assert clock.skipped >= 2 * 25_200 - 1


def test_timers_go_off_in_their_order() -> None:
    @task(timeout=TimeoutPolicy(run_timeout=timedelta(hours=2)))
    async def sleep(hours: float) -> str:
        await asyncio.sleep(3600 * hours)
        return "rested"

    @entrypoint()
    async def run(hours: float) -> str:
        return await sleep(hours)

    with virtual_clock():
        assert in_both_ways(run, 1.9) == ["rested"] * 2
        with pytest.raises(NodeTimeoutError, match="7200 seconds"):
            run.invoke(2.1)


def test_idle_timeouts() -> None:
    @task(timeout=TimeoutPolicy(idle_timeout=60))
    async def work(pauses: list[float]) -> str:
        for pause in pauses:
            await asyncio.sleep(pause)
            durably.get_runtime().heartbeat()
        return "done"

    @entrypoint()
    async def run(pauses: list[float]) -> str:
        return await work(pauses)

    with virtual_clock():
        assert in_both_ways(run, [59.0] * 5) == ["done"] * 2
        with pytest.raises(NodeTimeoutError, match="no sign of life for 60"):
            run.invoke([1.0, 61.0])


def test_timed_blocks_and_waits() -> None:
    @task
    async def slow(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @entrypoint()
    async def run(seconds: float) -> Any:
        try:
            async with durably.timeout(600):
                return await slow(seconds)
        except TimeoutError:
            done, rest = await durably.wait([slow(10), slow(1000)], timeout=100)
            for future in rest:
                future.cancel()
            return [await future for future in done]

    with virtual_clock():
        assert in_both_ways(run, 599) == [599, 599]
        assert in_both_ways(run, 601) == [[10], [10]]


def test_inside_a_running_loop() -> None:
    @entrypoint()
    async def nap(_: int) -> str:
        await asyncio.sleep(3600)
        return "rested"

    async def main() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        with virtual_clock():
            before = loop.time()
            return await nap.ainvoke(1), loop.time() - before

    rested, seconds = asyncio.run(main())
    assert rested == "rested"
    assert seconds >= 3600


def test_work_in_threads_is_waited_for() -> None:
    @task
    def sync_work() -> str:
        time.sleep(0.05)
        return "worked"

    @entrypoint()
    async def run(_: int) -> str:
        async with durably.timeout(3600):
            return await sync_work()

    with virtual_clock(patience=30):
        assert run.invoke(1) == "worked"


def test_afterwards_loops_have_their_own_pace_and_time_does_not_go_back() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with virtual_clock() as clock:
            await nap.ainvoke(3600)
        skipped, now = clock.skipped, loop.time()
        await nap.ainvoke(0.02)
        assert clock.skipped == skipped
        assert loop.time() >= now + 0.02

    @entrypoint()
    async def nap(seconds: float) -> None:
        await asyncio.sleep(seconds)

    asyncio.run(main())


def test_a_loop_of_another_kind_is_refused() -> None:
    class Other:
        pass

    with virtual_clock() as clock, pytest.raises(ConfigError, match="Other"):
        clock.attend(Other())  # type: ignore[arg-type]
