"""`wait`, `as_completed` and `timeout` record what happened; on replay the record wins, whatever is faster then."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest

import durably
from durably import Command, InMemorySaver, RetryPolicy, entrypoint, interrupt, task
from durably.errors import ConfigError
from durably.testing import crash_everywhere

ran: Counter[Any] = Counter()
slow: set[Any] = set()
gates: dict[Any, threading.Event] = {}


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()
    slow.clear()
    gates.clear()


@task
async def work(what: Any) -> Any:
    """Returns at once, or not within any test where it is slow."""
    ran[what] += 1
    await asyncio.sleep(60 if what in slow else 0)
    return what


@task
def gated(what: Any) -> Any:
    """Returns when its gate is open."""
    ran[what] += 1
    if what in gates:
        assert gates[what].wait(30)
    return what


def names(futures: Any) -> list[str]:
    return [str(future.key) for future in futures]


# wait.


@pytest.mark.once("counts bodies")
def test_what_was_done_first_is_so_on_replay() -> None:
    decided = []

    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    async def run(_: int) -> Any:
        futures = [work("a"), work("b")]
        done, rest = await durably.wait(futures, return_when="FIRST_COMPLETED")
        decided.append((names(done), names(rest)))
        for future in rest:
            future.cancel()
        return interrupt("?"), [await future for future in done]

    slow.add("a")
    run.invoke(1, thread_id="t")
    slow.clear()
    slow.add("b")  # which would lose this time
    assert run.invoke(Command(resume="ok"), thread_id="t") == ("ok", ["b"])
    assert decided == [(["work.1"], ["work.0"])] * 2


@pytest.mark.once("counts bodies")
def test_on_a_thread() -> None:
    decided = []

    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    def run(_: int) -> Any:
        futures = [gated("a"), gated("b"), gated("c")]
        done, rest = durably.wait(futures, return_when="FIRST_COMPLETED").result()
        decided.append(([f.result() for f in done], len(rest)))
        for gate in gates.values():
            gate.set()
        return interrupt("?")

    gates.update(a=threading.Event(), c=threading.Event())
    run.invoke(1, thread_id="t")
    gates.clear()
    assert run.invoke(Command(resume="ok"), thread_id="t") == "ok"
    assert decided == [(["b"], 2)] * 2
    assert ran == {"a": 1, "b": 1, "c": 1}


@pytest.mark.once("counts bodies")
def test_a_limit_that_was_hit_is_hit_on_replay() -> None:
    decided = []

    @entrypoint(checkpointer=InMemorySaver())
    def run(_: int) -> Any:
        future = gated("a")
        done, _rest = durably.wait([future], timeout=0.01).result()
        decided.append(len(done))
        if "a" in gates:
            gates["a"].set()
        return len(done), future.result(), interrupt("?")

    gates["a"] = threading.Event()
    run.invoke(1, thread_id="t")
    gates.clear()
    assert run.invoke(Command(resume="ok"), thread_id="t") == (0, "a", "ok")
    assert decided == [0, 0]


def test_first_exception() -> None:
    @task
    async def fail() -> None:
        raise KeyError("x")

    @entrypoint()
    async def run(_: int) -> Any:
        done, rest = await durably.wait([work("slow"), fail()], return_when="FIRST_EXCEPTION")
        for future in rest:
            future.cancel()
        return [type(future.exception()).__name__ for future in done]

    slow.add("slow")
    assert run.invoke(1) == ["KeyError"]


@pytest.mark.parametrize("how", ["sync", "async"])
def test_waiting_for_nothing_is_over_at_once(how: str) -> None:
    @entrypoint()
    def blocking(_: int) -> Any:
        return durably.wait([]).result()

    @entrypoint()
    async def awaiting(_: int) -> Any:
        return await durably.wait([])

    assert (blocking if how == "sync" else awaiting).invoke(1) == ([], [])


def test_an_unknown_word_is_refused() -> None:
    @entrypoint()
    def run(_: int) -> Any:
        durably.wait([], return_when="WHENEVER")

    with pytest.raises(ConfigError, match="FIRST_COMPLETED"):
        run.invoke(1)


def test_it_is_not_in_the_way_of_limits_and_streams() -> None:
    @entrypoint()
    def run(n: int) -> Any:
        done, _rest = durably.wait([gated(i) for i in range(n)]).result()
        return [future.result() for future in done]

    assert run.invoke(3, {"max_concurrency": 1}) == [0, 1, 2]
    assert list(run.stream(2, {"max_concurrency": 1})) == [{"gated": 0}, {"gated": 1}, {"run": [0, 1]}]


def test_a_race_with_a_question_is_run_when_it_has_its_answer() -> None:
    @task
    def ask() -> Any:
        return interrupt("now?")

    @entrypoint(checkpointer=InMemorySaver())
    def run(_: int) -> Any:
        question, other = ask(), gated("a")
        durably.wait([question, other]).result()
        return question.result(), other.result()

    asked = run.invoke(1, thread_id="t")
    assert [question.value for question in asked["__interrupt__"]] == ["now?"]
    assert "wait" not in {call.name for call in run.runs("t")[0].calls()}
    assert run.invoke(Command(resume="yes"), thread_id="t") == ("yes", "a")
    assert ran == {"a": 1}


def test_a_wait_is_stopped_anywhere() -> None:
    @entrypoint(replay="strict")
    async def run(n: int) -> Any:
        left, order = [work(i) for i in range(n)], []
        while left:
            done, left = await durably.wait(left, return_when="FIRST_COMPLETED")
            order.extend([await future for future in done])
        return sorted(order), await work("end")

    sweep = crash_everywhere(run, 4)
    assert sweep.result == ([0, 1, 2, 3], "end")


# as_completed.


def test_the_order_is_that_of_the_first_time() -> None:
    orders = []

    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    async def run(_: int) -> Any:
        order = []
        async for future in durably.as_completed([work("a"), work("b"), work("c")]):
            order.append(await future)
            if order == ["b"]:
                go.set()
        orders.append(order)
        return interrupt("?")

    @task(name="work")
    async def gated_work(what: Any) -> Any:
        if what != "b":
            await go.wait()
        return what

    async def main() -> None:
        nonlocal go
        go = asyncio.Event()
        await run.ainvoke(1, thread_id="t")
        await run.ainvoke(Command(resume=1), thread_id="t")

    go = asyncio.Event()
    work_before, globals()["work"] = work, gated_work
    try:
        asyncio.run(main())
    finally:
        globals()["work"] = work_before
    assert orders[0][0] == "b"
    assert orders[0] == orders[1]


@pytest.mark.parametrize("n", [0, 1, 5])
def test_on_a_thread_each_comes_once(n: int) -> None:
    @entrypoint(replay="strict")
    def run(n: int) -> Any:
        return sorted(future.result() for future in durably.as_completed([gated(i) for i in range(n)]))

    assert crash_everywhere(run, n).result == list(range(n))


# timeout.


def limited(seconds: float, thread_calls: list[Any]) -> Any:
    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    async def run(names: list[Any]) -> Any:
        found = []
        try:
            async with durably.timeout(seconds):
                for name in names:
                    found.append(await work(name))  # noqa: PERF401 - what was found in time is to be seen
        except TimeoutError:
            found.append("late")
        thread_calls.append(list(found))
        return found, interrupt("?"), await work("after")

    return run


@pytest.mark.once("counts bodies")
def test_in_time_is_in_time_on_replay() -> None:
    seen: list[Any] = []
    run = limited(30, seen)
    run.invoke(["a", "b"], thread_id="t")
    assert run.invoke(Command(resume=1), thread_id="t") == (["a", "b"], 1, "after")
    assert seen == [["a", "b"]] * 2
    assert ran == {"a": 1, "b": 1, "after": 1}


@pytest.mark.once("counts bodies")
def test_late_is_late_on_replay_although_it_would_be_fast_then() -> None:
    seen: list[Any] = []
    run = limited(0.02, seen)
    slow.add("b")
    run.invoke(["a", "b", "c"], thread_id="t")
    slow.clear()
    assert run.invoke(Command(resume=1), thread_id="t") == (["a", "late"], 1, "after")
    assert seen == [["a", "late"]] * 2
    assert ran == {"a": 1, "b": 1, "after": 1}


@pytest.mark.parametrize("how", ["gather", "group", "futures"])
def test_branches_of_a_late_block_get_the_results_that_were_there(how: str) -> None:
    seen = []

    async def walk(branch: str, found: list[Any]) -> None:
        for i in range(3):
            found.append(await work((branch, i)))  # noqa: PERF401

    async def together(found: list[Any]) -> None:
        if how == "gather":
            await asyncio.gather(walk("a", found), walk("b", found))
        elif how == "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(walk("a", found))
                group.create_task(walk("b", found))
        else:
            first, second = work(("a", 0)), work(("b", 1))
            found.append(await first)
            found.append(await second)

    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    async def run(_: int) -> Any:
        found: list[Any] = []
        try:
            async with durably.timeout(0.05):
                await together(found)
        except TimeoutError:
            found.append("late")
        seen.append(sorted(map(str, found)))
        return interrupt("?"), await work("after")

    slow.add(("b", 1))
    run.invoke(1, thread_id="t")
    before = dict(ran)
    slow.clear()
    assert run.invoke(Command(resume=1), thread_id="t") == (1, "after")
    assert seen[0] == seen[1]
    assert "late" in seen[0]
    assert ran == {**before, "after": 1}


@pytest.mark.parametrize("where", ["in", "before"])
@pytest.mark.once("counts bodies")
def test_a_call_that_ended_after_the_limit_is_late_on_replay(where: str) -> None:
    seen = []

    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    async def run(_: int) -> Any:
        future = gated("a") if where == "before" else None
        try:
            async with durably.timeout(0.02):
                future = future or gated("a")
                await asyncio.shield(future)
                await work("never called")
                seen.append("in time")
        except TimeoutError:
            seen.append("late")
        if "a" in gates:
            gates["a"].set()
        assert future is not None
        return await future, interrupt("?")

    gates["a"] = threading.Event()
    run.invoke(1, thread_id="t")
    gates.clear()
    assert run.invoke(Command(resume="ok"), thread_id="t") == ("a", "ok")
    assert seen == ["late", "late"]
    assert ran == {"a": 1}


def test_a_call_that_was_under_way_at_the_limit_and_never_ended_runs_behind_the_block() -> None:
    class Down(Exception):
        pass

    down = [True]

    @task
    async def fetch() -> str:
        ran["fetch"] += 1
        await asyncio.sleep(0.05)
        if down:
            raise Down
        return "fetched"

    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        future = fetch()
        late = False
        try:
            async with durably.timeout(0.01):
                await asyncio.shield(future)
        except TimeoutError:
            late = True
        return late, await future

    with pytest.raises(Down):
        run.invoke(1, thread_id="t")
    down.clear()
    assert run.invoke(None, thread_id="t") == (True, "fetched")
    assert ran == {"fetch": 2}


@pytest.mark.once("counts bodies")
def test_blocks_of_branches_keep_their_own_outcomes() -> None:
    """The first block was under way when the second had run out: it must not take the other's record."""
    outcomes: list[dict[int, str]] = []

    async def limited(i: int, outcome: dict[int, str]) -> None:
        try:
            async with durably.timeout(0.02):
                await work(i)
            outcome[i] = "in time"
        except TimeoutError:
            outcome[i] = "late"
        if i == 0:
            await work("then")

    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        outcome: dict[int, str] = {}
        outcomes.append(outcome)
        await asyncio.gather(limited(0, outcome), limited(1, outcome))
        return interrupt("?")

    slow.add(1)
    run.invoke(1, thread_id="t")
    slow.clear()
    run.invoke(Command(resume=1), thread_id="t")
    assert outcomes == [{0: "in time", 1: "late"}] * 2


