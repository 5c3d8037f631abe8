"""Runs that are accepted now and run by somebody else: handles, queues, answers, cancels."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from worker import Shop, wait_for

from durably import Command, RunHandle, Worker, entrypoint, interrupt, task
from durably.checkpoint.base import BaseCheckpointer
from durably.checkpoint.sqlite import SqliteSaver
from durably.errors import (
    AlreadyAnswered,
    ConfigError,
    EmptyInputError,
    NodeCancelledError,
    ThreadBusy,
    WorkflowMismatch,
)

Do = Callable[..., Any]


class TestASubmittedRun:
    def test_waits_for_a_worker(self, saver: BaseCheckpointer, do: Do) -> None:
        ran: list[int] = []

        @entrypoint(checkpointer=saver)
        def flow(x: int) -> int:
            ran.append(x)
            return x + 1

        handle = do(flow, "submit", 1, thread_id="a")
        assert handle.status == "pending"
        with pytest.raises(TimeoutError, match="pending"):
            handle.result(timeout=0.01)
        assert ran == []
        assert [t.thread_id for t in flow.threads(status="pending")] == ["a"]
        assert flow.get_state(thread_id="a").next == ("flow",)
        assert do(flow, "recover") == {"a": 2}
        assert do(handle, "result") == 2
        assert handle.status == "done"
        assert [run.attempts for run in flow.runs("a")] == [1]

    def test_is_found_again_by_its_name_or_its_thread(self, saver: BaseCheckpointer, do: Do) -> None:
        @entrypoint(checkpointer=saver)
        def flow(x: int) -> int:
            return x + 1

        @entrypoint(checkpointer=saver)
        def other(x: int) -> int:
            return x

        handle = do(flow, "submit", 1, {"configurable": {"thread_id": "a"}})
        for again in (do(flow, "handle", handle.run_id), do(flow, "handle", thread_id="a")):
            assert (again.run_id, again.thread_id, again.config) == (handle.run_id, "a", handle.config)
            assert handle.run_id in repr(again)
        with pytest.raises(WorkflowMismatch):
            do(other, "handle", handle.run_id)
        with pytest.raises(ConfigError, match="no run"):
            do(flow, "handle", "nothing")
        with pytest.raises(EmptyInputError):
            do(flow, "handle", thread_id="nothing")
        flow.recover()
        assert asyncio.run(_awaited(again)) == 2
        saver.delete_thread("a")
        with pytest.raises(NodeCancelledError):
            again.result()

    def test_raises_what_it_raised(self, saver: BaseCheckpointer, do: Do) -> None:
        @entrypoint(checkpointer=saver)
        def flow(x: int) -> int:
            raise ValueError("no")

        handle = do(flow, "submit", 1, thread_id="a")
        assert isinstance(do(flow, "recover")["a"], ValueError)
        with pytest.raises(ValueError, match="no"):
            do(handle, "result")

    def test_a_failed_one_is_handed_in_again(self, saver: BaseCheckpointer, do: Do) -> None:
        """Its failed call runs again; what it had handled stays history."""
        calls: list[str] = []

        @task
        def fails(name: str) -> str:
            calls.append(name)
            if calls.count(name) < 2:
                raise ConnectionError(name)
            return name

        @entrypoint(checkpointer=saver)
        def flow(_: int) -> list[str]:
            try:
                fails("handled").result()
            except ConnectionError:
                return ["handled", fails("b").result()]
            return []

        flow.submit(1, thread_id="a")
        assert isinstance(do(flow, "recover")["a"], ConnectionError)
        handle = do(flow, "submit", None, thread_id="a")
        assert handle.status == "pending"
        assert do(flow, "recover") == {"a": ["handled", "b"]}
        assert calls == ["handled", "b", "b"]

    def test_can_be_run_here_instead(self, saver: BaseCheckpointer, do: Do) -> None:
        @entrypoint(checkpointer=saver)
        def flow(x: int) -> int:
            return x + 1

        handle = flow.submit(1, thread_id="a")
        assert do(flow, "invoke", None, thread_id="a") == 2
        assert handle.result() == 2
        assert flow.recover() == {}

    def test_under_a_key_is_one(self, saver: BaseCheckpointer, do: Do) -> None:
        ran: list[int] = []

        @entrypoint(checkpointer=saver)
        def flow(x: int) -> int:
            ran.append(x)
            return x

        handles = [do(flow, "submit", x, thread_id="a", idempotency_key="k") for x in (1, 2)]
        assert len({handle.run_id for handle in handles}) == 1
        flow.recover()
        handles.append(do(flow, "submit", 3, thread_id="a", idempotency_key="k"))
        assert [handle.result() for handle in handles] == [1, 1, 1]
        assert ran == [1]

    def test_what_cannot_be(self, saver: BaseCheckpointer, do: Do) -> None:
        @entrypoint(checkpointer=saver)
        def flow(x: int) -> int:
            return x

        with pytest.raises(ConfigError, match="exit"):
            do(flow, "submit", 1, thread_id="a", durability="exit")
        with pytest.raises(ConfigError, match="thread"):
            do(flow, "submit", 1)
        with pytest.raises(EmptyInputError):
            do(flow, "submit", None, thread_id="a")
        with pytest.raises(ConfigError, match="stores nothing"):
            do(entrypoint()(lambda x: x), "submit", 1)
        assert flow.recover() == {}


async def _awaited(handle: RunHandle[Any]) -> Any:
    return await handle


class TestTheThreadOfAWaitingRun:
    def flow(self, saver: BaseCheckpointer, on_busy: Any = "reject") -> Any:
        @entrypoint(checkpointer=saver, on_busy=on_busy, name="flow")
        def flow(x: int, *, previous: list[int] | None = None) -> list[int]:
            return [*(previous or []), x]

        return flow

    def test_is_busy(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = self.flow(saver)
        first = flow.submit(1, thread_id="a")
        for method in ("invoke", "submit"):
            with pytest.raises(ThreadBusy, match="waits for a worker"):
                do(flow, method, 2, thread_id="a")
        flow.recover()
        assert first.result() == [1]
        assert do(flow, "invoke", 2, thread_id="a") == [1, 2]

    def test_queues_in_the_order_of_arrival(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = self.flow(saver, "enqueue")
        handles = [do(flow, "submit", x, thread_id="a") for x in range(5)]
        assert [handle.status for handle in handles] == ["pending"] * 5
        do(handles[2], "cancel")
        flow.recover(max_concurrency=3)
        assert [handle.result() for handle in handles if handle is not handles[2]] == [
            [0],
            [0, 1],
            [0, 1, 3],
            [0, 1, 3, 4],
        ]
        with pytest.raises(NodeCancelledError):
            handles[2].result()
        states = [s for s in flow.get_state_history(thread_id="a") if s.metadata]
        assert [s.metadata["step"] for s in states if s.metadata] == [6, 5, 4, 3, 2, 1, 0, -1]
        assert states[1].parent_config == states[2].config

    def test_a_cancelled_one_lets_the_next_one_go(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = self.flow(saver, "enqueue")
        first, second, third = (flow.submit(x, thread_id="a") for x in (1, 2, 3))
        do(second, "cancel")
        do(first, "cancel")
        with pytest.raises(EmptyInputError):
            do(first, "cancel")
        assert flow.recover() == {"a": [3]}
        assert third.result() == [3]

    def test_an_invocation_waits_behind_what_was_accepted(self, saver: BaseCheckpointer) -> None:
        flow = self.flow(saver, "enqueue")
        for x in (1, 2):
            flow.submit(x, thread_id="a")
        results: list[Any] = []
        waiting = threading.Thread(target=lambda: results.append(flow.invoke(3, thread_id="a")))
        waiting.start()
        while flow.recover() != {} or not results:
            waiting.join(0.01)
        assert results == [[1, 2, 3]]

    def test_is_joined(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = self.flow(saver, "join")
        first = flow.submit(1, thread_id="a")
        assert do(flow, "submit", 2, thread_id="a").run_id == first.run_id

    @pytest.mark.parametrize(("on_busy", "left"), [("interrupt", "stopped"), ("rollback", "undone")])
    def test_is_taken_by_a_new_run(self, saver: BaseCheckpointer, do: Do, on_busy: str, left: str) -> None:
        flow = self.flow(saver, on_busy)
        first = flow.submit(1, thread_id="a")
        assert do(flow, "submit", 2, thread_id="a").status == "pending"
        assert first.status == left
        assert flow.recover() == {"a": [2]}

    def test_can_be_updated_before_the_run_begins(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = self.flow(saver)
        handle = flow.submit(1, thread_id="a")
        do(flow, "update_state", {"configurable": {"thread_id": "a"}}, [7])
        flow.recover()
        assert handle.result() == [7, 1]

    def test_what_is_kept_or_forgotten(self, saver: BaseCheckpointer) -> None:
        """Pruning keeps what waits, a copy has nothing that waits, and deleting the current run lets the next one go."""
        flow = self.flow(saver, "enqueue")
        first, second, third = (flow.submit(x, thread_id="a") for x in (1, 2, 3))
        assert saver.prune("a", keep_last=0) == 0
        saver.copy_thread("a", "b")
        saver.delete_for_runs([first.run_id])
        assert flow.recover() == {"a": [2, 3]}
        assert (second.result(), third.result()) == ([2], [2, 3])
        assert {run.status for run in flow.runs("b")} == {"stopped"}


class TestQuestions:
    def flow(self, saver: BaseCheckpointer) -> Any:
        @task
        def ask(name: str) -> str:
            return interrupt(name)  # type: ignore[no-any-return]

        @entrypoint(checkpointer=saver)
        def flow(names: list[str]) -> list[str]:
            return [future.result() for future in [ask(name) for name in names]]

        return flow

    def test_come_back_as_the_result_and_an_answer_makes_the_run_due(self, saver: BaseCheckpointer, do: Do) -> None:
        flow = self.flow(saver)
        handle = do(flow, "submit", ["a", "b"], thread_id="t")
        flow.recover()
        ids = {question.value: question.id for question in do(handle, "result")["__interrupt__"]}
        assert handle.status == "asked"
        do(flow, "submit", Command(resume={ids["a"]: 1}), thread_id="t")
        assert handle.status == "pending"
        do(flow, "submit", Command(resume={ids["b"]: 2}), thread_id="t")
        with pytest.raises(AlreadyAnswered):
            do(flow, "submit", Command(resume={ids["b"]: 3}), thread_id="t")
        assert flow.recover() == {"t": [1, 2]}
        assert [run.attempts for run in flow.runs("t")] == [2]
        assert do(handle, "result") == [1, 2]

    def test_an_answer_to_a_run_under_way_is_not_lost(self, saver: BaseCheckpointer, do: Do) -> None:
        """The attempt is about to end with the question: another one follows."""
        asked, go = threading.Event(), threading.Event()

        @task
        def ask(name: str) -> str:
            return interrupt(name)  # type: ignore[no-any-return]

        @task
        def slow() -> None:
            asked.set()
            go.wait(60)

        @entrypoint(checkpointer=saver)
        def flow(_: int) -> str:
            question, work = ask("sure?"), slow()
            work.result()
            return question.result()

        flow.submit(1, thread_id="t")
        worker = threading.Thread(target=lambda: Worker(flow, poll_interval=0.01).run(until_idle=True))
        worker.start()
        asked.wait(60)
        wait_for(lambda: any(call.status == "asked" for call in flow.runs("t")[0].calls()))
        do(flow, "submit", Command(resume="yes"), thread_id="t")
        go.set()
        worker.join(60)
        assert flow.handle(thread_id="t").result() == "yes"

    def test_a_new_input_leaves_an_open_question_behind(self, saver: BaseCheckpointer) -> None:
        flow = self.flow(saver)
        handle = flow.submit(["a"], thread_id="t")
        flow.recover()
        second = flow.submit([], thread_id="t")
        assert handle.status == "abandoned"
        flow.recover()
        assert second.result() == []


class TestInsideARun:
    @pytest.mark.parametrize("colour", ["sync", "async"])
    def test_it_is_made_once(self, saver: BaseCheckpointer, colour: str) -> None:
        attempts: list[int] = []

        @entrypoint(checkpointer=saver)
        def child(x: int) -> int:
            return 10 * x

        def fail_once() -> None:
            attempts.append(1)
            if len(attempts) == 1:
                raise ConnectionError

        @entrypoint(checkpointer=saver, name="parent")
        def parent(x: int) -> str:
            handle = child.submit(x, thread_id="child")
            fail_once()
            return handle.run_id

        @entrypoint(checkpointer=saver, name="parent")
        async def aparent(x: int) -> str:
            handle = await child.asubmit(x, thread_id="child")
            fail_once()
            return handle.run_id

        flow: Any = parent if colour == "sync" else aparent
        with pytest.raises(ConnectionError):
            flow.invoke(4, thread_id="p")
        run_id = flow.invoke(None, thread_id="p")
        assert [run.run_id for run in child.runs("child")] == [run_id]
        assert child.recover() == {"child": 40}

    def test_a_crash_between_the_two_writes_leaves_one_run(self, saver: BaseCheckpointer) -> None:
        """The run is accepted, and its caller dies before that is recorded: the call is made again, and finds it."""

        @entrypoint(checkpointer=saver)
        def child(x: int) -> int:
            return x

        @entrypoint(checkpointer=saver)
        def parent(x: int) -> str:
            return child.submit(x, thread_id="child").run_id

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "durably.engine.recorder.Recorder.result", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)
            )
            with pytest.raises(KeyboardInterrupt):
                parent.invoke(1, thread_id="p")
        assert parent.invoke(None, thread_id="p") == child.runs("child")[0].run_id
        assert len(child.runs("child")) == 1


class TestAWorker:
    def test_arguments(self, saver: BaseCheckpointer) -> None:
        @entrypoint(checkpointer=saver, context_schema=dict)
        def needs(x: int) -> int:
            return x

        @entrypoint()
        def plain(x: int) -> int:
            return x

        wrong: list[tuple[Any, dict[str, Any], str]] = [
            ([], {}, "needs a workflow"),
            ([1], {}, "entrypoint"),
            (plain, {}, "stores nothing"),
            (needs, {}, "context"),
            (needs, {"context": {}, "concurrency": 0}, "concurrency"),
            (needs, {"context": {}, "grace": -1}, "grace"),
            (needs, {"context": {}, "poll_interval": 0}, "poll_interval"),
        ]
        for workflows, options, text in wrong:
            with pytest.raises(ConfigError, match=text):
                Worker(workflows, **options)

    def test_runs_no_more_than_its_share_at_once(self, saver: BaseCheckpointer) -> None:
        lock, under_way, most = threading.Lock(), 0, 0
        full = threading.Event()

        @entrypoint(checkpointer=saver)
        def flow(_: int) -> None:
            nonlocal under_way, most
            with lock:
                under_way += 1
                most = max(most, under_way)
                if under_way == 3:
                    full.set()
            full.wait(60)
            with lock:
                under_way -= 1

        for x in range(12):
            flow.submit(x, thread_id=str(x))
        Worker(flow, concurrency=3).run(until_idle=True)
        assert most == 3
        assert [t.status for t in flow.threads()] == ["done"] * 12

    def test_several_workflows_on_several_databases(self, tmp_path: Path) -> None:
        savers = [SqliteSaver(tmp_path / f"{name}.db") for name in "ab"]
        flows = [entrypoint(checkpointer=saver, name=name)(_named(name)) for saver in savers for name in ("x", "y")]
        handles = [flow.submit(1, thread_id=flow.name) for flow in flows]
        Worker(flows, concurrency=2).run(until_idle=True)
        assert [handle.result() for handle in handles] == ["x", "y", "x", "y"]
        for saver in savers:
            saver.close()

    def test_goes_on_after_a_run_that_fails_or_exits(self, saver: BaseCheckpointer) -> None:
        @entrypoint(checkpointer=saver)
        def flow(error: str) -> str:
            if error:
                raise {"value": ValueError, "exit": SystemExit, "interrupt": KeyboardInterrupt}[error]
            return "fine"

        handles = {error: flow.submit(error, thread_id=error or "-") for error in ("value", "exit", "interrupt", "")}
        Worker(flow, concurrency=1).run(until_idle=True)
        assert {error: handle.status for error, handle in handles.items()} == {
            "value": "failed",
            "exit": "stopped",
            "interrupt": "stopped",
            "": "done",
        }

    def test_gives_each_run_its_context(self, saver: BaseCheckpointer, caplog: pytest.LogCaptureFixture) -> None:
        @entrypoint(checkpointer=saver, context_schema=dict)
        def flow(x: int, *, runtime: Any) -> str:
            return str(runtime.context["tenant"])

        def context(run: Any) -> dict[str, str]:
            return {"tenant": run.metadata["tenant"]}

        good = flow.submit(1, {"metadata": {"tenant": "acme"}}, thread_id="good")
        bad = flow.submit(1, thread_id="bad")
        Worker(flow, context=context).run(until_idle=True)
        assert good.result() == "acme"
        assert bad.status == "pending"
        assert "has no context" in caplog.text
        assert isinstance(flow.get_state(thread_id="bad").tasks[0].error, KeyError)

    def test_wakes_by_news(self) -> None:
        """A poll is far away: what is submitted meanwhile is heard of."""
        from durably import InMemorySaver

        @entrypoint(checkpointer=InMemorySaver())
        async def flow(x: int) -> int:
            return x + 1

        async def whole() -> int:
            worker = Worker(flow, poll_interval=3600.0)
            working = asyncio.create_task(worker.arun())
            with pytest.raises(ConfigError, match="at work"):
                await asyncio.sleep(0.05)
                await worker.arun()
            result = await (await flow.asubmit(1, thread_id="a"))
            worker.stop()
            await working
            return result

        assert asyncio.run(whole()) == 2


def _named(name: str) -> Callable[[int], str]:
    def flow(x: int) -> str:
        return name

    return flow


class TestWorkersInProcesses:
    def test_each_run_is_taken_by_one(self, shop: Shop) -> None:
        handles = [shop.flow.submit([f"r{n}"], thread_id=f"t{n}") for n in range(40)]
        jobs = [shop.start("work", until_idle=True, how={"concurrency": 4}) for _ in range(3)]
        assert [job.outcome() for job in jobs] == [{"value": None}] * 3
        assert [handle.result() for handle in handles] == [[f"r{n}"] for n in range(40)]
        assert sorted(_ledger(shop)) == sorted(f"{word} r{n}" for n in range(40) for word in ("begin", "end"))

    def test_one_takes_over_what_another_was_killed_at(self, shop: Shop) -> None:
        how = {"poll_interval": 0.05, "concurrency": 1}
        first = shop.start("work", how=how)
        handle = shop.flow.submit(["before", f"held@{shop.folder / 'gate'}"], thread_id="t")
        wait_for(lambda: "begin held" in _ledger(shop))
        wait_for(lambda: shop.flow.runs("t")[0].calls())
        second = shop.start("work", how=how)
        first.kill()
        shop.open()
        assert handle.result(timeout=60) == ["before", "held"]
        second.process.terminate()
        assert second.outcome() == {"value": None}
        assert _ledger(shop) == ["begin before", "end before", "begin held", "begin held", "end held"]
        assert shop.flow.runs("t")[0].attempts == 2

    def test_a_signal_lets_runs_finish_and_takes_no_more(self, shop: Shop) -> None:
        job = shop.start("work", how={"poll_interval": 0.05, "concurrency": 1})
        held = shop.flow.submit([f"held@{shop.folder / 'gate'}"], thread_id="a")
        wait_for(lambda: "begin held" in _ledger(shop))
        later = shop.flow.submit(["later"], thread_id="b")
        job.process.terminate()
        shop.open()
        assert job.outcome() == {"value": None}
        assert held.status == "done"
        assert later.status == "pending"

    @pytest.mark.parametrize("colour", ["sync", "async"])
    @pytest.mark.parametrize("twice", [True, False])
    def test_past_the_grace_period_or_at_a_second_signal_runs_are_handed_back(
        self, shop: Shop, twice: bool, colour: str
    ) -> None:
        grace = 3600.0 if twice else 0.1
        job = shop.start("work", how={"poll_interval": 0.05, "grace": grace}, colour=colour)
        handle = shop.flow.submit(["before", f"held@{shop.folder / 'gate'}", "after"], thread_id="a")
        wait_for(lambda: "begin held" in _ledger(shop))
        job.process.terminate()
        if twice:
            wait_for(lambda: "drains" in shop.ledger.read_text())
            job.process.terminate()
        if colour == "sync":  # a thread cannot be stopped inside a task, only at the next call
            wait_for(lambda: "leaves" in shop.ledger.read_text())
            shop.open()
        assert job.outcome() == {"value": None}
        assert handle.status == "stopped"
        shop.open()
        assert shop.flow.recover() == {"a": ["before", "held", "after"]}
        assert _ledger(shop).count("begin before") == 1
        assert _ledger(shop).count("begin held") == (1 if colour == "sync" else 2)


def _ledger(shop: Shop) -> list[str]:
    lines = shop.ledger.read_text().splitlines() if shop.ledger.exists() else []
    return [line for line in lines if line.startswith(("begin", "end"))]
