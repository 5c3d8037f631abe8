"""Finished calls are not repeated, whatever ended the attempt; what failed is tried again, or is history."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from replaying import Boom, FaultySaver, Ledger

from durably import Command, RetryPolicy, entrypoint, get_runtime, interrupt, task
from durably.checkpoint.base import RunRow
from durably.checkpoint.memory import InMemorySaver
from durably.errors import (
    EmptyInputError,
    EncodeError,
    TaskFailed,
    UnknownInterruptError,
    WorkflowMismatch,
)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def saver() -> FaultySaver:
    return FaultySaver()


@pytest.fixture
def work(ledger: Ledger) -> Any:
    @task
    def work(what: Any) -> Any:
        return ledger.note(what)

    return work


@pytest.fixture
def awork(ledger: Ledger) -> Any:
    @task(name="work")
    async def awork(what: Any) -> Any:
        await asyncio.sleep(0)
        return ledger.note(what)

    return awork


# Finished calls.


def test_across_failures_questions_and_attempts(saver: FaultySaver, ledger: Ledger, work: Any) -> None:
    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        first = work("a").result()
        answer = interrupt("b?")
        second = work("b").result()
        return [first, answer, second, work("c").result()]

    run.invoke(1, thread_id="t")
    ledger.failing = {"b"}
    with pytest.raises(Boom):
        run.invoke(Command(resume="yes"), thread_id="t")
    ledger.failing = {"c"}
    with pytest.raises(Boom):
        run.invoke(None, thread_id="t")
    ledger.failing = set()
    assert run.invoke(None, thread_id="t") == ["a", "yes", "b", "c"]
    assert ledger.take() == ["a", "b", "c"]
    assert saver.run_of("t").attempt == 4


def test_sync_and_async_tasks_side_by_side(saver: FaultySaver, ledger: Ledger, work: Any, awork: Any) -> None:
    @entrypoint(checkpointer=saver)
    async def run(n: int) -> Any:
        return await asyncio.gather(*(awork(i) if i % 2 else work(i) for i in range(n)), return_exceptions=False)

    async def main() -> Any:
        ledger.failing = {3}
        with pytest.raises(Boom):
            await run.ainvoke(6, thread_id="t")
        done = ledger.take()
        ledger.failing = set()
        return done, await run.ainvoke(None, thread_id="t")

    done, result = asyncio.run(main())
    assert result == list(range(6))
    assert sorted(done + ledger.take()) == list(range(6))


@pytest.mark.parametrize("n", [1, 7])
def test_async_tasks_of_a_sync_workflow(saver: FaultySaver, ledger: Ledger, awork: Any, n: int) -> None:
    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        found = [future.result() for future in [awork(i) for i in range(n)]]
        return found, interrupt("?")

    run.invoke(n, thread_id="t")
    assert sorted(ledger.take()) == list(range(n))
    assert run.invoke(Command(resume=1), thread_id="t") == (list(range(n)), 1)
    assert ledger.take() == []


def test_calls_inside_a_task_that_runs_again_are_reused(saver: FaultySaver, ledger: Ledger, work: Any) -> None:
    @task
    def outer(n: int) -> Any:
        return [work((n, i)).result() for i in range(3)]

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        return [future.result() for future in [outer(i) for i in range(n)]]

    ledger.failing = {(0, 2), (1, 0)}
    with pytest.raises(Boom):
        run.invoke(2, thread_id="t")
    done = ledger.take()
    assert (0, 0) in done and (0, 1) in done
    ledger.failing = set()
    assert run.invoke(None, thread_id="t") == [[(i, j) for j in range(3)] for i in range(2)]
    assert sorted(done + ledger.take()) == [(i, j) for i in range(2) for j in range(3)]


def test_calls_of_a_nested_workflow_are_reused(saver: FaultySaver, ledger: Ledger, work: Any) -> None:
    @entrypoint()
    def child(n: int) -> Any:
        return [work(n).result(), interrupt(f"child {n}?"), work(n + 1).result()]

    @entrypoint(checkpointer=saver)
    def parent(n: int) -> Any:
        return [child.invoke(n), child.invoke(n + 10)]

    assert questions_in(parent.invoke(1, thread_id="t")) == ["child 1?"]
    assert questions_in(parent.invoke(Command(resume="x"), thread_id="t")) == ["child 11?"]
    assert parent.invoke(Command(resume="y"), thread_id="t") == [[1, "x", 2], [11, "y", 12]]
    assert ledger.take() == [1, 2, 11, 12]


def questions_in(result: Any) -> list[Any]:
    return [question.value for question in result["__interrupt__"]]


def test_a_retried_task_reuses_what_finished_in_it(saver: FaultySaver, ledger: Ledger, work: Any) -> None:
    ids = []

    @task(retry_policy=RetryPolicy(initial_interval=0, jitter=False, retry_on=Boom, max_attempts=3))
    def outer() -> Any:
        ids.append(get_runtime().execution_info.task_id)
        found = work("inner").result()
        if len(ids) < 3:
            raise Boom
        return found

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        return outer().result()

    assert run.invoke(1, thread_id="t") == "inner"
    assert ledger.take() == ["inner"]
    assert len(ids) == 3
    assert len(set(ids)) == 1


def test_equal_calls_side_by_side_each_run_once(saver: FaultySaver, ledger: Ledger) -> None:
    """The calls that finished keep their places, so those that run again have ids that have not been used up."""
    failing = {"same.0"}
    seen = []

    @task
    async def same() -> str:
        place = get_runtime().execution_info.checkpoint_ns
        seen.append(get_runtime().execution_info.task_id)
        if place in failing:
            await asyncio.sleep(0.01)
            raise Boom
        return str(ledger.note(place))

    @entrypoint(checkpointer=saver)
    async def run(n: int) -> Any:
        return sorted(await asyncio.gather(*(same() for _ in range(n)))), interrupt("?")

    async def main() -> Any:
        with pytest.raises(Boom):
            await run.ainvoke(3, thread_id="t")
        assert sorted(ledger.take()) == ["same.1", "same.2"]
        failing.clear()
        await run.ainvoke(None, thread_id="t")
        assert ledger.take() == ["same.0"]
        return await run.ainvoke(Command(resume="ok"), thread_id="t")

    assert asyncio.run(main()) == (["same.0", "same.1", "same.2"], "ok")
    assert ledger.take() == []
    assert len(seen) == 4
    assert len(set(seen)) == 3


def test_call_ids_differ_between_calls_and_stay_across_attempts(saver: FaultySaver, ledger: Ledger) -> None:
    ids: list[tuple[int, str]] = []

    @task
    def pay(n: int) -> int:
        ids.append((n, get_runtime().execution_info.task_id))
        if n in ledger.failing:
            raise Boom
        return n

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        return [pay(i).result() for i in range(n)]

    ledger.failing = {1}
    for _ in range(2):
        with pytest.raises(Boom):
            run.invoke(3 if not ids else None, thread_id="t")
    ledger.failing = set()
    run.invoke(None, thread_id="t")
    assert [n for n, _ in ids] == [0, 1, 1, 1, 2]
    assert len({name for n, name in ids if n == 1}) == 1
    assert len({name for _, name in ids}) == 3
    run.invoke(3, thread_id="t")
    assert len({name for _, name in ids}) == 6, "another run has ids of its own"


def test_falsy_results_are_not_missing_ones(saver: FaultySaver, ledger: Ledger, work: Any) -> None:
    falsy: list[Any] = [None, 0, False, "", (), 0.0]

    @entrypoint(checkpointer=saver)
    async def run(n: int) -> Any:
        return [await work(value) for value in falsy], interrupt(None)

    assert questions_in(run.invoke(1, thread_id="t")) == [None]
    assert repr(run.invoke(Command(resume=None), thread_id="t")) == repr((falsy, None))
    assert len(ledger.take()) == len(falsy)


# Failures: history, or tried again.


def test_a_handled_failure_replays_as_history(saver: FaultySaver, ledger: Ledger, work: Any) -> None:
    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        caught = None
        try:
            work("a").result()
        except Boom as error:
            caught = error
        work("b").result()
        return type(caught).__name__, caught.args if caught else None

    ledger.failing = {"a", "b"}
    with pytest.raises(Boom, match="b"):
        run.invoke(1, thread_id="t")
    ledger.failing = set()
    assert run.invoke(None, thread_id="t") == ("Boom", ("a",))
    assert ledger.take() == ["b"]


def test_a_failure_raised_from_another_is_tried_again(saver: FaultySaver, ledger: Ledger, work: Any) -> None:
    """The walk from the exception finds the call through ``__cause__`` and ``__context__``."""

    @entrypoint(checkpointer=saver)
    def run(how: str) -> Any:
        try:
            return work("a").result()
        except Boom as error:
            if how == "cause":
                raise ValueError("because") from error
            raise ValueError("meanwhile")

    for how in ("cause", "context"):
        ledger.failing = {"a"}
        with pytest.raises(ValueError):
            run.invoke(how, thread_id=how)
        ledger.failing = set()
        assert run.invoke(None, thread_id=how) == "a"


def test_only_the_nearest_failure_is_tried_again(saver: FaultySaver, ledger: Ledger, work: Any) -> None:
    """A failure handled on the way is history even where a later one happened inside its handler."""

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        try:
            return work("first").result()
        except Boom:
            return work("second").result()

    ledger.failing = {"first", "second"}
    with pytest.raises(Boom, match="second"):
        run.invoke(1, thread_id="t")
    ledger.failing = set()
    assert run.invoke(None, thread_id="t") == "second"
    assert ledger.take() == ["second"]


def test_all_members_of_a_group_are_tried_again(saver: FaultySaver, ledger: Ledger, awork: Any) -> None:
    @entrypoint(checkpointer=saver)
    async def run(n: int) -> Any:
        found = await asyncio.gather(*map(awork, range(n)), return_exceptions=True)
        errors = [error for error in found if isinstance(error, Exception)]
        if errors:
            raise ExceptionGroup("some failed", errors)
        return found

    async def main() -> Any:
        ledger.failing = {1, 3}
        with pytest.raises(ExceptionGroup):
            await run.ainvoke(5, thread_id="t")
        assert sorted(ledger.take()) == [0, 2, 4]
        ledger.failing = set()
        return await run.ainvoke(None, thread_id="t")

    assert asyncio.run(main()) == list(range(5))
    assert sorted(ledger.take()) == [1, 3]


def test_a_failure_that_nobody_asked_for_is_tried_again(
    saver: FaultySaver, ledger: Ledger, work: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        aside = work("aside")
        while not aside.done():
            pass
        return [work("main").result(), aside.result()]

    ledger.failing = {"aside", "main"}
    with pytest.raises(Boom, match="main"):
        run.invoke(1, thread_id="t")
    assert "nobody asked for its result" in caplog.text
    ledger.failing = set()
    assert run.invoke(None, thread_id="t") == ["main", "aside"]


def test_what_failed_inside_a_failure_that_nobody_asked_for_is_tried_again(
    saver: FaultySaver, ledger: Ledger, work: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @task
    def outer() -> Any:
        try:
            return work("inner").result()
        except Boom as error:
            raise ValueError("outer") from error

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        aside = outer()
        while not aside.done():
            pass
        return [work("main").result(), aside.result()]

    ledger.failing = {"inner", "main"}
    with pytest.raises(Boom, match="main"):
        run.invoke(1, thread_id="t")
    ledger.failing = set()
    assert run.invoke(None, thread_id="t") == ["main", "inner"]


def test_what_failed_inside_a_replayed_failure_is_tried_again(saver: FaultySaver, ledger: Ledger, work: Any) -> None:
    """The attempt that ends with the failure has only its record, and not the exceptions it came from."""

    @task
    def outer() -> Any:
        with suppress(Boom):
            work("handled").result()
        try:
            return work("inner").result()
        except Boom as error:
            raise ValueError("outer") from error

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        failure = outer().exception()
        interrupt("go on?")
        if failure is not None:
            raise failure
        return outer().result()

    ledger.failing = {"handled", "inner"}
    run.invoke(1, thread_id="t")
    with pytest.raises(ValueError, match="outer"):
        run.invoke(Command(resume=1), thread_id="t")
    ledger.failing = set()
    run.invoke(None, thread_id="t")
    assert ledger.take() == ["inner", "handled", "inner"]  # what was handled is history


def test_a_failure_stays_to_be_tried_again_until_it_was(saver: FaultySaver, ledger: Ledger, work: Any) -> None:
    """An attempt in between that did not come to it changes nothing."""
    early = []

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        if early:
            interrupt("wait")
        return work("a").result()

    ledger.failing = {"a"}
    with pytest.raises(Boom):
        run.invoke(1, thread_id="t")
    ledger.failing = set()
    early.append(True)
    assert questions_in(run.invoke(None, thread_id="t")) == ["wait"]
    assert run.invoke(Command(resume=1), thread_id="t") == "a"


def test_a_task_that_ends_its_failure_with_a_base_exception_is_tried_again(saver: FaultySaver) -> None:
    class Quit(BaseException):
        pass

    failing = [True]

    @task
    def fail() -> str:
        if failing:
            raise Quit
        return "fine"

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        return fail().result()

    with pytest.raises(Quit):
        run.invoke(1, thread_id="t")
    failing.clear()
    assert run.invoke(None, thread_id="t") == "fine"


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_is_no_failure_of_the_task(
    saver: FaultySaver, ledger: Ledger, work: Any, signal: type[BaseException]
) -> None:
    failing = [True]

    @task
    def stopped() -> str:
        if failing:
            raise signal
        return "fine"

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        return work("a").result(), stopped().result()

    with pytest.raises(signal):
        run.invoke(1, thread_id="t")
    assert saver.run_of("t").status == "stopped"
    failing.clear()
    assert run.invoke(None, thread_id="t") == ("a", "fine")
    assert ledger.take() == ["a"]


@pytest.mark.once("needs an attempt that has not been replayed")
def test_an_exception_that_cannot_be_rebuilt_stops_the_replay(saver: FaultySaver, ledger: Ledger, work: Any) -> None:
    """The workflow does not get to take another path on a stand-in."""

    def fail() -> None:
        class Local(Exception):
            def __del__(self) -> None:  # reading must not run it, so it is not rebuilt
                pass

        raise Local("detail")

    failing = task(name="fail")(fail)

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        try:
            failing().result()
        except Exception as error:
            work(type(error).__name__).result()
        return interrupt("?")

    run.invoke(1, thread_id="t")
    with pytest.raises(TaskFailed, match=r"'fail' failed with .*Local: detail") as raised:
        run.invoke(Command(resume=1), thread_id="t")
    assert "raise Local" in raised.value.traceback_text
    assert raised.value.task == "fail"
    assert ledger.take() == ["Local"]


# Values that cannot be stored, and other ends.


class Opaque:
    def __reduce__(self) -> Any:
        raise TypeError("not to be stored")


def test_a_result_that_cannot_be_stored_names_task_and_path(saver: FaultySaver, ledger: Ledger, work: Any) -> None:
    value: list[Any] = [{"rows": [1, {"owner": open}]}]

    @task
    def fetch() -> Any:
        return value[0]

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        return work("a").result(), fetch().result()

    with pytest.raises(EncodeError, match="result of task 'fetch'") as raised:
        run.invoke(1, thread_id="t")
    assert "owner" in raised.value.path
    value[0] = "plain"
    assert run.invoke(None, thread_id="t") == ("a", "plain")
    assert ledger.take() == ["a"]


@pytest.mark.parametrize("where", ["return", "save", "question", "input"])
def test_other_values_that_cannot_be_stored(saver: FaultySaver, ledger: Ledger, work: Any, where: str) -> None:
    bad: list[Any] = [Opaque()]

    @entrypoint(checkpointer=saver)
    def run(given: Any) -> Any:
        work("a").result()
        if where == "question":
            return interrupt(bad[0])
        return entrypoint.final(value=1, save=bad[0]) if where == "save" else bad[0]

    with pytest.raises(EncodeError) as raised:
        run.invoke(bad[0] if where == "input" else 1, thread_id="t")
    assert {
        "return": "what workflow 'run' ", "save": "what workflow 'run' saves", "question": "interrupt()",
        "input": "the input of workflow 'run'",
    }[where] in str(raised.value)  # fmt: skip
    bad[0] = "fine"
    if where == "input":
        with pytest.raises(EmptyInputError):
            run.invoke(None, thread_id="t")
        return
    again = run.invoke(None, thread_id="t")
    if where == "question":
        again = run.invoke(Command(resume="fine"), thread_id="t")
    assert again == (1 if where == "save" else "fine")
    assert ledger.take() == ["a"]


def test_a_run_is_resumed_by_its_own_workflow_only(saver: FaultySaver) -> None:
    @entrypoint(checkpointer=saver)
    def one(n: int) -> Any:
        return interrupt("one?")

    @entrypoint(checkpointer=saver)
    def other(n: int) -> Any:
        return n

    one.invoke(1, thread_id="t")
    for given in (None, Command(resume=1)):
        with pytest.raises(WorkflowMismatch, match=r"'one'.*'other'"):
            other.invoke(given, thread_id="t")
    assert one.invoke(Command(resume=1), thread_id="t") == 1


def test_a_new_input_leaves_an_open_question_behind(saver: FaultySaver) -> None:
    @entrypoint(checkpointer=saver)
    def run(n: int, *, previous: Any) -> Any:
        return (n, previous, interrupt(f"{n}?")) if n < 3 else (n, previous)

    run.invoke(1, thread_id="t")
    first: RunRow = saver.run_of("t")
    run.invoke(2, thread_id="t")
    assert run.invoke(Command(resume="x"), thread_id="t") == (2, None, "x")
    assert run.invoke(3, thread_id="t") == (3, (2, None, "x"))
    assert saver._tables.run(first.no).status == "abandoned"  # type: ignore[union-attr]
    with pytest.raises(UnknownInterruptError):
        run.invoke(Command(resume="x"), thread_id="t")


def test_without_a_checkpointer_nothing_is_kept(ledger: Ledger, work: Any) -> None:
    @entrypoint()
    def run(value: Any) -> Any:
        return work(value).result(), Opaque

    assert run.invoke("a")[0] == "a"
    assert run.invoke("a")[1] is Opaque, "nothing is encoded"
    assert ledger.take() == ["a", "a"]


def test_tasks_are_at_least_once(ledger: Ledger) -> None:
    """What a killed process had not written runs again, under the same id."""
    ids: list[str] = []
    saver = FaultySaver(fails_at=2, dead=True)

    @task
    def work() -> str:
        ids.append(get_runtime().execution_info.task_id)
        return "done"

    def workflow(checkpointer: InMemorySaver) -> Any:
        @entrypoint(checkpointer=checkpointer, name="run")
        def run(n: int) -> Any:
            return work().result()

        return run

    with pytest.raises(Exception, match="write 2 fails"):
        workflow(saver).invoke(1, thread_id="t")
    assert workflow(FaultySaver(saver)).invoke(None, thread_id="t") == "done"
    assert len(ids) == 2
    assert len(set(ids)) == 1