@pytest.mark.once("counts bodies")
def test_blocks_nest() -> None:
    seen = []

    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    async def run(_: int) -> Any:
        found: list[Any] = []
        try:
            async with durably.timeout(0.1):
                found.append(await work("a"))
                try:
                    async with durably.timeout(0.02):
                        await work("slow")
                except TimeoutError:
                    found.append("inner")
                found.append(await work("b"))
                await work("slow too")
        except TimeoutError:
            found.append("outer")
        seen.append(found)
        return interrupt("?")

    slow.update(("slow", "slow too"))
    run.invoke(1, thread_id="t")
    slow.clear()
    assert run.invoke(Command(resume=1), thread_id="t") == 1
    assert seen == [["a", "inner", "b", "outer"]] * 2
    assert ran == {"a": 1, "slow": 1, "b": 1, "slow too": 1}


def test_a_limit_that_ended_the_run_is_tried_again() -> None:
    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        async with durably.timeout(0.05):
            return [await work("a"), await work("b")]

    slow.add("b")
    with pytest.raises(TimeoutError, match=r"0\.05 seconds"):
        run.invoke(1, thread_id="t")
    slow.clear()
    assert run.invoke(None, thread_id="t") == ["a", "b"]
    assert ran == {"a": 1, "b": 2}


