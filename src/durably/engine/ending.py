"""What became of a run that somebody else runs, or has run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from ..checkpoint.base import RunRow, Transaction, Work
from ..checkpoint.saved import resolved
from ..errors import DurablyError, NodeCancelledError, Superseded
from ..types import MISSING, Interrupt
from .commit import Committer
from .identity import call_id, record_place
from .journal import Record, decode_records, questions
from .owner import Owner
from .request import is_waiting
from .rows import raised_by, returned_by
from .steps import Pause, Steps

if TYPE_CHECKING:
    from ..checkpoint.base import BaseCheckpointer
    from ..serde import Serializer

__all__ = ["Asked", "open_questions", "outcome_of_run", "question_of", "result_of"]


class Asked(msgspec.Struct, frozen=True):
    """An attempt that ended with questions instead of a value, or with a pause, or asleep.

    Args:
        questions: those that are open.
        value: the last that the workflow said its value is, `MISSING` where it said none.
        due: when the run wakes by itself, None where it does not.
    """

    questions: tuple[Interrupt[Any], ...]
    value: Any = MISSING
    due: float | None = None

    @property
    def is_asleep(self) -> bool:
        """Whether the run waits for nothing but time."""
        return self.due is not None and not self.questions

    def as_value(self, questions: Sequence[Interrupt[Any]]) -> Any:
        """What takes the place of the value: the value so far, if it is a dict, with the questions."""
        if not isinstance(self.value, dict):
            return {"__interrupt__": questions}
        return {**self.value, "__interrupt__": questions} if questions else self.value


def open_questions(run: RunRow, records: list[Record], serde: Serializer) -> tuple[Interrupt[Any], ...]:
    """A run's open questions, in the order in which they were put."""
    return tuple(question_of(record, run.run_id, serde) for record in questions(records).values())


def question_of(record: Record, run_id: str, serde: Serializer) -> Interrupt[Any]:
    """A recorded question as people see it."""
    name, place = call_id(run_id, record.key), record_place(run_id, record.key)
    schema = serde.loads(record.schema, place) if record.schema else None
    return Interrupt(serde.loads(record.data, place), name, schema)


def result_of(
    run: RunRow,
    thread_id: str,
    checkpointer: BaseCheckpointer,
    *,
    patient: bool = False,
    timeout: float | None = None,
) -> Steps[Any]:
    """Wait until a run has ended: what it returned, or `Asked`.

    Args:
        run: the run as it was found.
        thread_id: its thread.
        checkpointer: where it is stored.
        patient: whether to wait even where the process that ran it is gone, for another one to take it over.
        timeout: for how many seconds to wait at most.

    Raises:
        BaseException: what it raised.
        TimeoutError: it has not ended in time.
        NodeCancelledError: it was cancelled, stopped, or left behind.
        Superseded: the process that ran it is gone; it can be resumed.
    """
    committer = Committer.of(checkpointer)
    pause, end = 0.001, float("inf") if timeout is None else time.monotonic() + timeout
    while True:
        now, held, records = yield from committer.perform(
            _look(run, thread_id, Owner.of(committer), checkpointer.serde)
        )
        waits = now.status == "pending" or is_waiting(now) or (now.status == "running" and (held or patient))
        if not waits:
            return outcome_of_run(now, records, checkpointer.serde)
        if time.monotonic() >= end:
            raise TimeoutError(f"run {run.run_id} has not ended within {timeout:g} seconds: it is {now.status}")
        yield Pause(min(pause, max(0.0, end - time.monotonic())))
        pause = min(0.25 if patient else 0.05, pause * 1.5)


def _look(run: RunRow, thread_id: str, owner: Owner, serde: Serializer) -> Work:
    def work(transaction: Transaction) -> tuple[RunRow, bool, list[Record]]:
        opened = transaction.open(thread_id)
        stored = transaction.run(run.no) or replace(run, status="cancelled", due=None)  # forgotten in the meantime
        now = resolved(transaction, stored, serde)
        is_held = (
            opened.thread is not None
            and opened.thread.run_no == run.no
            and owner.is_held(opened.thread, transaction, time.time())
        )
        return now, is_held, decode_records(transaction.records(run.no)) if now.status == "asked" else []

    return work


def outcome_of_run(run: RunRow, records: list[Record], serde: Serializer) -> Any:
    """What a run that nobody is at returned, or `Asked`; raises what it raised, or that it has no result."""
    if run.status == "done":
        return returned_by(run, serde)
    if run.status == "asked":
        return Asked(open_questions(run, records, serde))
    error = raised_by(run, serde)
    if isinstance(error, Exception):  # somebody else's cancellation is none of the caller's
        raise error
    raise _no_result(run)


def _no_result(run: RunRow) -> DurablyError:
    if run.status == "running":
        return Superseded(
            f"run {run.run_id} has no result: the process that ran it is gone. Resume it with invoke(None, config) or "
            "workflow.recover()."
        )
    return NodeCancelledError(f"run {run.run_id} has no result: it is {run.status}")
