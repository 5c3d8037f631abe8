"""How bodies end, and what becomes of the calls they leave unfinished."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
from contextlib import aclosing
from typing import Any

import pytest

from durably import RetryPolicy, Workflow, entrypoint, get_stream_writer, interrupt, task
from durably.engine.call import TaskFuture
from durably.errors import NodeCancelledError

LONG = 20.0


def invoke(workflow: Workflow[Any, Any], value: Any, config: Any = None) -> Any:
    return workflow.invoke(value, config)


def ainvoke(workflow: Workflow[Any, Any], value: Any, config: Any = None) -> Any:
    return asyncio.run(workflow.ainvoke(value, config))


both_ways = pytest.mark.parametrize("run", [invoke, ainvoke])


class Ledger:
    """What the tasks of a test did, in order."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()
        self.lines: list[str] = []

    def wait(self, line: str) -> str:
        """Begin, wait to be released, and write the line."""
        self.begun.set()
        assert self.release.wait(LONG)
        self.lines.append(line)
        return line

    async def await_for_ever(self, line: str) -> str:
        """Begin, and write the line when cancelled."""
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.lines.append(line)
            raise
        raise AssertionError("never")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


class TestABodyThatReturns:
    @both_ways
    @pytest.mark.parametrize("width", [1, 30])
    def test_unawaited_tasks_finish(self, run: Any, width: int) -> None:
        done: list[int] = []

        @task
        def leaf(n: int) -> None:
            done.append(n)

        @task
        async def branch(n: int) -> None:
            await asyncio.sleep(0)
            leaf(2 * n)
            leaf(2 * n + 1)

        @entrypoint()
        def sync_flow(n: int) -> str:
            for i in range(n):
                branch(i)
            return "returned"

        @entrypoint()
        async def async_flow(n: int) -> str:
            for i in range(n):
                branch(i)
            return "returned"

        for flow in (sync_flow, async_flow):
            done.clear()
            assert run(flow, width) == "returned"
            assert sorted(done) == list(range(2 * width))

    @both_ways
    def test_their_futures_are_done_when_the_run_is(self, run: Any) -> None:
        @task
        def leaf(n: int) -> int:
            return n

        futures: list[TaskFuture[int]] = []

        @entrypoint()
        def workflow(_: None) -> None:
            futures.extend(leaf(n) for n in range(20))

        for _ in range(20):
            futures.clear()
            run(workflow, None)
            assert [future.result(0) for future in futures] == list(range(20))

    @both_ways
    def test_their_failures_are_logged(self, run: Any, caplog: pytest.LogCaptureFixture) -> None:
        @task
        def fail() -> None:
            raise ValueError("nobody asked")

        @task
        async def afail() -> None:
            raise ValueError("nobody asked either")

        @entrypoint()
        def workflow(_: None) -> str:
            fail()
            afail()
            return "returned"

        assert run(workflow, None) == "returned"
        assert "task 'fail' failed, and nobody asked" in caplog.text
        assert "nobody asked either" in caplog.text

    @both_ways
    def test_a_failure_that_was_handled_is_not_logged(self, run: Any, caplog: pytest.LogCaptureFixture) -> None:
        @task
        def fail() -> None:
            raise ValueError("handled")

        @entrypoint()
        def workflow(_: None) -> str:
            with pytest.raises(ValueError, match="handled"):
                fail().result()
            other = fail()
            concurrent.futures.wait([other])
            return str(other.exception())

        assert run(workflow, None) == "handled"
        assert caplog.text == ""

    @pytest.mark.parametrize("colour", ["sync", "async"])
    def test_what_it_leaves_behind_can_make_no_more_calls(self, colour: str) -> None:
        outcome: concurrent.futures.Future[str] = concurrent.futures.Future()
        release = threading.Event()

        @task
        def leaf() -> str:
            return "ran"

        async def straggle() -> None:
            await asyncio.to_thread(release.wait, LONG)
            try:
                outcome.set_result(await leaf())
            except BaseException as error:
                outcome.set_exception(error)

        @task
        async def body() -> None:
            background.append(asyncio.create_task(straggle()))

        @entrypoint()
        async def workflow(_: None) -> str:
            await body()
            if colour == "sync":  # the run still goes on
                release.set()
                await asyncio.wait(background)
            return "returned"

        background: list[Any] = []

        async def main() -> None:
            assert await workflow.ainvoke(None) == "returned"
            release.set()
            await asyncio.wait(background)

        asyncio.run(main())
        error = outcome.exception()
        assert error is not None
        assert "left behind" in str(error)


