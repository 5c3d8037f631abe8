"""Retries, timeouts and results shared across runs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durably import CachePolicy, RetryPolicy, Runtime, TimeoutPolicy, Workflow, entrypoint, get_runtime, task
from durably.cache.base import BaseCache
from durably.cache.memory import InMemoryCache
from durably.cache.sqlite import SqliteCache
from durably.engine.retry import default_retry_on, seconds_before_retry
from durably.errors import ConfigError, DeclarationError, EncodeError, NodeTimeoutError

LONG = 20.0


def invoke(workflow: Workflow[Any, Any], value: Any = None, config: Any = None) -> Any:
    return workflow.invoke(value, config)


def ainvoke(workflow: Workflow[Any, Any], value: Any = None, config: Any = None) -> Any:
    return asyncio.run(workflow.ainvoke(value, config))


both_ways = pytest.mark.parametrize("run", [invoke, ainvoke])
colours = pytest.mark.parametrize("colour", ["sync", "async"])

AT_ONCE = RetryPolicy(initial_interval=0, jitter=False, max_attempts=3)


class Flaky:
    """Fails a number of times, and counts."""

    def __init__(self, times: int, error: type[Exception] = ConnectionError) -> None:
        self.times = times
        self.error = error
        self.attempts = 0

    def __call__(self) -> int:
        self.attempts += 1
        if self.attempts <= self.times:
            raise self.error(f"attempt {self.attempts}")
        return self.attempts

    def workflow(self, colour: str, retry: Any, entry_retry: Any = None) -> Workflow[Any, int]:
        @task(retry_policy=retry)
        def flaky() -> int:
            return self()

        @task(retry_policy=retry)
        async def aflaky() -> int:
            await asyncio.sleep(0)
            return self()

        @entrypoint(retry_policy=entry_retry)
        def workflow(_: None) -> int:
            return (flaky if colour == "sync" else aflaky)().result()

        return workflow


class TestRetry:
    @both_ways
    @colours
    @pytest.mark.parametrize("failures", [0, 1, 2])
    def test_until_it_succeeds(self, run: Any, colour: str, failures: int) -> None:
        flaky = Flaky(failures)
        assert run(flaky.workflow(colour, AT_ONCE)) == failures + 1

    @both_ways
    @colours
    def test_until_the_attempts_are_used_up(self, run: Any, colour: str) -> None:
        flaky = Flaky(3)
        with pytest.raises(ConnectionError, match="attempt 3"):
            run(flaky.workflow(colour, AT_ONCE))
        assert flaky.attempts == 3

    @both_ways
    @colours
    def test_without_a_policy_there_is_one_attempt(self, run: Any, colour: str) -> None:
        flaky = Flaky(1)
        with pytest.raises(ConnectionError):
            run(flaky.workflow(colour, None))
        assert flaky.attempts == 1

    @pytest.mark.parametrize(
        ("retry_on", "error", "attempts"),
        [
            (KeyError, KeyError, 3),
            (LookupError, KeyError, 3),
            (KeyError, ValueError, 1),
            ((KeyError, ValueError), ValueError, 3),
            ([KeyError, ValueError], OSError, 1),
            (lambda error: "attempt 1" in str(error), ValueError, 2),
            (None, ValueError, 1),
            (None, ConnectionError, 3),
        ],
    )
    def test_what_is_retried(self, retry_on: Any, error: Any, attempts: int) -> None:
        flaky = Flaky(9, error)
        with pytest.raises(error):
            flaky.workflow("sync", RetryPolicy(initial_interval=0, retry_on=retry_on)).invoke(None)
        assert flaky.attempts == attempts

    def test_of_several_policies_the_first_that_matches_decides(self) -> None:
        policies = [
            RetryPolicy(initial_interval=0, max_attempts=2, retry_on=KeyError),
            RetryPolicy(initial_interval=0, max_attempts=5, retry_on=LookupError),
        ]
        for error, attempts in ((KeyError, 2), (IndexError, 5), (ValueError, 1)):
            flaky = Flaky(9, error)
            with pytest.raises(error):
                flaky.workflow("async", policies).invoke(None)
            assert flaky.attempts == attempts

    def test_the_workflows_policy_is_the_default_of_its_tasks(self) -> None:
        once = RetryPolicy(max_attempts=1)
        flaky = Flaky(1)
        assert flaky.workflow("sync", None, entry_retry=AT_ONCE).invoke(None) == 2
        flaky = Flaky(5)
        with pytest.raises(ConnectionError):
            flaky.workflow("sync", once, entry_retry=AT_ONCE).invoke(None)
        assert flaky.attempts == 3, "the task's own policy wins, and the workflow itself was tried three times"

    @both_ways
    @colours
    def test_retrying_a_workflow_does_not_run_its_finished_tasks_again(self, run: Any, colour: str) -> None:
        ran: list[str] = []
        flaky = Flaky(2)

        @task
        def leaf(n: int) -> int:
            ran.append(f"leaf {n}")
            return n

        @task
        async def branch(n: int) -> int:
            ran.append(f"branch {n}")
            return await leaf(n)

        @entrypoint(retry_policy=AT_ONCE)
        def sync_flow(_: None) -> Any:
            ran.append("workflow")
            values = [branch(n) for n in range(3)]
            return [value.result() for value in values], flaky()

        @entrypoint(retry_policy=AT_ONCE)
        async def async_flow(_: None) -> Any:
            ran.append("workflow")
            return await asyncio.gather(*(branch(n) for n in range(3))), flaky()

        assert run(sync_flow if colour == "sync" else async_flow) == ([0, 1, 2], 3)
        assert ran.count("workflow") == 3
        assert sorted(set(ran)) == sorted(
            ["workflow", *(f"{kind} {n}" for kind in ("leaf", "branch") for n in range(3))]
        )
        assert len(ran) == 9

    @both_ways
    def test_retrying_a_task_reuses_the_calls_that_finished_in_it(self, run: Any) -> None:
        ran: list[int] = []
        flaky = Flaky(2)

        @task
        def leaf(n: int) -> None:
            ran.append(n)

        @task(retry_policy=AT_ONCE)
        async def branch() -> int:
            await leaf(1)
            leaf(2)
            return flaky()

        @entrypoint()
        async def workflow(_: None) -> int:
            return await branch()

        assert run(workflow) == 3
        assert sorted(ran) == [1, 2]

    def test_parallel_retries_keep_what_each_of_them_finished(self) -> None:
        ran: list[int] = []
        failed: set[int] = set()

        @task
        def leaf(n: int) -> int:
            ran.append(n)
            return n

        @task(retry_policy=AT_ONCE)
        def branch(n: int) -> int:
            values = [leaf(10 * n + i).result() for i in range(5)]
            if n not in failed:
                failed.add(n)
                raise ConnectionError
            return sum(values)

        @entrypoint()
        def workflow(width: int) -> int:
            return sum(future.result() for future in [branch(n) for n in range(width)])

        assert workflow.invoke(20) == sum(50 * n + 10 for n in range(20))
        assert sorted(ran) == sorted(10 * n + i for n in range(20) for i in range(5))

    @both_ways
    @colours
    def test_a_task_can_read_its_attempt(self, run: Any, colour: str) -> None:
        infos: list[Any] = []

        def attempt() -> int:
            info = get_runtime().execution_info
            assert info is not None
            infos.append((info.node_attempt, info.node_first_attempt_time, info.task_id))
            if len(infos) < 3:
                raise ConnectionError
            return len(infos)

        @task(retry_policy=AT_ONCE)
        def flaky() -> int:
            return attempt()

        @task(retry_policy=AT_ONCE)
        async def aflaky() -> int:
            return attempt()

        @entrypoint()
        async def workflow(_: None) -> int:
            return await (flaky if colour == "sync" else aflaky)()

        before = time.time()
        assert run(workflow) == 3
        assert [info[0] for info in infos] == [1, 2, 3]
        assert len({info[1] for info in infos}) == 1
        assert len({info[2] for info in infos}) == 1
        assert before <= infos[0][1] <= time.time()

    def test_each_attempt_begins_with_the_context_of_the_call(self) -> None:
        variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
        seen: list[int] = []

        @task(retry_policy=AT_ONCE)
        def flaky() -> None:
            seen.append(variable.get())
            variable.set(99)
            if len(seen) < 3:
                raise ConnectionError

        @entrypoint()
        def workflow(_: None) -> None:
            flaky().result()

        workflow.invoke(None)
        assert seen == [0, 0, 0]

    @given(
        st.builds(
            RetryPolicy,
            initial_interval=st.floats(0, 1e6),
            backoff_factor=st.floats(0, 1e6),
            max_interval=st.floats(0, 1e6),
            max_attempts=st.integers(1, 10_000),
            jitter=st.booleans(),
            retry_on=st.just(ValueError),
        ),
        st.integers(1, 10_000),
    )
    def test_the_pause_is_bounded_and_the_attempts_are_counted(self, policy: RetryPolicy, attempt: int) -> None:
        seconds = seconds_before_retry([policy], ValueError(), attempt)
        if attempt >= policy.max_attempts:
            assert seconds is None
        else:
            assert seconds is not None
            assert 0 <= seconds <= policy.max_interval * (1.5 if policy.jitter else 1)
            if attempt == 1 and not policy.jitter:
                assert seconds == min(policy.initial_interval, policy.max_interval)
        assert seconds_before_retry([policy], KeyError(), attempt) is None


class HTTPError(Exception):
    """As the HTTP clients make them: the status on the response, or on the error itself."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        self.__dict__.update(attributes)


