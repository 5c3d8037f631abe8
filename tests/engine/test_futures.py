"""A `TaskFuture` is a `concurrent.futures.Future` and an awaitable, whoever asks for it, wherever."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest

from durably import entrypoint, task
from durably.engine.call import TaskFuture
from durably.errors import BlockingError

LONG = 20.0
"""Seconds after which a wait that should have ended is a failure."""


def run(body: Callable[[], Any], config: dict[str, Any] | None = None) -> Any:
    """Run ``body``, sync or async, as a workflow under ``invoke``."""

    def sync_body(_: None) -> Any:
        return body()

    async def async_body(_: None) -> Any:
        return await body()

    is_async = inspect.iscoroutinefunction(body)
    return entrypoint(name="run")(async_body if is_async else sync_body).invoke(None, config)


def arun(body: Callable[[], Any], config: dict[str, Any] | None = None) -> Any:
    """Run an async ``body`` as a workflow under ``ainvoke``, on a loop of its own."""

    @entrypoint(name="run")
    async def workflow(_: None) -> Any:
        return await body()

    return asyncio.run(workflow.ainvoke(None, config))


@task
def double(x: int) -> int:
    return 2 * x


@task
async def adouble(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


@task
def fail(message: str) -> None:
    raise ValueError(message)


@task
async def afail(message: str) -> None:
    await asyncio.sleep(0)
    raise ValueError(message)


both_doubles = pytest.mark.parametrize("double", [double, adouble], ids=["sync", "async"])
both_fails = pytest.mark.parametrize("fail", [fail, afail], ids=["sync", "async"])
both_runners = pytest.mark.parametrize("arun", [run, arun], ids=["invoke", "ainvoke"])


class TestOnThreads:
    @both_doubles
    def test_is_a_real_future(self, double: Any) -> None:
        def body() -> Any:
            future = double(1)
            assert isinstance(future, concurrent.futures.Future)
            return future.result(), future.done(), future.running(), future.cancelled(), future.exception()

        assert run(body) == (2, True, False, False, None)

    @both_doubles
    def test_concurrent_wait(self, double: Any) -> None:
        def body() -> Any:
            futures = [double(n) for n in range(20)]
            done, not_done = concurrent.futures.wait(futures, timeout=LONG)
            assert not not_done
            assert done == set(futures)
            return [future.result() for future in futures]

        assert run(body) == [2 * n for n in range(20)]

    @both_doubles
    def test_concurrent_as_completed(self, double: Any) -> None:
        def body() -> Any:
            futures = {double(n): n for n in range(20)}
            return {futures[f]: f.result() for f in concurrent.futures.as_completed(futures, timeout=LONG)}

        assert run(body) == {n: 2 * n for n in range(20)}

    def test_first_completed_does_not_wait_for_the_others(self) -> None:
        release = threading.Event()

        @task
        def slow() -> str:
            assert release.wait(LONG)
            return "slow"

        def body() -> Any:
            futures = [slow(), double(1)]
            done, rest = concurrent.futures.wait(futures, LONG, concurrent.futures.FIRST_COMPLETED)
            release.set()
            return [f.result() for f in done], [f.result() for f in rest]

        assert run(body) == ([2], ["slow"])

    @both_fails
    def test_first_exception(self, fail: Any) -> None:
        release = threading.Event()

        @task
        def slow() -> str:
            assert release.wait(LONG)
            return "slow"

        def body() -> Any:
            futures = [slow(), fail("no")]
            done, _ = concurrent.futures.wait(futures, LONG, concurrent.futures.FIRST_EXCEPTION)
            release.set()
            return [str(f.exception()) for f in done]

        assert run(body) == ["no"]

    @both_fails
    def test_exception_returns_what_result_raises(self, fail: Any) -> None:
        def body() -> Any:
            future = fail("no")
            error = future.exception()
            with pytest.raises(ValueError, match="no") as raised:
                future.result()
            return raised.value is error

        assert run(body) is True

    def test_result_with_a_timeout_leaves_the_task_running(self) -> None:
        release = threading.Event()

        @task
        def slow() -> str:
            assert release.wait(LONG)
            return "slow"

        def body() -> Any:
            future = slow()
            for ask in (future.result, future.exception):
                with pytest.raises(TimeoutError, match=r"task 'slow' was not done after 0.01 seconds"):
                    ask(0.01)
            release.set()
            return future.result(LONG)

        assert run(body) == "slow"

    @both_doubles
    def test_callbacks_are_called_once_with_the_future(self, double: Any) -> None:
        told: list[Any] = []
        all_told = threading.Event()

        def body() -> Any:
            future = double(1)
            future.add_done_callback(told.append)
            future.result()
            future.add_done_callback(told.append)
            future.add_done_callback(lambda _: all_told.set())
            assert all_told.wait(LONG)
            return told == [future, future]

        assert run(body) is True

    def test_a_failing_callback_is_logged_and_harms_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        told = threading.Event()

        def body() -> Any:
            future = double(1)
            future.add_done_callback(lambda _: 1 / 0)
            future.add_done_callback(lambda _: told.set())
            return future.result()

        assert run(body) == 2
        assert told.wait(LONG)
        assert "a callback of task 'double' failed" in caplog.text

    def test_a_removed_callback_is_not_called(self) -> None:
        told: list[Any] = []

        def body() -> Any:
            future = double(1)
            future.add_done_callback(told.append)
            future.add_done_callback(told.append)
            assert future.remove_done_callback(told.append) == 2
            return future.result()

        assert run(body) == 2
        assert told == []

    @both_doubles
    def test_its_repr_names_the_task_and_its_state(self, double: Any) -> None:
        def body() -> Any:
            future = double(1)
            future.result()
            return repr(future)

        assert run(body) == f"<TaskFuture task '{double.name}' finished>"

    def test_many_threads_that_ask_at_once_run_the_body_once(self) -> None:
        begun = []

        @task
        def once(n: int) -> int:
            begun.append(n)
            return n

        def body() -> Any:
            futures = [once(n) for n in range(50)]
            line = threading.Barrier(8)
            answers: list[list[int]] = []

            def ask() -> None:
                line.wait(LONG)
                answers.append([future.result() for future in futures])

            threads = [
                threading.Thread(target=contextvars.copy_context().run, args=(ask,), daemon=True) for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(LONG)
            return answers

        assert run(body) == [list(range(50))] * 8
        assert sorted(begun) == list(range(50))

    def test_calls_made_by_many_threads_at_once_all_run(self) -> None:
        def body() -> Any:
            line = threading.Barrier(8)
            sums: list[int] = []

            def call() -> None:
                line.wait(LONG)
                futures = [double(n) if n % 2 else adouble(n) for n in range(100)]
                concurrent.futures.wait(futures, LONG)
                sums.append(sum(f.result(0) for f in futures))

            threads = [
                threading.Thread(target=contextvars.copy_context().run, args=(call,), daemon=True) for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(LONG)
            return sums

        assert run(body) == [9900] * 8

    def test_a_future_can_be_asked_after_its_run(self) -> None:
        futures: list[TaskFuture[int]] = []

        def body() -> Any:
            futures.append(double(1))

        run(body)
        assert futures[0].done()
        assert futures[0].result() == 2


class TestCancelling:
    def test_one_that_has_not_begun(self) -> None:
        begun = threading.Event()

        @task
        def never() -> None:
            begun.set()

        @task
        def blocker() -> Any:
            future = never()
            return future.cancel(), future.cancelled(), future.done(), future.cancel(), future

        def body() -> Any:
            *facts, future = blocker().result()
            with pytest.raises(concurrent.futures.CancelledError):
                future.result()
            with pytest.raises(concurrent.futures.CancelledError):
                future.exception()
            return facts

        assert run(body) == [True, True, True, True]
        assert not begun.is_set()

    def test_a_sync_one_under_way_goes_on(self) -> None:
        begun, release = threading.Event(), threading.Event()

        @task
        def slow() -> str:
            begun.set()
            assert release.wait(LONG)
            return "slow"

        def body() -> Any:
            future = slow()
            assert begun.wait(LONG)
            cancelled = future.cancel()
            release.set()
            return cancelled, future.result(LONG), future.cancelled()

        assert run(body) == (False, "slow", False)

    @pytest.mark.parametrize("double", [double, adouble], ids=["sync", "async"])
    def test_one_that_is_done(self, double: Any) -> None:
        def body() -> Any:
            future = double(1)
            future.result()
            return future.cancel(), future.cancelled()

        assert run(body) == (False, False)

    def test_an_async_one_under_way_from_a_thread(self) -> None:
        begun, ended = threading.Event(), threading.Event()

        @task
        async def slow() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        def body() -> Any:
            future = slow()
            assert begun.wait(LONG)
            cancelled = future.cancel()
            with pytest.raises(concurrent.futures.CancelledError):
                future.result(LONG)
            return cancelled, future.cancelled()

        assert run(body) == (True, True)
        assert ended.is_set()

    @both_runners
    def test_an_async_one_under_way_from_its_loop(self, arun: Any) -> None:
        @task
        async def slow(begun: asyncio.Event) -> None:
            begun.set()
            await asyncio.Event().wait()

        async def body() -> Any:
            begun = asyncio.Event()
            future = slow(begun)
            await begun.wait()
            cancelled = future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await future
            return cancelled, future.cancelled()

        assert arun(body) == (True, True)

    @both_runners
    def test_one_that_another_asyncio_task_is_driving(self, arun: Any) -> None:
        """The awaiting asyncio task gets a CancelledError, as from an `asyncio.Task`, and may go on."""

        @task
        async def slow(begun: asyncio.Event) -> None:
            begun.set()
            await asyncio.Event().wait()

        async def body() -> Any:
            begun = asyncio.Event()
            future = slow(begun)

            async def wait_for_it() -> str:
                try:
                    await future
                except asyncio.CancelledError:
                    current = asyncio.current_task()
                    assert current is not None
                    await asyncio.sleep(0)
                    return f"it was cancelled, I was asked {current.cancelling()} times"
                return "not cancelled"

            waiting = asyncio.create_task(wait_for_it())
            await begun.wait()
            assert future.cancel()
            return await waiting

        assert arun(body) == "it was cancelled, I was asked 0 times"

    @both_runners
    def test_a_body_that_refuses_to_be_cancelled_returns(self, arun: Any) -> None:
        @task
        async def stubborn(begun: asyncio.Event) -> str:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "still here"
            return "never"

        async def body() -> Any:
            begun = asyncio.Event()
            future = stubborn(begun)
            await begun.wait()
            future.cancel()
            return await future

        assert arun(body) == "still here"

    @both_runners
    def test_cancelling_the_awaiter_cancels_the_work(self, arun: Any) -> None:
        ended = threading.Event()

        @task
        async def slow(begun: asyncio.Event) -> None:
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                ended.set()

        async def body() -> Any:
            begun = asyncio.Event()
            future = slow(begun)

            async def wait_for_it() -> None:
                await future

            waiting = asyncio.create_task(wait_for_it())
            await begun.wait()
            waiting.cancel()
            await asyncio.wait([waiting])
            return waiting.cancelled(), future.cancelled()

        assert arun(body) == (True, True)
        assert ended.is_set()

    def test_cancelling_the_awaiter_of_a_sync_task_lets_it_finish(self) -> None:
        begun, release = threading.Event(), threading.Event()

        @task
        def slow() -> str:
            begun.set()
            assert release.wait(LONG)
            return "slow"

        async def body() -> Any:
            future = slow()

            async def wait_for_it() -> Any:
                return await future

            waiting = asyncio.create_task(wait_for_it())
            await asyncio.to_thread(begun.wait, LONG)
            waiting.cancel()
            await asyncio.wait([waiting])
            was_done = future.done()
            release.set()
            return waiting.cancelled(), was_done, await future

        assert arun(body) == (True, False, "slow")


@both_runners
class TestOnLoops:
    @both_doubles
    def test_gather(self, arun: Any, double: Any) -> None:
        async def body() -> Any:
            return await asyncio.gather(*(double(n) for n in range(20)))

        assert arun(body) == [2 * n for n in range(20)]

    @both_fails
    def test_gather_with_exceptions(self, arun: Any, fail: Any) -> None:
        async def body() -> Any:
            outcomes = await asyncio.gather(adouble(1), fail("no"), double(2), return_exceptions=True)
            return [outcome if isinstance(outcome, int) else str(outcome) for outcome in outcomes]

        assert arun(body) == [2, "no", 4]

    @both_doubles
    def test_wait(self, arun: Any, double: Any) -> None:
        async def body() -> Any:
            futures = [double(n) for n in range(20)]
            done, pending = await asyncio.wait(futures, timeout=LONG)
            assert not pending
            assert done == set(futures)
            return [future.result() for future in futures]

        assert arun(body) == [2 * n for n in range(20)]

    def test_wait_for_the_first(self, arun: Any) -> None:
        @task
        async def slow(release: asyncio.Event) -> str:
            await release.wait()
            return "slow"

        async def body() -> Any:
            release = asyncio.Event()
            futures = [slow(release), adouble(1)]
            done, pending = await asyncio.wait(futures, timeout=LONG, return_when=asyncio.FIRST_COMPLETED)
            release.set()
            return [await f for f in done], [await f for f in pending]

        assert arun(body) == ([2], ["slow"])

    def test_wait_that_times_out(self, arun: Any) -> None:
        @task
        async def slow(release: asyncio.Event) -> str:
            await release.wait()
            return "slow"

        async def body() -> Any:
            release = asyncio.Event()
            future = slow(release)
            done, pending = await asyncio.wait([future], timeout=0.01)
            assert not done
            assert pending == {future}
            release.set()
            return await future

        assert arun(body) == "slow"

    @both_doubles
    def test_as_completed(self, arun: Any, double: Any) -> None:
        async def body() -> Any:
            return {await next_one for next_one in asyncio.as_completed([double(n) for n in range(20)], timeout=LONG)}

        assert arun(body) == {2 * n for n in range(20)}

    @both_doubles
    def test_wait_for(self, arun: Any, double: Any) -> None:
        async def body() -> Any:
            return await asyncio.wait_for(double(1), LONG)

        assert arun(body) == 2

    def test_wait_for_that_times_out_cancels(self, arun: Any) -> None:
        @task
        async def slow() -> None:
            await asyncio.Event().wait()

        async def body() -> Any:
            future = slow()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(future, 0.01)
            return future.cancelled()

        assert arun(body) is True

    def test_a_timeout_around_an_await_cancels(self, arun: Any) -> None:
        @task
        async def slow() -> None:
            await asyncio.Event().wait()

        async def body() -> Any:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await slow()
            return await adouble(1)

        assert arun(body) == 2

    def test_shield(self, arun: Any) -> None:
        @task
        async def slow(release: asyncio.Event) -> str:
            await release.wait()
            return "slow"

        async def body() -> Any:
            release = asyncio.Event()
            future = slow(release)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(future), 0.01)
            was_done = future.done()
            release.set()
            return was_done, await future

        assert arun(body) == (False, "slow")

    @both_doubles
    def test_task_group(self, arun: Any, double: Any) -> None:
        async def one(n: int) -> int:
            return await double(n)

        async def body() -> Any:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(n)) for n in range(20)]
            return [t.result() for t in tasks]

        assert arun(body) == [2 * n for n in range(20)]

    @both_fails
    def test_task_group_that_fails(self, arun: Any, fail: Any) -> None:
        @task
        async def slow() -> None:
            await asyncio.Event().wait()

        async def one(future: Any) -> Any:
            return await future

        async def body() -> Any:
            endless = slow()
            with pytest.raises(ExceptionGroup) as group:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(one(endless))
                    tasks.create_task(one(fail("no")))
            return [str(error) for error in group.value.exceptions], endless.cancelled()

        assert arun(body) == (["no"], True)

    @both_doubles
    def test_awaited_by_several_at_once(self, arun: Any, double: Any) -> None:
        async def body() -> Any:
            future = double(1)

            async def ask() -> Any:
                return await future

            return await asyncio.gather(future, future, ask(), ask())

        assert arun(body) == [2, 2, 2, 2]

    @both_doubles
    def test_blocking_is_refused(self, arun: Any, double: Any) -> None:
        async def body() -> Any:
            future = double(1)
            for ask in (future.result, future.exception):
                with pytest.raises(BlockingError, match=f"task '{double.name}'.*await it instead"):
                    ask()
            with pytest.raises(RuntimeError):
                future.result(timeout=0)
            answer = await future
            return answer, future.result(), future.exception()

        assert arun(body) == (2, 2, None)

    @both_doubles
    def test_callbacks_are_called_on_the_loop_that_added_them(self, arun: Any, double: Any) -> None:
        async def body() -> Any:
            loop, told = asyncio.get_running_loop(), asyncio.Event()
            seen: list[tuple[bool, Any]] = []

            def tell(future: Any) -> None:
                seen.append((asyncio.get_running_loop() is loop, future.result()))
                told.set()

            future = double(1)
            future.add_done_callback(tell)
            await told.wait()
            told.clear()
            future.add_done_callback(tell)
            assert len(seen) == 1, "a callback of a finished future is called in a later turn, as asyncio does"
            await told.wait()
            return seen

        assert arun(body) == [(True, 2), (True, 2)]

    def test_a_callback_runs_in_the_context_it_was_given(self, arun: Any) -> None:
        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

        async def body() -> Any:
            told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            context = contextvars.copy_context()
            context.run(variable.set, "given")
            adouble(1).add_done_callback(lambda _: told.set_result(variable.get()), context=context)
            return await told

        assert arun(body) == "given"

    @both_doubles
    def test_wrap_future(self, arun: Any, double: Any) -> None:
        async def body() -> Any:
            return await asyncio.wait_for(asyncio.wrap_future(double(1)), LONG)

        assert arun(body) == 2
