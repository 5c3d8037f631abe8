"""Runs that leave memory while they sleep, and are woken: by time, or by what else they wait for."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sleeper import build
from worker import lines, wait_for

from durably import (
    Command,
    InMemorySaver,
    Worker,
    Workflow,
    as_completed,
    entrypoint,
    get_stream_writer,
    interrupt,
    sleep,
    task,
    timeout,
    wait,
)
from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.sqlite import SqliteSaver
from durably.concurrency import pause
from durably.errors import NodeCancelledError, ThreadBusy
from durably.testing import virtual_clock
from durably.types import TimeoutPolicy

Do = Callable[..., Any]
DAY = 86_400.0

ran: list[Any] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()


@task
def note(what: Any) -> Any:
    ran.append(what)
    return what


@task
def ask(text: str) -> Any:
    return interrupt(text)


Days = Callable[[float, Workflow[Any, Any]], None]


@pytest.fixture
def days() -> Days:
    """Lets days go by, and then a worker do what is due."""
    passed = [0.0]

    def let_pass(number: float, flow: Workflow[Any, Any]) -> None:
        passed[0] += number * DAY
        with virtual_clock() as clock:
            clock.idle = lambda seconds: seconds  # type: ignore[method-assign]  # a worker does not let time pass itself
            clock.advance(passed[0])
            work(flow)

    return let_pass


def work(flow: Workflow[Any, Any]) -> None:
    """What is due now."""
    Worker(flow).run(until_idle=True)


def attempts(flow: Workflow[Any, Any], thread_id: str = "a") -> int:
    return flow.runs(thread_id)[0].attempts


class TestARunThatSleeps:
    @pytest.mark.parametrize("colour", ["sync", "async"])
    def test_leaves_memory_and_is_woken(self, saver: BaseCheckpointer, colour: str, days: Days) -> None:
        @entrypoint(name="flow", checkpointer=saver)
        def sync(x: int) -> int:
            note("before").result()
            sleep(timedelta(days=3)).result()
            note("after").result()
            return x + 1

        @entrypoint(name="flow", checkpointer=saver)
        async def awaiting(x: int) -> int:
            await note("before")
            await sleep(timedelta(days=3))
            await note("after")
            return x + 1

        flow: Any = sync if colour == "sync" else awaiting
        handle = flow.submit(1, thread_id="a")
        work(flow)
        assert (handle.status, attempts(flow), ran) == ("sleeping", 1, ["before"])
        assert flow.get_state(thread_id="a").next == ("flow",)
        assert [found.thread_id for found in flow.threads(status="sleeping")] == ["a"]
        with pytest.raises(TimeoutError, match="sleeping"):
            handle.result(timeout=0)
        days(2, flow)
        assert (handle.status, attempts(flow)) == ("sleeping", 1)
        days(1, flow)
        assert (handle.result(), attempts(flow), ran) == (2, 2, ["before", "after"])

    def test_is_left_out_by_recover_until_it_is_due(self, do: Do) -> None:
        @entrypoint(checkpointer=InMemorySaver())
        def flow(x: int) -> int:
            sleep(DAY).result()
            return x + 1

        flow.submit(1, thread_id="a")
        assert do(flow, "recover") == {}
        assert do(flow, "recover") == {}
        with virtual_clock() as clock:
            clock.advance(2 * DAY)
            assert do(flow, "recover") == {"a": 2}
        assert attempts(flow) == 2

    def test_wakes_at_the_first_of_several_moments(self, do: Do) -> None:
        @task
        def rest(days: float) -> float:
            sleep(days * DAY).result()
            return note(days).result()  # type: ignore[no-any-return]

        @entrypoint()
        async def inner(days: float) -> float:
            await asyncio.gather(sleep(days * DAY), sleep(days * DAY / 2))
            return days

        @task
        async def nested(days: float) -> float:
            return await inner.ainvoke(days)

        @entrypoint(checkpointer=InMemorySaver())
        def flow(_: int) -> list[float]:
            return [call.result() for call in as_completed([rest(3), nested(2), rest(1.5)])]

        handle = do(flow, "submit", 1, thread_id="a")
        with virtual_clock():  # in which a worker lets time pass when there is nothing else to do
            Worker(flow).run(until_idle=True)
        assert handle.result() == [1.5, 2, 3]
        assert ran == [1.5, 3]
        assert attempts(flow) == 5  # it left before each of 1, 1.5, 2 and 3 days

    def test_a_short_sleep_is_waited_for(self) -> None:
        @entrypoint(checkpointer=InMemorySaver())
        def flow(_: int) -> str:
            sleep(0.02).result()
            return "awake"

        handle = flow.submit(1, thread_id="a")
        work(flow)
        assert (handle.result(), attempts(flow)) == ("awake", 1)

    def test_an_end_waits_for_no_sleep(self, do: Do) -> None:
        @task
        def race(_: int) -> int:
            done, _rest = wait([sleep(DAY), note("won")], return_when="FIRST_COMPLETED").result()
            return len(done)

        @entrypoint(checkpointer=InMemorySaver())
        def flow(_: int) -> int:
            sleep(DAY)
            return race(1).result()

        assert do(flow, "invoke", 1, thread_id="a") == 1
        handle = do(flow, "submit", 1, thread_id="b")
        work(flow)
        assert (handle.result(), attempts(flow, "b")) == (1, 1)

    def test_keeps_its_thread(self, saver: BaseCheckpointer, do: Do, days: Days) -> None:
        @entrypoint(checkpointer=saver, on_busy="enqueue")
        def flow(x: int, *, previous: int = 0) -> int:
            sleep(DAY).result()
            return previous + x

        @entrypoint(name="flow", checkpointer=saver)
        def impatient(x: int) -> int:
            return x

        @entrypoint(name="flow", checkpointer=saver, on_busy="interrupt")
        def urgent(x: int) -> int:
            return x

        handles = [do(flow, "submit", x, thread_id="a") for x in (1, 2)]
        work(flow)
        assert [handle.status for handle in handles] == ["sleeping", "pending"]
        with pytest.raises(ThreadBusy, match="sleeps"):
            do(impatient, "invoke", 5, thread_id="a")
        days(1.1, flow)
        assert [handle.status for handle in handles] == ["done", "sleeping"]
        days(1.1, flow)
        assert [handle.result() for handle in handles] == [1, 3]
        left = do(flow, "submit", 1, thread_id="b")
        work(flow)
        assert do(urgent, "invoke", 7, thread_id="b") == 7
        assert left.status == "stopped"

    def test_can_be_cancelled_updated_and_gone_on_with(self, saver: BaseCheckpointer, do: Do, days: Days) -> None:
        @entrypoint(checkpointer=saver)
        def flow(x: int, *, previous: int = 0) -> int:
            note(x).result()
            sleep(DAY).result()
            return previous + x

        handles = {name: do(flow, "submit", 1, thread_id=name) for name in "abc"}
        work(flow)
        do(handles["a"], "cancel")
        do(flow, "update_state", {"configurable": {"thread_id": "b"}}, 10)
        with virtual_clock():
            assert do(flow, "invoke", None, thread_id="c") == 1  # whoever invokes waits
        days(1.1, flow)
        assert {name: handle.status for name, handle in handles.items()} == {"a": "cancelled", "b": "done", "c": "done"}
        with pytest.raises(NodeCancelledError):
            handles["a"].result()
        assert handles["b"].result() == 1  # it has begun before the update
        assert ran == [1, 1, 1]


class TestWhatKeepsItInMemory:
    def check(self, flow: Any, result: Any, made: int = 1) -> None:
        """Left too soon, it would have recorded something afterwards, and be run at once another time."""
        handle = flow.submit(1, thread_id="a")
        work(flow)
        assert (handle.result(timeout=0), attempts(flow)) == (result, made)

    def test_another_call(self) -> None:
        @task
        async def slow() -> str:
            await asyncio.sleep(0.05)
            return "work"

        @entrypoint(checkpointer=InMemorySaver())
        def flow(_: int) -> Any:
            nap, working = sleep(DAY), slow()
            done, _rest = wait([nap, working], return_when="FIRST_COMPLETED").result()
            return [call.result() for call in done]

        self.check(flow, ["work"])

    @pytest.mark.parametrize("colour", ["sync", "async"])
    def test_a_body_that_does_something_else(self, colour: str) -> None:
        @entrypoint(name="flow", checkpointer=InMemorySaver())
        def sync(_: int) -> None:
            nap = sleep(DAY)
            threading.Event().wait(0.05)
            note("made").result()
            nap.result()

        @entrypoint(name="flow", checkpointer=InMemorySaver())
        async def awaiting(_: int) -> None:
            nap = sleep(DAY)
            await asyncio.sleep(0.05)
            await note("made")
            await nap

        flow: Any = sync if colour == "sync" else awaiting
        handle = flow.submit(1, thread_id="a")
        work(flow)
        assert (handle.status, attempts(flow), ran) == ("sleeping", 1, ["made"])

    @pytest.mark.parametrize("how", ["timeout", "wait", "sync wait", "policy", "result"])
    def test_a_timer(self, how: str) -> None:
        @task(timeout=TimeoutPolicy(run_timeout=0.05))
        async def limited() -> None:
            await sleep(DAY)

        async def body() -> str:
            try:
                if how == "timeout":
                    async with timeout(0.05):
                        await sleep(DAY)
                elif how == "policy":
                    await limited()
            except TimeoutError:
                return "late"
            done, _rest = await wait([sleep(DAY)], timeout=0.05)
            return "in time" if done else "late"

        @entrypoint(name="flow", checkpointer=InMemorySaver())
        async def awaiting(_: int) -> Any:
            return await body()

        @entrypoint(name="flow", checkpointer=InMemorySaver())
        def sync(_: int) -> Any:
            if how == "result":
                try:
                    sleep(DAY).result(timeout=0.05)
                except TimeoutError:
                    return "late"
            return "in time" if wait([sleep(DAY)], timeout=0.05).result()[0] else "late"

        self.check(sync if how in ("result", "sync wait") else awaiting, "late")


class TestWhileItLeaves:
    @pytest.mark.once("counts attempts")
    def test_what_is_recorded_then_is_not_left_for_long(self, saver: BaseCheckpointer) -> None:
        @entrypoint(checkpointer=saver)
        def flow(_: int) -> None:
            try:
                sleep(3 * DAY).result()
            except BaseException:
                note("behind").result()
                raise

        handle = flow.submit(1, thread_id="a")
        work(flow)
        assert (handle.status, attempts(flow), ran) == ("sleeping", 2, ["behind"])
        work(flow)
        assert attempts(flow) == 2

    def test_what_is_said_then_does_not_wake_it(self) -> None:
        @entrypoint(checkpointer=InMemorySaver(), durable_stream=True)
        def flow(_: int) -> None:
            get_stream_writer()("sleeps")
            try:
                sleep(3 * DAY).result()
            except BaseException:
                get_stream_writer()("leaves")
                raise

        handle = flow.submit(1, thread_id="a")
        work(flow)
        assert (handle.status, attempts(flow)) == ("sleeping", 1)

    def test_a_pause_is_not_passed_by_time(self, days: Days) -> None:
        @entrypoint(checkpointer=InMemorySaver())
        def flow(_: int) -> str:
            nap = sleep(DAY)
            pause("look")
            nap.result()
            return "passed"

        handle = flow.submit(1, thread_id="a")
        work(flow)
        assert handle.status == "asked"
        days(1.1, flow)
        assert (handle.status, attempts(flow)) == ("asked", 2)
        days(1, flow)
        assert attempts(flow) == 2
        flow.submit(None, thread_id="a")
        days(0, flow)
        assert handle.result() == "passed"


class TestAQuestionWithADeadline:
    def build(self, saver: BaseCheckpointer, colour: str) -> Any:
        def told(approval: Any, done: list[Any]) -> str:
            return str(approval.result()) if approval in done else "expired"

        @entrypoint(name="flow", checkpointer=saver)
        def sync(_: int) -> str:
            approval = ask("publish?")
            done, _rest = wait([approval, sleep(timedelta(days=3))], return_when="FIRST_COMPLETED").result()
            return str(note(told(approval, done)).result())

        @entrypoint(name="flow", checkpointer=saver)
        async def awaiting(_: int) -> str:
            approval = ask("publish?")
            done, _rest = await wait([approval, sleep(timedelta(days=3))], return_when="FIRST_COMPLETED")
            return str(await note(told(approval, done)))

        return sync if colour == "sync" else awaiting

    @pytest.mark.parametrize("limit", [None, 1])
    @pytest.mark.parametrize("colour", ["sync", "async"])
    @pytest.mark.parametrize("begun", ["invoke", "submit"])
    def test_time_goes_on_with_it(self, colour: str, begun: str, limit: int | None, days: Days) -> None:
        flow = self.build(InMemorySaver(), colour)
        getattr(flow, begun)(1, {"max_concurrency": limit}, thread_id="a")
        work(flow)
        handle = flow.handle(thread_id="a")
        assert handle.status == "asked"
        assert handle.result()["__interrupt__"][0].value == "publish?"
        assert [event.data["__interrupt__"][0].value for event in flow.join_stream(thread_id="a")] == ["publish?"]
        days(2, flow)
        assert (handle.status, attempts(flow)) == ("asked", 1)
        days(1.1, flow)
        assert (handle.result(), attempts(flow), ran) == ("expired", 2, ["expired"])

    @pytest.mark.parametrize("colour", ["sync", "async"])
    def test_an_answer_goes_on_with_it(self, saver: BaseCheckpointer, colour: str, do: Do, days: Days) -> None:
        flow = self.build(saver, colour)
        handles = [do(flow, "submit", 1, thread_id=name) for name in "ab"]
        work(flow)
        assert do(flow, "invoke", Command(resume="yes"), thread_id="a") == "yes"
        do(flow, "submit", Command(resume="no"), thread_id="b")
        work(flow)
        assert [handle.result() for handle in handles] == ["yes", "no"]
        days(4, flow)
        assert [attempts(flow, name) for name in "ab"] == [2, 2]

    def test_a_new_input_leaves_it_behind(self, days: Days) -> None:
        flow = self.build(InMemorySaver(), "sync")
        old = flow.submit(1, thread_id="a")
        work(flow)
        new = flow.submit(1, thread_id="a")
        work(flow)
        days(4, flow)
        assert (old.status, new.result()) == ("abandoned", "expired")

    def test_the_deadline_is_kept_although_the_question_takes_the_only_slot(self, days: Days) -> None:
        @task
        async def ask_at_once() -> Any:
            return interrupt("?")

        @entrypoint(checkpointer=InMemorySaver())
        async def flow(_: int) -> Any:
            nap = sleep(DAY)
            await ask_at_once()
            await nap

        flow.invoke(1, {"max_concurrency": 1}, thread_id="a")
        days(1.1, flow)
        assert (flow.handle(thread_id="a").status, attempts(flow)) == ("asked", 2)

    def test_a_reminder(self, days: Days) -> None:
        """A question that lost a race stays open, and may win the next one."""

        @entrypoint(checkpointer=InMemorySaver())
        def flow(_: int) -> Any:
            approval = ask("publish?")
            for day in (1, 2):
                if approval in wait([approval, sleep(DAY)], return_when="FIRST_COMPLETED").result()[0]:
                    break
                note(f"reminder {day}").result()
            return approval.result()

        handle = flow.submit(1, thread_id="a")
        work(flow)
        days(1.1, flow)
        assert (handle.status, ran) == ("asked", ["reminder 1"])
        days(1.1, flow)
        assert (handle.status, ran) == ("asked", ["reminder 1", "reminder 2"])
        days(9, flow)
        assert attempts(flow) == 3
        flow.submit(Command(resume="yes"), thread_id="a")
        days(0, flow)
        assert handle.result() == "yes"


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_race_is_won_by_what_is_finished(colour: str, do: Do) -> None:
    @entrypoint(name="flow", checkpointer=InMemorySaver())
    def sync(_: int) -> list[Any]:
        return [call.result() for call in as_completed([ask("?"), note(1), note(2)])]

    @entrypoint(name="flow", checkpointer=InMemorySaver())
    async def awaiting(_: int) -> list[Any]:
        return [await call async for call in as_completed([ask("?"), note(1), note(2)])]

    flow: Any = sync if colour == "sync" else awaiting
    [question] = do(flow, "invoke", 1, thread_id="a")["__interrupt__"]
    assert question.value == "?"
    assert do(flow, "invoke", Command(resume=0), thread_id="a")[-1] == 0
    assert sorted(ran) == [1, 2]


class Sleepers:
    """Workers in other processes, on one database."""

    def __init__(self, folder: Path) -> None:
        self.database, self.ledger = str(folder / "runs.db"), folder / "ledger"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        program = Path(__file__).with_name("sleeper.py")
        path = os.pathsep.join([str(program.parent.parent), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, str(program), self.database, str(self.ledger)]
        self.processes.append(subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}))
        return self.processes[-1]

    def wait_for(self, word: str, number: int) -> None:
        """Until so many runs have noted that."""
        wait_for(lambda: self.ledger.exists() and self.ledger.read_bytes().count(word.encode()) >= number)

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.mark.once("counts attempts")
def test_many_sleepers_and_a_killed_worker(tmp_path: Path) -> None:
    """A thousand runs, none of them in a process's memory while it sleeps; each wakes once."""
    sleepers, many = Sleepers(tmp_path), 1_000
    with SqliteSaver(sleepers.database) as saver:
        flow = build(saver, sleepers.ledger)
        for number in range(many):
            flow.submit(str(number), thread_id=str(number))
        try:
            first = sleepers.start()
            sleepers.wait_for("woke", 1)
            sleepers.start()
            sleepers.wait_for("woke", many // 4)
            first.kill()
            sleepers.wait_for("woke", many)
            unfinished = ("sleeping", "running", "pending", "stopped")
            wait_for(lambda: not any(list(flow.threads(status=status, limit=1)) for status in unfinished))
        finally:
            sleepers.end()
        woke = Counter(lines(sleepers.ledger, "woke"))
        runs = {f"woke {thread.thread_id}": flow.runs(thread.thread_id)[0] for thread in flow.threads(limit=many)}
    assert woke.keys() == runs.keys()
    again = {name: run.attempts for name, run in runs.items() if run.attempts != 2}
    assert len(again) <= 50  # those that the killed worker was at
    assert all(count <= again.get(name, 2) - 1 for name, count in woke.items())
