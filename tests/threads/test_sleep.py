"""Sleep: recorded as it begins, so that a restart waits only for what is left."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from worker import wait_for

from durably import (
    InMemorySaver,
    RetryPolicy,
    as_completed,
    entrypoint,
    interrupt,
    sleep,
    sleep_until,
    task,
    timeout,
    wait,
)
from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import ConfigError, OutsideRunError, Superseded
from durably.testing import VirtualClock, crash_everywhere, export_history, replay, virtual_clock
from durably.types import Command

Do = Callable[..., Any]
DAY = 86_400.0
NEAR = 60.0
"""Seconds of virtual time that a test may take in real time."""


class Stopwatch:
    """How much virtual time goes by."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._begin = clock.now()

    def days(self) -> float:
        """How many days went by since the last time, to some minutes."""
        now = self._clock.now()
        begin, self._begin = self._begin, now
        days = (now - begin) / DAY
        assert abs(days - round(days, 1)) < NEAR / DAY, days
        return round(days, 1)


@task
def boom(ready: list[bool]) -> str:
    if not ready:
        raise ConnectionError("not yet")
    return "ready"


class TestAfterARestart:
    def test_only_what_is_left_is_waited_for(self, saver: BaseCheckpointer, do: Do) -> None:
        ready: list[bool] = []

        @entrypoint(checkpointer=saver)
        def flow(_: int) -> str:
            long = sleep(timedelta(days=3))
            sleep(DAY).result()
            said = boom(ready).result()
            long.result()
            return said

        with virtual_clock(patience=0.2) as clock:  # the body, on a thread, begins both sleeps in that
            watch = Stopwatch(clock)
            with pytest.raises(ConnectionError):
                do(flow, "invoke", 1, thread_id="a")
            assert watch.days() == 1
            clock.advance(DAY / 2)
            ready.append(True)
            watch.days()
            assert do(flow, "invoke", None, thread_id="a") == "ready"
            assert watch.days() == 1.5

    def test_nothing_is_waited_for_when_the_moment_has_passed(self, saver: BaseCheckpointer, do: Do) -> None:
        ready: list[bool] = []

        @entrypoint(checkpointer=saver)
        async def flow(_: int) -> str:
            long = sleep_until(datetime.fromtimestamp(clock.now() // DAY * DAY + 9 * DAY, UTC))
            await sleep(DAY)
            said = await boom(ready)
            await long
            return said

        with virtual_clock() as clock:
            with pytest.raises(ConnectionError):
                do(flow, "invoke", 1, thread_id="a")
            clock.advance(20 * DAY)  # the argument is another one now: what was recorded counts
            ready.append(True)
            watch = Stopwatch(clock)
            assert do(flow, "invoke", None, thread_id="a") == "ready"
            assert watch.days() == 0

    def test_what_has_ended_is_not_slept_again(self, saver: BaseCheckpointer, do: Do) -> None:
        @entrypoint(checkpointer=saver)
        def flow(_: int) -> str:
            sleep(3 * DAY).result()
            return str(interrupt("now?"))

        with virtual_clock() as clock:
            do(flow, "invoke", 1, thread_id="a")
            watch = Stopwatch(clock)
            clock.skipped -= 2 * DAY  # not even where the clock is set back
            watch.days()
            assert do(flow, "invoke", Command(resume="yes"), thread_id="a") == "yes"
            assert watch.days() == 0

    @pytest.mark.parametrize("where", ["body", "task"])
    def test_a_question_is_not_held_up_by_it(self, where: str, do: Do) -> None:
        @task
        def ask() -> str:
            return str(interrupt("now?"))

        @task
        def rest() -> str:
            sleep(300 * DAY).result()
            return "rested"

        @entrypoint(checkpointer=InMemorySaver())
        def flow(_: int) -> str:
            resting = sleep(300 * DAY) if where == "body" else rest()
            answer = ask().result()
            return f"{answer} {resting.result()}"

        [question] = do(flow, "invoke", 1, thread_id="a")["__interrupt__"]
        assert question.value == "now?"
        with virtual_clock() as clock:
            clock.advance(200 * DAY)
            watch = Stopwatch(clock)
            do(flow, "invoke", Command(resume="yes"), thread_id="a")
            assert watch.days() == 100

    def test_a_killed_process(self, tmp_path: Path) -> None:
        program = (
            "import sys\nfrom durably import entrypoint, sleep\nfrom durably.checkpoint.sqlite import SqliteSaver\n"
            "@entrypoint(checkpointer=SqliteSaver(sys.argv[1]))\n"
            "def flow(x):\n    sleep(86400.0).result()\n    return x + 1\n"
            "if __name__ == '__main__':\n    flow.invoke(1, thread_id='a')\n"
        )
        path = tmp_path / "runs.db"
        with SqliteSaver(path) as saver:

            @entrypoint(checkpointer=saver)
            def flow(x: int) -> int:
                sleep(DAY).result()
                return x + 1

            child = subprocess.Popen([sys.executable, "-c", program, str(path)])
            try:
                wait_for(lambda: [call for run in flow.runs("a") for call in run.calls()])
            finally:
                child.kill()
                child.wait()
            with virtual_clock() as clock:
                clock.advance(DAY / 2)
                watch = Stopwatch(clock)
                assert flow.invoke(None, thread_id="a") == 2
                assert watch.days() == 0.5

    def test_any_prefix_of_the_journal(self) -> None:
        @task
        def note(word: str) -> str:
            return word

        @entrypoint()
        def flow(_: int) -> list[str]:
            words = []
            for call in as_completed([sleep(DAY), sleep(DAY / 2)]):
                call.result()
                words.append(note(str(len(words))).result())
            return words

        with virtual_clock():
            assert crash_everywhere(flow, 1).result == ["0", "1"]


class TestASleep:
    def test_is_a_call_like_others(self, saver: BaseCheckpointer, do: Do) -> None:
        @task
        async def nested(days: float) -> float:
            await sleep(days * DAY)
            return days

        @entrypoint(checkpointer=saver)
        async def flow(_: int) -> list[float]:
            found = [days async for days in ordered([nested(3), nested(1), nested(2)])]
            done, _rest = await wait([sleep(2 * DAY), sleep(DAY)], return_when="FIRST_COMPLETED")
            assert len(done) == 1
            return found

        async def ordered(calls: list[Any]) -> Any:
            async for call in as_completed(calls):
                yield await call

        with virtual_clock() as clock:
            watch = Stopwatch(clock)
            assert do(flow, "invoke", 1, {"max_concurrency": 1}, thread_id="a") == [1, 2, 3]
            assert watch.days() == 4  # all sleeps go on side by side, and nobody waits for the last one

    def test_a_retry_does_not_begin_it_again(self) -> None:
        attempts: list[int] = []

        @task(retry_policy=RetryPolicy(initial_interval=0.0, jitter=False))
        def flaky() -> int:
            attempts.append(1)
            sleep(DAY).result()
            if len(attempts) < 3:
                raise ConnectionError
            return len(attempts)

        @entrypoint()
        def flow(_: int) -> int:
            return flaky().result()

        with virtual_clock() as clock:
            watch = Stopwatch(clock)
            assert flow.invoke(1) == 3
            assert watch.days() == 1

    def test_within_a_time_limit(self, saver: BaseCheckpointer) -> None:
        @entrypoint(checkpointer=saver)
        async def flow(_: int) -> str:
            try:
                async with timeout(DAY):
                    await sleep(2 * DAY)
                said = "rested"
            except TimeoutError:
                said = "woken"
            return said + interrupt("and?")

        with virtual_clock() as clock:
            asyncio.run(flow.ainvoke(1, thread_id="a"))
            clock.advance(5 * DAY)
            assert asyncio.run(flow.ainvoke(Command(resume="!"), thread_id="a")) == "woken!"

    def test_history_of_one_under_way_is_replayed_without_waiting(self, saver: BaseCheckpointer) -> None:
        @entrypoint(checkpointer=saver)
        def flow(_: int) -> str:
            long = sleep(365 * DAY)
            sleep(0.0).result()
            boom([]).result()
            long.result()
            return "never"

        with pytest.raises(ConnectionError):
            flow.invoke(1, thread_id="a")
        assert replay(flow, export_history(flow, thread_id="a")) is not None

    def test_ends_when_the_run_is_cancelled(self, saver: BaseCheckpointer) -> None:
        @entrypoint(checkpointer=saver)
        async def flow(_: int) -> None:
            await sleep(365 * DAY)

        async def main() -> None:
            run = asyncio.create_task(flow.ainvoke(1, thread_id="a"))
            while not [call for found in await flow.aruns("a") for call in found.calls()]:
                await asyncio.sleep(0.002)
            await flow.acancel(thread_id="a")
            with pytest.raises(Superseded):
                await run

        asyncio.run(main())

    @pytest.mark.parametrize("duration", [0, -1.5, timedelta(days=-1)])
    def test_takes_no_time_when_its_moment_has_passed(self, duration: Any) -> None:
        @entrypoint()
        def flow(_: int) -> str:
            sleep(duration).result()
            sleep_until(datetime(1970, 1, 2, tzinfo=UTC)).result()
            return "awake"

        with virtual_clock() as clock:
            assert flow.invoke(1) == "awake"
            assert clock.skipped == 0

    @pytest.mark.parametrize("duration", ["1", None, True, float("nan"), float("inf"), [1]])
    def test_refuses_what_is_no_duration(self, duration: Any) -> None:
        with pytest.raises(ConfigError, match="timedelta"):
            sleep(duration)

    def test_refuses_what_is_no_moment(self) -> None:
        with pytest.raises(ConfigError, match="time zone"):
            sleep_until(datetime(2030, 1, 1))
        with pytest.raises(ConfigError, match=r"sleep\(\)"):
            sleep_until(timedelta(days=1))  # type: ignore[arg-type]

    def test_needs_a_run(self) -> None:
        with pytest.raises(OutsideRunError, match=r"sleep\(\)"):
            sleep(1)
        with pytest.raises(OutsideRunError, match=r"sleep_until\(\)"):
            sleep_until(datetime.now(UTC))