@pytest.mark.parametrize(
    ("error", "retried"),
    [
        (ConnectionError(), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (NodeTimeoutError("late"), True),
        (Exception("unknown"), True),
        (HTTPError(response=SimpleNamespace(status_code=503)), True),
        (HTTPError(response=SimpleNamespace(status_code=404)), False),
        (HTTPError(response=SimpleNamespace(status=500)), True),
        (HTTPError(status_code=500), True),
        (HTTPError(status=599), True),
        (HTTPError(status=400), False),
        (HTTPError(code=502), True),
        (HTTPError(code=403), False),
        (HTTPError(response=None), True),
        (HTTPError(status_code="500"), True),
        *((kind(), False) for kind in (ValueError, TypeError, KeyError, IndexError, LookupError, AttributeError)),
        *((kind(), False) for kind in (NameError, SyntaxError, ImportError, AssertionError, ZeroDivisionError)),
        *(
            (kind(), False)
            for kind in (RuntimeError, RecursionError, StopIteration, FileNotFoundError, PermissionError)
        ),
        (ConfigError("wrong"), False),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "x"), False),
    ],
    ids=repr,
)
def test_what_is_retried_by_default(error: Exception, retried: bool) -> None:
    assert default_retry_on(error) is retried


class TestTimeout:
    @both_ways
    @pytest.mark.parametrize("timeout", [0.02, timedelta(milliseconds=20), TimeoutPolicy(run_timeout=0.02)], ids=repr)
    def test_of_a_task(self, run: Any, timeout: Any) -> None:
        ended = threading.Event()

        @task(timeout=timeout)
        async def endless() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        @entrypoint()
        async def workflow(_: None) -> str:
            with pytest.raises(NodeTimeoutError, match=r"task 'endless' took longer than 0.02 seconds"):
                await endless()
            return "went on"

        assert run(workflow) == "went on"
        assert ended.is_set()

    @both_ways
    def test_of_a_workflow_cancels_its_tasks(self, run: Any) -> None:
        ended = threading.Event()

        @task
        async def endless() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        @entrypoint(timeout=0.02)
        async def workflow(_: None) -> None:
            await asyncio.gather(endless(), endless())

        with pytest.raises(TimeoutError, match="workflow 'workflow' took longer"):
            run(workflow)
        assert ended.is_set()

    @both_ways
    def test_in_time(self, run: Any) -> None:
        @task(timeout=LONG)
        async def quick() -> str:
            await asyncio.sleep(0)
            return "in time"

        @entrypoint(timeout=TimeoutPolicy(run_timeout=LONG, idle_timeout=LONG))
        async def workflow(_: None) -> str:
            return await quick()

        assert run(workflow) == "in time"

    def test_a_timeout_of_the_bodys_own_passes(self) -> None:
        @task(timeout=LONG)
        async def own() -> None:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()

        @entrypoint()
        async def workflow(_: None) -> None:
            await own()

        with pytest.raises(TimeoutError) as raised:
            workflow.invoke(None)
        assert not isinstance(raised.value, NodeTimeoutError)

    @both_ways
    def test_each_attempt_has_its_own(self, run: Any, caplog: pytest.LogCaptureFixture) -> None:
        """Each attempt outlives the idle timeout, so that the timer of the first is due again during the second."""
        attempts: list[int] = []

        @task(timeout=TimeoutPolicy(idle_timeout=0.2), retry_policy=AT_ONCE)
        async def slow(runtime: Runtime) -> str:
            attempts.append(1)
            for _ in range(15):
                await asyncio.sleep(0.02)
                runtime.heartbeat()
            if len(attempts) == 1:
                raise ConnectionError
            return "second time"

        @entrypoint()
        async def workflow(_: None) -> str:
            return await slow()

        assert run(workflow) == "second time"
        assert len(attempts) == 2
        assert caplog.text == ""

    @both_ways
    def test_idle(self, run: Any) -> None:
        @task(timeout=TimeoutPolicy(idle_timeout=0.02))
        async def silent() -> None:
            await asyncio.Event().wait()

        @entrypoint()
        async def workflow(_: None) -> None:
            await silent()

        with pytest.raises(NodeTimeoutError, match=r"no sign of life for 0.02 seconds.*heartbeat"):
            run(workflow)

    @pytest.mark.parametrize("sign", ["heartbeat", "write", "call", "heartbeat of a child"])
    def test_signs_of_life(self, sign: str) -> None:
        """A body that gives signs outlives its idle timeout; the pause is far shorter, and there are many of them."""

        @task
        async def child(runtime: Runtime) -> None:
            runtime.heartbeat()

        @task(timeout=TimeoutPolicy(idle_timeout=0.5))
        async def lively(runtime: Runtime) -> str:
            for _ in range(15):
                await asyncio.sleep(0.05)
                if sign == "heartbeat":
                    runtime.heartbeat()
                elif sign == "write":
                    runtime.stream_writer("alive")
                else:
                    await child()
            return "outlived it"

        @entrypoint()
        async def workflow(_: None) -> str:
            return await lively()

        assert ainvoke(workflow) == "outlived it"

    @both_ways
    def test_only_heartbeats_count_where_the_policy_says_so(self, run: Any) -> None:
        @task
        def child() -> None:
            pass

        @task(timeout=TimeoutPolicy(idle_timeout=0.05, refresh_on="heartbeat"))
        async def busy(runtime: Runtime) -> None:
            while True:
                await child()
                runtime.stream_writer("alive")
                await asyncio.sleep(0.005)

        @entrypoint()
        async def workflow(_: None) -> None:
            await busy()

        with pytest.raises(NodeTimeoutError, match="no sign of life"):
            run(workflow)

    @both_ways
    def test_the_run_timeout_counts_whatever_the_signs(self, run: Any) -> None:
        @task(timeout=TimeoutPolicy(run_timeout=0.05, idle_timeout=LONG))
        async def lively(runtime: Runtime) -> None:
            while True:
                runtime.heartbeat()
                await asyncio.sleep(0.001)

        @entrypoint()
        async def workflow(_: None) -> None:
            await lively()

        with pytest.raises(NodeTimeoutError, match=r"took longer than 0.05 seconds"):
            run(workflow)