class TestABodyThatFails:
    @both_ways
    def test_queued_calls_do_not_start(self, run: Any, ledger: Ledger) -> None:
        @task
        def holder() -> str:
            return ledger.wait("held")

        @task
        def queued() -> None:
            ledger.lines.append("queued")

        futures: list[Any] = []

        @entrypoint()
        def workflow(_: None) -> None:
            futures.append(holder())
            assert ledger.begun.wait(LONG)
            futures.extend(queued() for _ in range(5))
            threading.Timer(0.02, ledger.release.set).start()
            raise ValueError("the body failed")

        with pytest.raises(ValueError, match="the body failed"):
            run(workflow, None, {"max_concurrency": 1})
        assert ledger.lines == ["held"]
        assert [future.cancelled() for future in futures] == [False] + [True] * 5

    @both_ways
    @pytest.mark.parametrize("colour", ["sync", "async"])
    def test_async_ones_are_cancelled(self, run: Any, colour: str, ledger: Ledger) -> None:
        @task
        async def endless() -> Any:
            await ledger.await_for_ever("cancelled")

        @entrypoint()
        def sync_flow(_: None) -> None:
            endless()
            assert ledger.begun.wait(LONG)
            raise ValueError("the body failed")

        @entrypoint()
        async def async_flow(_: None) -> None:
            endless()
            await asyncio.to_thread(ledger.begun.wait, LONG)
            raise ValueError("the body failed")

        with pytest.raises(ValueError, match="the body failed"):
            run(sync_flow if colour == "sync" else async_flow, None)
        assert ledger.lines == ["cancelled"]

    @both_ways
    @pytest.mark.parametrize("colour", ["sync", "async"])
    def test_started_sync_ones_are_waited_for(self, run: Any, colour: str, ledger: Ledger) -> None:
        @task
        def slow() -> str:
            threading.Timer(0.05, ledger.release.set).start()
            return ledger.wait("finished")

        @entrypoint()
        def sync_flow(_: None) -> None:
            slow()
            assert ledger.begun.wait(LONG)
            raise ValueError("the body failed")

        @entrypoint()
        async def async_flow(_: None) -> None:
            slow()
            await asyncio.to_thread(ledger.begun.wait, LONG)
            raise ValueError("the body failed")

        with pytest.raises(ValueError, match="the body failed"):
            run(sync_flow if colour == "sync" else async_flow, None)
        assert ledger.lines == ["finished"]

    @both_ways
    def test_but_not_for_longer_than_the_grace(self, run: Any, ledger: Ledger) -> None:
        ended = threading.Event()

        @task
        def after() -> None:
            ledger.lines.append("a call of an ended run")

        @task
        def slow() -> None:
            try:
                ledger.wait("finished late")
                after()
            finally:
                ended.set()

        @entrypoint()
        def workflow(_: None) -> None:
            slow()
            assert ledger.begun.wait(LONG)
            raise ValueError("the body failed")

        with pytest.raises(ValueError, match="the body failed"):
            run(workflow, None, {"grace": 0.01})
        assert ledger.lines == []
        ledger.release.set()
        assert ended.wait(LONG)
        assert ledger.lines == ["finished late"]

    @both_ways
    def test_the_exception_is_the_tasks_own(self, run: Any) -> None:
        class Broken(Exception):
            pass

        broken = Broken("it broke")

        @task
        def fail() -> None:
            raise broken

        @task
        async def pass_on() -> None:
            await fail()

        @entrypoint()
        def workflow(_: None) -> None:
            pass_on().result()

        with pytest.raises(Broken) as raised:
            run(workflow, None)
        assert raised.value is broken

    @both_ways
    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    @pytest.mark.parametrize("where", ["task", "body"])
    def test_a_process_that_is_ending(self, run: Any, kind: Any, where: str, ledger: Ledger) -> None:
        """Ctrl-C arrives in whatever runs on the main thread; async work is cancelled, and nobody retries."""

        @task
        async def endless() -> Any:
            await ledger.await_for_ever("cancelled")

        @task
        def leave() -> None:
            ledger.lines.append("leaving")
            raise kind

        @entrypoint()
        def workflow(_: None) -> None:
            endless()
            assert ledger.begun.wait(LONG)
            if where == "body":
                raise kind
            leave().result()

        with pytest.raises(kind):
            run(workflow, None)
        assert ledger.lines == (["leaving"] if where == "task" else []) + ["cancelled"]


