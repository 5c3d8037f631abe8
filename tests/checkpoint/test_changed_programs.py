"""Programs that change while a run is open: moved calls, other arguments, records that nothing claims."""

from __future__ import annotations

from typing import Any

import pytest
from replaying import FaultySaver, Ledger

from durably import Command, entrypoint, interrupt, task
from durably.checkpoint.memory import InMemorySaver
from durably.errors import NonDeterminismError, ReplayWarning


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def saver() -> FaultySaver:
    return FaultySaver()


class Program:
    """A workflow whose calls can be changed between attempts."""

    def __init__(self, saver: InMemorySaver, ledger: Ledger, **options: Any) -> None:
        self.calls: list[Any] = []
        self.result: Any = None
        note = task(name="note")(ledger.note)

        @entrypoint(checkpointer=saver, name="program", **options)
        def program(n: int) -> Any:
            found = [note(call).result() for call in self.calls]
            interrupt("stop")
            return found

        self.workflow = program

    def record(self, *calls: Any) -> None:
        self.calls = list(calls)
        self.workflow.invoke(1, thread_id="t")

    def replay(self, *calls: Any) -> Any:
        self.calls = list(calls)
        return self.workflow.invoke(Command(resume=1), thread_id="t")

    def replay_again(self, *calls: Any) -> Any:
        self.calls = list(calls)
        return self.workflow.invoke(None, thread_id="t")


def test_moved_calls_find_their_records(saver: FaultySaver, ledger: Ledger) -> None:
    program = Program(saver, ledger)
    program.record("a", "b", "c")
    assert program.replay("c", "a", "b") == ["c", "a", "b"]
    assert ledger.take() == ["a", "b", "c"]


def test_calls_behind_a_removed_one_find_their_records_on_every_attempt(saver: FaultySaver, ledger: Ledger) -> None:
    """Nor does a new call among them overwrite the record of a finished one."""
    program = Program(saver, ledger)
    program.record("a", "b", "c")
    program.calls = ["b", "c", "new"]
    program.workflow.invoke(None, thread_id="t")
    assert ledger.take() == ["a", "b", "c", "new"]
    program.calls.append("newer")
    program.workflow.invoke(None, thread_id="t")
    assert ledger.take() == ["newer"]
    program.workflow.invoke(None, thread_id="t")
    assert program.replay("b", "c", "new", "newer") == ["b", "c", "new", "newer"]
    assert ledger.take() == []
    assert [record.key.n for record in saver.journal("t") if record.name == "note"] == [0, 1, 2, 3, 4]


def test_a_record_taken_with_other_arguments_is_reported(saver: FaultySaver, ledger: Ledger) -> None:
    program = Program(saver, ledger)
    program.record("a", "b")
    with pytest.warns(ReplayWarning, match=r"note\.1 is made with other arguments"):
        assert program.replay("a", "changed") == ["a", "b"]
    assert ledger.take() == ["a", "b"]


@pytest.mark.once("what is new in one pass is recorded in the next")
def test_records_that_were_not_claimed_are_reported_and_kept(saver: FaultySaver, ledger: Ledger) -> None:
    note, other = task(name="note")(ledger.note), task(name="other")(ledger.note)
    changed: list[bool] = []

    @entrypoint(checkpointer=saver)
    def run(n: int) -> Any:
        found = other("new").result() if changed else note("old").result()
        return found, interrupt("?")

    run.invoke(1, thread_id="t")
    before = saver.journal("t")
    changed.append(True)
    with pytest.warns(ReplayWarning, match=r"not the recorded ones: note\.0"):
        run.invoke(Command(resume=1), thread_id="t")
    assert saver.journal("t")[: len(before)] == before


def test_strict_replay_refuses_other_arguments(saver: FaultySaver, ledger: Ledger) -> None:
    program = Program(saver, ledger, replay="strict")
    program.record("a", "b")
    with pytest.raises(NonDeterminismError, match=r"note\.1 is made with other arguments"):
        program.replay("a", "changed")
    assert program.replay_again("a", "b") == ["a", "b"]
    assert ledger.take() == ["a", "b"]


def test_strict_replay_refuses_a_new_call_before_it_runs(saver: FaultySaver, ledger: Ledger) -> None:
    note = task(name="note")(ledger.note)
    order = ["a", "b"]

    @entrypoint(checkpointer=saver, replay="strict")
    def run(n: int) -> Any:
        found = [note(call).result() for call in order]
        return found, interrupt("?")

    run.invoke(1, thread_id="t")
    order[:] = ["b", "a", "c"]  # moved calls are no difference, and a new one behind them is none either
    assert run.invoke(Command(resume=1), thread_id="t") == (["b", "a", "c"], 1)

    order[:] = ["a", "b"]
    run.invoke(1, thread_id="u")
    ledger.take()
    order[:] = ["b", "new"]
    with pytest.raises(NonDeterminismError):
        run.invoke(Command(resume=1), thread_id="u")
    assert ledger.take() == []
    order[:] = ["a", "b"]
    assert run.invoke(None, thread_id="u") == (["a", "b"], 1)


@pytest.mark.once("what is new in one pass is recorded in the next")
def test_strict_replay_refuses_a_body_that_leaves_records_behind(saver: FaultySaver, ledger: Ledger) -> None:
    note, other = task(name="note")(ledger.note), task(name="other")(ledger.note)
    changed: list[bool] = []

    @entrypoint(checkpointer=saver, replay="strict")
    def run(n: int) -> Any:
        return (other if changed else note)("x").result(), interrupt("?")

    run.invoke(1, thread_id="t")
    changed.append(True)
    with pytest.raises(NonDeterminismError, match=r"note\.0"):
        run.invoke(Command(resume=1), thread_id="t")


def test_strict_replay_is_not_to_be_swallowed(saver: FaultySaver, ledger: Ledger) -> None:
    argument = ["a"]
    work = task(name="work")(ledger.note)

    @entrypoint(checkpointer=saver, replay="strict")
    def run(n: int) -> Any:
        try:
            work(argument[0]).result()
        except Exception:
            pass
        return interrupt("?")

    run.invoke(1, thread_id="t")
    argument[0] = "b"
    with pytest.raises(NonDeterminismError):
        run.invoke(Command(resume=1), thread_id="t")