@pytest.fixture(params=["memory", "sqlite"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
    cache: BaseCache = InMemoryCache() if request.param == "memory" else SqliteCache(tmp_path / "cache.db")
    yield cache
    cache.close()


class TestCache:
    @both_ways
    @colours
    def test_results_are_shared_across_runs(self, run: Any, colour: str, cache: BaseCache) -> None:
        ran: list[int] = []

        @task(cache_policy=CachePolicy())
        def square(x: int) -> dict[str, Any]:
            ran.append(x)
            return {"square": x * x, "of": (x,)}

        @task(cache_policy=CachePolicy())
        async def asquare(x: int) -> dict[str, Any]:
            ran.append(x)
            return {"square": x * x, "of": (x,)}

        @entrypoint(cache=cache)
        def sync_flow(x: int) -> Any:
            return [(square if colour == "sync" else asquare)(x).result() for _ in range(2)]

        @entrypoint(cache=cache)
        async def async_flow(x: int) -> Any:
            return [await (square if colour == "sync" else asquare)(x) for _ in range(2)]

        for x in (1, 2, 1):
            for flow in (sync_flow, async_flow):
                assert run(flow, x) == [{"square": x * x, "of": (x,)}] * 2
        assert ran == [1, 2]

    @pytest.mark.parametrize("result", [None, False, 0, "", [], {}], ids=repr)
    def test_falsy_results_are_results(self, result: Any, cache: BaseCache) -> None:
        ran: list[int] = []

        @task(cache_policy=CachePolicy())
        def falsy() -> Any:
            ran.append(1)
            return result

        @entrypoint(cache=cache)
        def workflow(_: None) -> Any:
            return [falsy().result(), falsy().result()]

        assert workflow.invoke(None) == [result, result]
        assert ran == [1]

    @both_ways
    @colours
    def test_identical_keys_are_computed_once(self, run: Any, colour: str, cache: BaseCache) -> None:
        ran: list[int] = []

        @task(cache_policy=CachePolicy())
        def square(x: int) -> int:
            ran.append(x)
            threading.Event().wait(0.005)
            return x * x

        @task(cache_policy=CachePolicy())
        async def asquare(x: int) -> int:
            ran.append(x)
            await asyncio.sleep(0.005)
            return x * x

        @entrypoint(cache=cache)
        async def workflow(n: int) -> list[int]:
            return await asyncio.gather(*((square if colour == "sync" else asquare)(i % 2) for i in range(n)))

        assert run(workflow, 20) == [0, 1] * 10
        assert sorted(ran) == [0, 1]

    @both_ways
    @pytest.mark.parametrize("limit", [1, 2])
    def test_identical_keys_under_a_limit(self, run: Any, limit: int) -> None:
        """Whoever waits for another's result must not hold the slot that the other needs for a call of its own."""
        ran: list[int] = []

        @task
        async def leaf(x: int) -> int:
            await asyncio.sleep(0.001)
            return x

        @task(cache_policy=CachePolicy())
        def slow(x: int) -> int:
            ran.append(x)
            return leaf(x).result() + leaf(x).result()

        @task
        def deeper(levels: int) -> int:
            return deeper(levels - 1).result() if levels else slow(1).result()

        @entrypoint(cache=InMemoryCache())
        def workflow(n: int) -> int:
            futures = [deeper(i % 4) for i in range(n)]
            concurrent.futures.wait(futures)
            return sum(future.result() for future in futures)

        assert run(workflow, 20, {"max_concurrency": limit}) == 40
        assert ran == [1]

    def test_a_failure_is_not_shared(self, cache: BaseCache) -> None:
        flaky = Flaky(1)

        @task(cache_policy=CachePolicy())
        def fragile() -> int:
            return flaky()

        @entrypoint(cache=cache)
        def workflow(_: None) -> int:
            with pytest.raises(ConnectionError):
                fragile().result()
            return fragile().result()

        assert workflow.invoke(None) == 2

    def test_ttl(self) -> None:
        now = [0.0]
        ran: list[int] = []

        @task(cache_policy=CachePolicy(ttl=10))
        def look() -> int:
            ran.append(1)
            return len(ran)

        @entrypoint(cache=InMemoryCache(clock=lambda: now[0]))
        def workflow(_: None) -> int:
            return look().result()

        seen = []
        for seconds in (0, 9, 11, 20, 22):
            now[0] = seconds
            seen.append(workflow.invoke(None))
        assert seen == [1, 1, 2, 2, 3]

    def test_key_func(self, cache: BaseCache) -> None:
        ran: list[Any] = []

        @task(cache_policy=CachePolicy(key_func=lambda name, shout=False: name.lower()))
        def greet(name: str, shout: bool = False) -> str:
            ran.append(name)
            return f"Hello, {name}"

        @entrypoint(cache=cache)
        def workflow(names: list[str]) -> list[str]:
            return [greet(name, shout=True).result() for name in names]

        assert workflow.invoke(["Ada", "ADA", "Bob"]) == ["Hello, Ada", "Hello, Ada", "Hello, Bob"]
        assert ran == ["Ada", "Bob"]

    def test_a_key_func_that_returns_no_key(self) -> None:
        @task(cache_policy=CachePolicy(key_func=lambda: 42))  # type: ignore[arg-type,return-value]
        def wrong() -> None:
            pass

        @entrypoint(cache=InMemoryCache())
        def workflow(_: None) -> None:
            wrong().result()

        with pytest.raises(ConfigError, match="key_func of task 'wrong' returned int"):
            workflow.invoke(None)

    def test_the_key_is_made_of_the_bound_arguments_and_the_task(self) -> None:
        ran: list[Any] = []

        @task(cache_policy=CachePolicy())
        def add(a: int, b: int = 1) -> int:
            ran.append((a, b))
            return a + b

        @task(cache_policy=CachePolicy())
        def multiply(a: int, b: int = 1) -> int:
            ran.append((a, b))
            return a * b

        @entrypoint(cache=InMemoryCache())
        def workflow(_: None) -> Any:
            same = [add(2), add(2, 1), add(a=2), add(b=1, a=2)]
            return [future.result() for future in [*same, multiply(2), add(2.0), add(True)]]  # type: ignore[arg-type]

        assert workflow.invoke(None) == [3, 3, 3, 3, 2, 3.0, 2]
        assert len(ran) == 4, "equal values of different types are different arguments"

    def test_an_argument_that_cannot_be_encoded_has_no_key(self) -> None:
        ran: list[int] = []

        @task(cache_policy=CachePolicy())
        def use(_: Any) -> int:
            ran.append(1)
            return len(ran)

        @entrypoint(cache=InMemoryCache())
        def workflow(_: None) -> Any:
            return use(threading.Lock()).result()

        with pytest.raises(EncodeError):
            workflow.invoke(None)
        assert ran == []

    def test_the_workflows_policy_is_the_default_of_its_tasks(self) -> None:
        ran: list[int] = []

        @task
        def look() -> int:
            ran.append(1)
            return len(ran)

        @entrypoint(cache=InMemoryCache(), cache_policy=CachePolicy())
        def workflow(_: None) -> int:
            return look().result()

        assert [workflow.invoke(None) for _ in range(3)] == [1, 1, 1]

    def test_without_a_cache_the_policy_does_nothing(self) -> None:
        ran: list[int] = []

        @task(cache_policy=CachePolicy())
        def look() -> int:
            ran.append(1)
            return len(ran)

        @entrypoint()
        def workflow(_: None) -> int:
            return look().result()

        assert [workflow.invoke(None) for _ in range(3)] == [1, 2, 3]

    @colours
    def test_clearing_one_tasks_results(self, colour: str, cache: BaseCache) -> None:
        ran: list[str] = []

        @task(cache_policy=CachePolicy())
        def first() -> int:
            ran.append("first")
            return ran.count("first")

        @task(cache_policy=CachePolicy())
        def second() -> int:
            ran.append("second")
            return ran.count("second")

        @entrypoint(cache=cache)
        def workflow(_: None) -> Any:
            return first().result(), second().result()

        assert workflow.invoke(None) == (1, 1)
        if colour == "sync":
            first.clear_cache(cache)
        else:
            asyncio.run(first.aclear_cache(cache))
        assert workflow.invoke(None) == (2, 1)

    @both_ways
    def test_a_cached_result_is_marked_in_streams(self, run: Any, cache: BaseCache) -> None:
        @task(cache_policy=CachePolicy())
        def look(x: int) -> int:
            return x

        @entrypoint(cache=cache)
        def workflow(x: int) -> int:
            return look(x).result() + look(x).result()

        async def chunks() -> list[Any]:
            return [chunk async for chunk in workflow.astream(1)]

        seen = list(workflow.stream(1)) if run is invoke else asyncio.run(chunks())
        assert seen == [{"look": 1}, {"look": 1, "__metadata__": {"cached": True}}, {"workflow": 2}]

    def test_a_result_survives_the_process(self, tmp_path: Path) -> None:
        ran: list[int] = []

        @task(cache_policy=CachePolicy())
        def look(x: int) -> int:
            ran.append(x)
            return x

        for _ in range(2):
            cache = SqliteCache(tmp_path / "cache.db")

            @entrypoint(cache=cache)
            def workflow(x: int) -> int:
                return look(x).result()

            assert workflow.invoke(7) == 7
            cache.close()
        assert ran == [7]


class TestBadPolicies:
    @pytest.mark.parametrize(
        "arguments",
        [
            {"initial_interval": -1},
            {"initial_interval": float("nan")},
            {"backoff_factor": float("inf")},
            {"max_interval": "1"},
            {"max_attempts": 0},
            {"max_attempts": 1.5},
            {"retry_on": 42},
            {"retry_on": [42]},
            {"retry_on": int},
        ],
        ids=repr,
    )
    def test_retry(self, arguments: Any) -> None:
        with pytest.raises(ValueError, match=r"RetryPolicy\(" + next(iter(arguments)) + ".*give"):
            RetryPolicy(**arguments)

    @pytest.mark.parametrize("arguments", [{"ttl": 0}, {"ttl": -1}, {"ttl": "1"}, {"key_func": 1}], ids=repr)
    def test_cache(self, arguments: Any) -> None:
        with pytest.raises(DeclarationError, match=r"CachePolicy\(.*give"):
            CachePolicy(**arguments)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"run_timeout": 0},
            {"run_timeout": -1},
            {"idle_timeout": float("nan")},
            {"idle_timeout": timedelta(0)},
            {"run_timeout": float("inf")},
            {"run_timeout": "1"},
            {"run_timeout": True},
            {"refresh_on": "never"},
        ],
        ids=repr,
    )
    def test_timeout(self, arguments: Any) -> None:
        with pytest.raises(DeclarationError):
            TimeoutPolicy(**arguments)