class TestABodyThatAsks:
    @both_ways
    @pytest.mark.parametrize("colour", ["sync", "async"])
    def test_started_ones_finish(self, run: Any, colour: str) -> None:
        done: list[int] = []

        @task
        def leaf(n: int) -> None:
            done.append(n)

        @task
        async def aleaf(n: int) -> None:
            await asyncio.sleep(0)
            done.append(n)

        @entrypoint()
        def sync_flow(_: None) -> None:
            for n in range(10):
                (leaf if n % 2 else aleaf)(n)
            interrupt("?")

        @entrypoint()
        async def async_flow(_: None) -> None:
            for n in range(10):
                (leaf if n % 2 else aleaf)(n)
            interrupt("?")

        answer = run(sync_flow if colour == "sync" else async_flow, None)
        assert [question.value for question in answer["__interrupt__"]] == ["?"]
        assert sorted(done) == list(range(10))

    @both_ways
    def test_queued_ones_do_not_start(self, run: Any, ledger: Ledger) -> None:
        @task
        def holder() -> str:
            return ledger.wait("held")

        @task
        def queued() -> None:
            ledger.lines.append("queued")

        @entrypoint()
        def workflow(_: None) -> None:
            holder()
            assert ledger.begun.wait(LONG)
            for _ in range(5):
                queued()
            threading.Timer(0.02, ledger.release.set).start()
            interrupt("?")

        assert "__interrupt__" in run(workflow, None, {"max_concurrency": 1})
        assert ledger.lines == ["held"]

    @both_ways
    def test_swallowing_the_signal_stops_all_the_same(self, run: Any) -> None:
        @entrypoint()
        def workflow(_: None) -> str:
            try:
                interrupt("?")
            except BaseException:
                pass
            return "went on"

        assert [question.value for question in run(workflow, None)["__interrupt__"]] == ["?"]

    @both_ways
    def test_except_exception_does_not_swallow_it(self, run: Any) -> None:
        @task
        def ask() -> None:
            try:
                interrupt("?")
            except Exception:
                raise AssertionError("a question is no error")

        @entrypoint()
        def workflow(_: None) -> str:
            try:
                ask().result()
            except Exception:
                return "swallowed"
            return "went on"

        assert [question.value for question in run(workflow, None)["__interrupt__"]] == ["?"]

    def test_questions_of_parallel_tasks_surface_together(self) -> None:
        @task
        async def ask(n: int) -> None:
            await asyncio.sleep(0)
            interrupt(n)

        async def in_group(n: int) -> None:
            await ask(n)

        @entrypoint()
        async def gathered(_: None) -> None:
            await asyncio.gather(*(ask(n) for n in range(3)))

        @entrypoint()
        async def grouped(_: None) -> None:
            async with asyncio.TaskGroup() as group:
                for n in range(3):
                    group.create_task(in_group(n))

        for workflow in (gathered, grouped):
            answer = ainvoke(workflow, None)
            assert len({question.id for question in answer["__interrupt__"]}) == len(answer["__interrupt__"]) >= 1
        assert {question.value for question in ainvoke(gathered, None)["__interrupt__"]} == {0, 1, 2}


