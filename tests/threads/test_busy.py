"""One writer a thread: what a second run does, and what is decided by compare and set."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from worker import Job, LocalJob, announce, build, lines, outcome_of, wait_for

from durably import Command, Workflow, entrypoint, interrupt, task
from durably.checkpoint.base import BaseCheckpointer
from durably.errors import ConfigError, GraphDrained, Superseded, ThreadBusy, WorkflowMismatch
from durably.runtime import RunControl
from savers import SHARED, open_saver, place_of

CONFIG = {"configurable": {"thread_id": "t"}}


class Place:
    """Where runs are started: in threads of this process, or in processes of their own."""

    def __init__(self, folder: Path, database: str, apart: bool, colour: str) -> None:
        self.apart, self.colour = apart, colour
        self.database, self.ledger, self.gate = database, folder / "ledger", folder / "gate"
        self.saver = open_saver(self.database)
        self.flow = build(self.saver, self.ledger, colour=colour)

    def start(self, method: str = "invoke", *, on_busy: str = "reject", **options: Any) -> Any:
        options = {**options, "colour": self.colour, "on_busy": on_busy}
        if self.apart:
            return Job(method, {**options, "database": self.database, "ledger": str(self.ledger)})
        return LocalJob(build(self.saver, self.ledger, on_busy, self.colour), method, options)

    def hold(self, *before: str) -> Any:
        """A run that is at its last task, and stays there until the gate opens."""
        job = self.start(input=[*before, f"held@{self.gate}"])
        wait_for(lambda: "begin held" in lines(self.ledger))
        return job

    def open(self) -> None:
        """Let it go on."""
        self.gate.touch()

    def statuses(self) -> list[str]:
        """How the runs stand, first one first."""
        return [run.status for run in reversed(self.flow.runs("t"))]


PLACES = [f"{where}-{colour}-sqlite" for where in ("thread", "process") for colour in ("sync", "async")]
PLACES += [f"thread-async-{kind}" for kind in SHARED[1:]]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    where, colour, kind = request.param.split("-")
    place = Place(tmp_path, place_of(kind, request, tmp_path), where == "process", colour)
    announce(place.ledger, monkeypatch.setattr)
    yield place
    place.saver.close()


class TestASecondRun:
    def test_is_rejected(self, place: Place) -> None:
        first = place.hold()
        second = place.start(input=["late"]).outcome()
        resumed = place.start(input=None).outcome()
        place.open()
        assert second["error"] == resumed["error"] == "ThreadBusy"
        assert place.flow.runs("t")[0].run_id in second["text"]
        assert first.outcome() == {"value": ["held"]}
        assert lines(place.ledger) == ["begin held", "end held"]

    def test_waits_for_its_turn(self, place: Place) -> None:
        first = place.hold()
        others = [place.start(on_busy="enqueue", input=[name]) for name in "xyz"]
        wait_for(lambda: len(set(lines(place.ledger, "waits"))) == 3)
        place.open()
        assert first.outcome() == {"value": ["held"]}
        values = sorted((other.outcome()["value"] for other in others), key=len)
        assert [len(value) for value in values] == [2, 3, 4]
        assert values[2][:3] == values[1]
        assert sorted(values[2]) == ["held", "x", "y", "z"]

    @pytest.mark.parametrize("question", [[], ["?sure"]])
    def test_joins_the_first(self, place: Place, question: list[str]) -> None:
        first = place.start(input=[f"held@{place.gate}", *question])
        wait_for(lambda: "begin held" in lines(place.ledger))
        second = place.start(on_busy="join", input=["never"])
        wait_for(lambda: lines(place.ledger, "joins"))
        place.open()
        outcome = first.outcome()
        assert second.outcome() == outcome
        assert ("asked" in outcome) == bool(question)
        assert place.statuses() == ["asked" if question else "done"]

    def test_interrupts_the_first_which_can_go_on(self, place: Place) -> None:
        first = place.hold("before")
        second = place.start(on_busy="interrupt", input=["urgent"]).outcome()
        assert second == {"value": ["urgent"]}
        place.open()
        assert first.outcome()["error"] == "Superseded"
        assert place.statuses() == ["stopped", "done"]
        stopped = place.flow.runs("t")[1]
        assert [(call.name, call.value) for call in stopped.calls()] == [("work", "before")]
        before = lines(place.ledger).count("begin before")
        assert place.flow.fork(stopped.config) == ["before", "held"]
        assert lines(place.ledger).count("begin before") == before == 1

    def test_rolls_the_first_back(self, place: Place) -> None:
        assert place.start(input=["old"]).outcome() == {"value": ["old"]}
        history = list(place.flow.get_state_history(CONFIG))
        first = place.hold("before")
        second = place.start(on_busy="rollback", input=["new"]).outcome()
        assert second == {"value": ["old", "new"]}
        place.open()
        assert first.outcome()["error"] == "Superseded"
        assert place.statuses() == ["done", "undone", "done"]
        assert [call.value for call in place.flow.runs("t")[1].calls()] == ["before"]
        after = list(place.flow.get_state_history(CONFIG))
        assert after[2:] == history
        assert [moment.metadata["step"] for moment in after if moment.metadata] == [2, 1, 0, -1]
        assert after[1].parent_config == history[0].config

    def test_rolls_a_fork_back(self, place: Place) -> None:
        """The thread stands then as it stood before the fork."""
        for name in "ab":
            place.start(input=[name]).outcome()
        first_end = next(m for m in place.flow.get_state_history(CONFIG) if m.values == ["a"] and not m.next)
        branch = {"config": first_end.config}
        fork = place.start(input=[f"held@{place.gate}"], how=branch)
        wait_for(lambda: "begin held" in lines(place.ledger))
        assert place.start(on_busy="rollback", input=["c"]).outcome() == {"value": ["a", "b", "c"]}
        place.open()
        assert fork.outcome()["error"] == "Superseded"

    def test_is_cancelled(self, place: Place) -> None:
        first = place.hold("before")
        assert place.start("cancel").outcome() == {"value": None}
        place.open()
        assert first.outcome()["error"] == "Superseded"
        assert place.statuses() == ["cancelled"]
        assert place.start(input=["next"]).outcome() == {"value": ["next"]}


class TestAnswersToARunUnderWay:
    def open_two(self, place: Place) -> dict[str, str]:
        @task
        def ask(name: str) -> Any:
            return interrupt(name)

        @task
        def work(gate: str) -> str:
            wait_for(Path(gate).exists)
            return "worked"

        @entrypoint(checkpointer=place.saver, name="flow")
        def flow(_: str) -> Any:
            questions = [ask("a"), ask("b")]
            first = questions[0].result()
            return [first, work(str(place.gate)).result(), questions[1].result()]

        self.flow: Workflow[str, Any] = flow
        asked: Any = flow.invoke("", CONFIG)
        return {question.value: question.id for question in asked["__interrupt__"]}

    @pytest.mark.parametrize("plain", [True, False])
    def test_are_recorded_at_once_and_used(self, tmp_path: Path, plain: bool) -> None:
        place = Place(tmp_path, str(tmp_path / "runs.db"), False, "sync")
        ids = self.open_two(place)
        first = LocalJob(self.flow, "invoke", {"resume": {ids["a"]: 1}})
        wait_for(lambda: self.flow.runs("t")[0].status == "running")
        second = LocalJob(self.flow, "invoke", {"resume": 2 if plain else {ids["b"]: 2}})
        wait_for(lambda: [c.status for c in self.flow.runs("t")[0].calls()].count("answered") == 2)
        assert outcome_of(lambda: self.flow.invoke(Command(resume={ids["b"]: 3}), CONFIG))["error"] == "AlreadyAnswered"
        place.open()
        assert second.outcome() == {"value": [1, "worked", 2]}
        first.outcome()
        assert self.flow.get_state(CONFIG).values == [1, "worked", 2]
        assert outcome_of(lambda: self.flow.invoke(Command(resume={ids["b"]: 2}), CONFIG)) == second.outcome()
        assert outcome_of(lambda: self.flow.invoke(Command(resume={ids["b"]: 3}), CONFIG))["error"] == "AlreadyAnswered"
        assert len(self.flow.runs("t")) == 1
        place.saver.close()

    def test_that_was_cancelled_say_so(self, tmp_path: Path) -> None:
        place = Place(tmp_path, str(tmp_path / "runs.db"), False, "sync")
        ids = self.open_two(place)
        first = LocalJob(self.flow, "invoke", {"resume": {ids["a"]: 1}})
        wait_for(lambda: self.flow.runs("t")[0].status == "running")
        second = LocalJob(self.flow, "invoke", {"resume": {ids["b"]: 2}})
        wait_for(lambda: [c.status for c in self.flow.runs("t")[0].calls()].count("answered") == 2)
        self.flow.cancel(CONFIG)
        place.open()
        assert second.outcome()["error"] == "NodeCancelledError"
        assert first.outcome()["error"] == "Superseded"
        place.saver.close()


class TestARunThatWaitsForItsOwnThread:
    @pytest.mark.parametrize("on_busy", ["reject", "enqueue", "join", "interrupt", "rollback"])
    def test_is_an_error(self, saver: BaseCheckpointer, on_busy: Any, do: Any) -> None:
        @entrypoint(checkpointer=saver, on_busy=on_busy)
        def outer(depth: int) -> Any:
            return middle.invoke(depth, thread_id="b")

        @entrypoint(checkpointer=saver, on_busy=on_busy)
        def middle(depth: int) -> Any:
            return outer.invoke(depth, thread_id="a")

        with pytest.raises(ThreadBusy, match="held by the very run"):
            do(outer, "invoke", 1, thread_id="a")
        assert outer.get_state(thread_id="a").metadata["status"] == "failed"  # type: ignore[index]


class TestEnqueuedInputs:
    def test_of_one_process_come_in_order(self, saver: BaseCheckpointer) -> None:
        release = threading.Event()

        @entrypoint(checkpointer=saver, on_busy="enqueue")
        async def flow(n: int, *, previous: list[int] | None = None) -> list[int]:
            if n == 0:
                await asyncio.to_thread(release.wait, 60)
            return [*(previous or []), n]

        async def whole() -> list[Any]:
            async def later() -> None:
                for _ in range(200):
                    await asyncio.sleep(0)
                release.set()

            return (await asyncio.gather(*(flow.ainvoke(n, CONFIG) for n in range(12)), later()))[:-1]

        assert asyncio.run(whole()) == [list(range(n + 1)) for n in range(12)]

    def test_one_that_gives_up_leaves_the_line(self, saver: BaseCheckpointer) -> None:
        @entrypoint(checkpointer=saver, on_busy="enqueue")
        async def flow(n: int) -> int:
            if n == 0:
                await release.wait()
            return n

        release = asyncio.Event()

        async def whole() -> list[Any]:
            first = asyncio.create_task(flow.ainvoke(0, CONFIG))
            await asyncio.sleep(0.01)
            second = asyncio.create_task(flow.ainvoke(1, CONFIG))
            third = asyncio.create_task(flow.ainvoke(2, CONFIG))
            await asyncio.sleep(0.01)
            second.cancel()
            await asyncio.wait([second])
            release.set()
            return [await first, second.cancelled(), await third]

        assert asyncio.run(whole()) == [0, True, 2]


class TestIdempotentStarts:
    def test_the_same_key_gives_the_same_run(self, place: Place) -> None:
        key = {"how": {"idempotency_key": "order-1"}}
        jobs = [place.start(input=[f"held@{place.gate}"], **key) for _ in range(4)]
        wait_for(lambda: len(set(lines(place.ledger, "keyed"))) == 3 and lines(place.ledger))
        place.open()
        assert [job.outcome() for job in jobs] == [{"value": ["held"]}] * 4
        assert place.start(input=["other"], **key).outcome() == {"value": ["held"]}
        assert lines(place.ledger) == ["begin held", "end held"]
        assert place.start(input=["b"], how={"idempotency_key": "order-2"}).outcome() == {"value": ["held", "b"]}
        elsewhere = place.start(input=["b"], thread="u", **key)
        assert elsewhere.outcome() == {"value": ["b"]}

    def test_of_a_run_that_asked_or_failed(self, saver: BaseCheckpointer, do: Any) -> None:
        @entrypoint(checkpointer=saver)
        def flow(fail: bool) -> Any:
            if fail:
                raise ValueError("no")
            return interrupt("sure?")

        asked = do(flow, "invoke", False, CONFIG, idempotency_key="a")
        again = do(flow, "invoke", False, CONFIG, idempotency_key="a")
        assert again["__interrupt__"][0].id == asked["__interrupt__"][0].id
        assert do(flow, "invoke", Command(resume=1), CONFIG) == 1
        assert do(flow, "invoke", False, CONFIG, idempotency_key="a") == 1
        for _ in range(2):
            with pytest.raises(ValueError, match="no"):
                do(flow, "invoke", True, CONFIG, idempotency_key="b")
        assert [run.attempts for run in flow.runs("t")] == [1, 2]

    def test_of_another_workflow_is_refused(self, saver: BaseCheckpointer, do: Any) -> None:
        @entrypoint(checkpointer=saver)
        def one(x: int) -> int:
            return x

        @entrypoint(checkpointer=saver)
        def two(x: int) -> int:
            return x

        one.invoke(1, CONFIG, idempotency_key="a")
        with pytest.raises(WorkflowMismatch):
            do(two, "invoke", 1, CONFIG, idempotency_key="a")

    def test_only_inputs_have_one(self, saver: BaseCheckpointer, do: Any) -> None:
        @entrypoint(checkpointer=saver)
        def flow(_: int) -> Any:
            return interrupt("sure?")

        flow.invoke(1, CONFIG)
        for given in (None, Command(resume=1)):
            with pytest.raises(ConfigError, match="idempotency_key"):
                do(flow, "invoke", given, CONFIG, idempotency_key="a")


class TestDraining:
    def test_the_attempt_under_way_ends_and_no_new_one_starts(self, saver: BaseCheckpointer, do: Any) -> None:
        control = RunControl()

        @task
        def work(x: int) -> int:
            control.request_drain("deploy")
            return x + 1

        @entrypoint(checkpointer=saver)
        def flow(x: int) -> int:
            return work(work(x).result()).result()

        assert do(flow, "invoke", 1, CONFIG, control=control) == 3
        with pytest.raises(GraphDrained, match="deploy"):
            do(flow, "invoke", 1, CONFIG, control=control)
        assert len(flow.runs("t")) == 1

    def test_past_the_timeout_it_stops_at_its_next_call(self, saver: BaseCheckpointer, do: Any) -> None:
        control, ran = RunControl(drain_timeout=0.0), list[int]()

        @task
        def work(x: int) -> int:
            ran.append(x)
            control.request_drain()
            return x + 1

        @entrypoint(checkpointer=saver)
        def flow(x: int) -> int:
            return work(work(x).result()).result()

        with pytest.raises(GraphDrained, match="resume it"):
            do(flow, "invoke", 1, CONFIG, control=control)
        assert flow.get_state(CONFIG).metadata["status"] == "stopped"  # type: ignore[index]
        assert do(flow, "invoke", None, CONFIG) == 3
        assert ran == [1, 2]


def test_a_stopped_attempt_can_record_nothing(saver: BaseCheckpointer) -> None:
    """Its async tasks are cancelled, its sync ones run on."""
    begun, release, seen = threading.Event(), threading.Event(), list[str]()

    @task
    def slow() -> str:
        begun.set()
        release.wait(60)
        seen.append("slow ran on")
        return "slow"

    @task
    async def patient() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("patient was cancelled")
            raise
        return "patient"

    @entrypoint(checkpointer=saver, on_busy="interrupt")
    async def flow(n: int) -> Any:
        if n:
            return n
        return await asyncio.gather(slow(), patient())

    async def whole() -> Any:
        first = asyncio.create_task(flow.ainvoke(0, {**CONFIG, "grace": 0}))
        await asyncio.to_thread(begun.wait, 60)
        second = await flow.ainvoke(1, CONFIG)
        with pytest.raises(Superseded):
            await first
        release.set()
        return second

    assert asyncio.run(whole()) == 1
    wait_for(lambda: len(seen) == 2)
    assert sorted(seen) == ["patient was cancelled", "slow ran on"]
    assert flow.runs("t")[1].calls() == []