@pytest.mark.once("counts bodies")
def test_a_retried_task_has_its_limit_anew() -> None:
    @task(retry_policy=RetryPolicy(initial_interval=0, jitter=False, retry_on=TimeoutError))
    async def fetch() -> Any:
        ran["fetch"] += 1
        async with durably.timeout(0.03):
            return await work("slow" if ran["fetch"] < 3 else "fast")

    @entrypoint(checkpointer=InMemorySaver())
    async def run(_: int) -> Any:
        return await fetch(), interrupt("?")

    slow.add("slow")
    run.invoke(1, thread_id="t")
    assert run.invoke(Command(resume=1), thread_id="t") == ("fast", 1)
    assert ran == {"fetch": 3, "slow": 2, "fast": 1}


def test_cleaning_up_in_a_late_block() -> None:
    @entrypoint(checkpointer=InMemorySaver(), replay="strict")
    async def run(_: int) -> Any:
        try:
            async with durably.timeout(0.02):
                try:
                    await work("slow")
                finally:
                    await work("clean")
        except TimeoutError:
            return "late", interrupt("?")

    slow.add("slow")
    run.invoke(1, thread_id="t")
    assert run.invoke(Command(resume=1), thread_id="t") == ("late", 1)
    assert ran == {"slow": 1, "clean": 1}


@pytest.mark.parametrize("seconds", [0.02, None])
def test_a_block_is_stopped_anywhere(seconds: float | None) -> None:
    slow.update(["c"] if seconds else [])

    @entrypoint(replay="strict")
    async def run(names: list[str]) -> Any:
        found = [await work("first")]
        try:
            async with durably.timeout(seconds):
                found += [await work(name) for name in names]
        except TimeoutError:
            found.append("late")
        return [*found, await work("last")]

    sweep = crash_everywhere(run, ["a", "b", "c"])
    assert sweep.result == (["first", "late", "last"] if seconds else ["first", "a", "b", "c", "last"])


def test_the_seconds_must_be_a_number() -> None:
    @entrypoint()
    async def run(_: int) -> Any:
        async with durably.timeout("soon"):  # type: ignore[arg-type]
            pass

    with pytest.raises(ConfigError, match="timeout"):
        run.invoke(1)