class TestBeingCancelled:
    def test_an_async_workflow(self, ledger: Ledger) -> None:
        @task
        async def endless() -> Any:
            await ledger.await_for_ever("task")

        @entrypoint()
        async def workflow(_: None) -> None:
            other = endless()
            try:
                await asyncio.gather(endless(), other)
            finally:
                ledger.lines.append("workflow")

        async def main() -> None:
            running = asyncio.create_task(workflow.ainvoke(None))
            await asyncio.to_thread(ledger.begun.wait, LONG)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

        asyncio.run(main())
        assert sorted(ledger.lines) == ["task", "task", "workflow"]

    def test_a_sync_workflow_stops_at_its_next_call(self, ledger: Ledger) -> None:
        @task
        def slow() -> str:
            return ledger.wait("task")

        @task
        def after() -> None:
            ledger.lines.append("after")

        ended = threading.Event()

        @entrypoint()
        def workflow(_: None) -> None:
            try:
                slow().result()
                after().result()
            finally:
                ended.set()

        async def main() -> None:
            running = asyncio.create_task(workflow.ainvoke(None))
            await asyncio.to_thread(ledger.begun.wait, LONG)
            running.cancel()
            await asyncio.sleep(0)
            ledger.release.set()
            with pytest.raises(asyncio.CancelledError):
                await running

        asyncio.run(main())
        assert ended.wait(LONG)
        assert ledger.lines == ["task"]

    def test_a_sync_workflow_that_outlasts_the_grace(self, ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
        ended = threading.Event()

        @entrypoint()
        def workflow(_: None) -> None:
            try:
                ledger.wait("body")
                raise ValueError("nobody hears of this")
            finally:
                ended.set()

        async def main() -> None:
            running = asyncio.create_task(workflow.ainvoke(None, {"grace": 0.01}))
            await asyncio.to_thread(ledger.begun.wait, LONG)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert ledger.lines == []
            ledger.release.set()
            await asyncio.to_thread(ended.wait, LONG)
            await asyncio.sleep(0.02)

        asyncio.run(main())
        gc.collect()
        assert ledger.lines == ["body"]
        assert "never retrieved" not in caplog.text

    def test_a_sync_workflow_that_waits_for_an_async_task(self, ledger: Ledger) -> None:
        @task
        async def endless() -> Any:
            await ledger.await_for_ever("task")

        @entrypoint()
        def workflow(_: None) -> None:
            endless().result()

        async def main() -> None:
            running = asyncio.create_task(workflow.ainvoke(None))
            await asyncio.to_thread(ledger.begun.wait, LONG)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

        asyncio.run(main())
        assert ledger.lines == ["task"]

    def test_an_async_workflow_under_invoke_that_cancels_itself(self) -> None:
        @entrypoint()
        async def workflow(_: None) -> None:
            raise asyncio.CancelledError

        with pytest.raises(NodeCancelledError, match="workflow 'workflow' was cancelled"):
            workflow.invoke(None)

    def test_wait_for_around_a_workflow(self, ledger: Ledger) -> None:
        @task
        async def endless() -> Any:
            await ledger.await_for_ever("task")

        @entrypoint()
        async def workflow(_: None) -> None:
            await endless()

        async def main() -> None:
            await asyncio.wait_for(workflow.ainvoke(None), 0.05)

        with pytest.raises(TimeoutError):
            asyncio.run(main())
        assert ledger.lines == ["task"]

    def test_a_retry_that_is_due_is_given_up(self, ledger: Ledger) -> None:
        def to_be_retried(_: Exception) -> bool:
            ledger.begun.set()
            return True

        @task(retry_policy=RetryPolicy(initial_interval=0.5, jitter=False, retry_on=to_be_retried))
        def failing() -> None:
            ledger.lines.append("attempt")
            raise ValueError("again")

        @entrypoint()
        def workflow(_: None) -> None:
            failing().result()

        async def main() -> None:
            running = asyncio.create_task(workflow.ainvoke(None))
            await asyncio.to_thread(ledger.begun.wait, LONG)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

        asyncio.run(main())
        assert ledger.lines == ["attempt"]


class TestLeavingAStream:
    @pytest.mark.parametrize("colour", ["sync", "async"])
    def test_of_a_thread(self, colour: str, ledger: Ledger) -> None:
        @task
        def first() -> str:
            return "first"

        @task
        async def endless() -> Any:
            await ledger.await_for_ever("cancelled")

        @entrypoint()
        def sync_flow(_: None) -> None:
            first().result()
            endless().result()

        @entrypoint()
        async def async_flow(_: None) -> None:
            await first()
            await endless()

        chunks = (sync_flow if colour == "sync" else async_flow).stream(None)
        assert next(iter(chunks)) == {"first": "first"}
        assert ledger.begun.wait(LONG)
        chunks.close()  # type: ignore[attr-defined]
        assert ledger.lines == ["cancelled"]

    @pytest.mark.parametrize("colour", ["sync", "async"])
    def test_of_a_loop(self, colour: str, ledger: Ledger) -> None:
        @task
        def first() -> str:
            return "first"

        @task
        async def endless() -> Any:
            await ledger.await_for_ever("cancelled")

        @entrypoint()
        def sync_flow(_: None) -> None:
            first().result()
            endless().result()

        @entrypoint()
        async def async_flow(_: None) -> None:
            await first()
            await endless()

        async def main() -> None:
            chunks: Any = (sync_flow if colour == "sync" else async_flow).astream(None)
            async with aclosing(chunks):
                async for chunk in chunks:
                    assert chunk == {"first": "first"}
                    await asyncio.to_thread(ledger.begun.wait, LONG)
                    break

        asyncio.run(main())
        assert ledger.lines == ["cancelled"]

    def test_a_writer_that_waits_for_the_reader_goes_on(self) -> None:
        written: list[int] = []
        ended = threading.Event()

        @entrypoint()
        def workflow(n: int) -> None:
            try:
                write = get_stream_writer()
                for i in range(n):
                    write(i)
                    written.append(i)
            finally:
                ended.set()

        chunks = workflow.stream(5000, stream_mode="custom")
        assert next(iter(chunks)) == 0
        chunks.close()  # type: ignore[attr-defined]
        assert ended.wait(LONG)
        assert written == list(range(5000))
