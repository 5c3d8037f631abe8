"""How a run begins and ends in the database: decisions over rows, made inside one transaction.

Each function here returns a `Work`: it reads, decides, and only then writes. The fence, not the lease, carries safety:
every attempt takes the next one, and whoever comes with an older one writes nothing.
"""

from __future__ import annotations

import time
from itertools import takewhile
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ..checkpoint.base import Chunk, Opened, RunRow, Status, ThreadRow, Transaction, Work
from ..errors import ConfigError, EmptyInputError, Superseded, ThreadBusy, UnknownInterruptError, WorkflowMismatch
from ..serde import Serializer
from .answers import answers_for, is_by_id
from .identity import Key, call_id
from .journal import ANSWERED, ASKED, FORGOTTEN, RAISED, Record, decode_records, encode_records
from .owner import Owner
from .rows import (
    START,
    Head,
    Outcome,
    checkpoint_of,
    encode_row,
    end_step,
    head_of,
    last_checkpoint,
    outcome_of,
    parse_checkpoint,
)
from .transfer import copied_input, copied_records

__all__ = ["Admitted", "Busy", "Ending", "Existing", "Fork", "Request", "admit", "cancel", "settle", "update"]

RESUMABLE: Final = ("asked", "failed", "stopped", "running")


class Fork(msgspec.Struct, frozen=True):
    """Where a run is forked: before a call, whose recorded results are replaced.

    Args:
        before: the call from which on calls run again; None keeps every record.
        set: results, by call, that take the place of recorded ones.
    """

    before: Key | None = None
    set: tuple[tuple[Key, Any], ...] = ()


class Request(msgspec.Struct, frozen=True):
    """What an invocation asks of a thread.

    Args:
        workflow: the name of the workflow that was invoked.
        thread_id: the thread.
        kind: ``input`` starts a run, ``resume`` goes on with one, ``answer`` also answers its questions.
        answer: the answer, or a dict from question ids to answers.
        run_id: the name of a new run.
        input: its encoded input.
        head: its circumstances.
        on_busy: what to do when the thread is held.
        key: the caller's idempotency key, empty where there is none.
        checkpoint_id: the moment of the thread to start from, None for the latest.
        fork: how to fork the run at ``checkpoint_id``, None where that is not asked for.
    """

    workflow: str
    thread_id: str
    kind: str
    answer: Any
    run_id: str
    input: bytes
    head: Head
    on_busy: str = "reject"
    key: str = ""
    checkpoint_id: str | None = None
    fork: Fork | None = None


class Admitted(msgspec.Struct, frozen=True):
    """A run that may go on under a new fence.

    Args:
        thread: its thread.
        run: the run.
        records: the calls recorded so far, oldest first.
        base: the run whose saved value is ``previous``, None on a thread's first run.
    """

    thread: ThreadRow
    run: RunRow
    records: list[Record]
    base: RunRow | None


class Existing(msgspec.Struct, frozen=True):
    """Nothing is to be run: the result of this run is what was asked for."""

    run: RunRow


class Busy(msgspec.Struct, frozen=True):
    """The thread is held by an attempt under way; come again when it has ended."""

    error: ThreadBusy


class Ending(msgspec.Struct, frozen=True):
    """How an attempt ended."""

    status: Status
    outcome: Outcome | None = None
    saved: bytes | None = None


def admit(request: Request, owner: Owner, serde: Serializer) -> Work:
    """Begin an attempt, of a new run or of one that is there: `Admitted`, `Existing` or `Busy`."""

    def work(transaction: Transaction) -> Admitted | Existing | Busy:
        return _Admission(request, owner, serde, transaction).decide()

    return work


class _Admission:
    """One decision about one thread."""

    def __init__(self, request: Request, owner: Owner, serde: Serializer, transaction: Transaction) -> None:
        self.request = request
        self.owner = owner
        self.serde = serde
        self.transaction = transaction
        self.now = time.time()
        self.opened: Opened = transaction.open(request.thread_id)

    def decide(self) -> Admitted | Existing | Busy:
        """Read, decide, write."""
        request, thread = self.request, self.opened.thread
        if thread is not None and request.key:
            earlier = self.transaction.find_key(thread.no, request.key)
            if earlier is not None:
                return Existing(earlier)
        undone = False
        if thread is not None and self.owner.is_held(thread, self.transaction, self.now):
            busy = self._when_busy(thread)
            if busy is not None:
                return busy
            undone = request.on_busy == "rollback"
        return self._begin(undone)

    def _when_busy(self, thread: ThreadRow) -> Existing | Busy | None:
        """What comes instead of beginning; None where the attempt under way is to be fenced off."""
        run, request = self.opened.run, self.request
        error = _busy(thread, run, self.now)
        if request.kind == "answer" and run is not None:
            self._record_answers(thread, run)
            return Busy(error)
        if request.on_busy == "enqueue":
            return Busy(error)
        if request.on_busy == "join" and run is not None:
            return Existing(run)
        if request.on_busy in ("interrupt", "rollback") and request.kind == "input":
            return None
        raise error

    def _begin(self, undone: bool) -> Admitted | Existing:
        request = self.request
        if request.checkpoint_id is not None:
            target, end = self._find_checkpoint(request.checkpoint_id)
            if request.kind == "input":
                return self._start(target.no if end else target.base_no, request.checkpoint_id, undone)
            if target.no != getattr(self.opened.run, "no", 0) or target.status not in RESUMABLE or request.fork:
                return self._travel(target, end)
        elif request.kind == "input":
            return self._start(None, None, undone)
        return self._resume(self._current())

    # New runs.

    def _start(self, base_no: int | None, parent: str | None, undone: bool) -> Admitted:
        """A new run, after the thread's latest one or from an earlier moment."""
        thread, latest = self.opened.thread, self.opened.run
        if undone and thread is not None and latest is not None:
            thread = replace(thread, head_no=latest.base_no)
            parent = latest.parent
        elif parent is None:
            parent = "" if latest is None else last_checkpoint(latest)
        if base_no is None:
            base_no = 0 if thread is None else thread.head_no
        run = self._row(self.request.input, parent, base_no, "input")
        self._leave_behind(latest, undone)
        return self._hold(thread or ThreadRow(0, self.request.thread_id), run, [])

    def _row(self, input: bytes, parent: str, base_no: int, source: str) -> RunRow:
        latest = self.opened.run
        step = -1 if latest is None else end_step(latest) + 1
        return RunRow(
            no=0,
            run_id=self.request.run_id,
            thread_no=0,
            workflow=self.request.workflow,
            status="running",
            attempt=1,
            created_at=self.now,
            updated_at=self.now,
            parent=parent,
            head=encode_row(msgspec.structs.replace(self.request.head, source=source, step=step)),
            input=input,
            base_no=base_no,
            key=self.request.key,
        )

    def _leave_behind(self, run: RunRow | None, undone: bool) -> None:
        """A new run leaves an open one behind; it stays in the history unless it is rolled back."""
        if run is not None and (undone or run.status in ("asked", "running")):
            status: Status = "undone" if undone else "stopped" if self._fenced_off(run) else "abandoned"
            self.transaction.put_run(replace(run, status=status, updated_at=self.now))

    def _fenced_off(self, run: RunRow) -> bool:
        return run.status == "running" and self.request.on_busy == "interrupt"

    def _hold(self, thread: ThreadRow, run: RunRow, copied: list[Record]) -> Admitted:
        """Write the run, and take the thread for it under the next fence."""
        transaction = self.transaction
        if not thread.no:
            thread = transaction.put_thread(thread)
        run = transaction.put_run(replace(run, thread_no=thread.no))
        self.owner.register(transaction, self.now)
        thread = replace(thread, fence=thread.fence + 1, run_no=run.no, owner=self.owner.name, since=self.now)
        transaction.put_thread(thread)
        self.owner.taking(self.request.run_id, thread.no, thread.fence)
        if copied:
            transaction.append(Chunk(thread.no, thread.fence, run.no, encode_records(copied)))
        base = transaction.run(run.base_no) if run.base_no else None
        return Admitted(thread, run, copied, base)

    # Going on.

    def _current(self) -> RunRow:
        run, request = self.opened.run, self.request
        if run is None or run.status not in RESUMABLE:
            raise _nothing_to_resume(request, run)
        return run

    def _resume(self, run: RunRow) -> Admitted:
        """The next attempt of a run."""
        thread = self.opened.thread
        assert thread is not None
        self._check_workflow(run)
        if self.request.kind == "answer":
            records = self._record_answers(thread, run)
        else:
            records = decode_records(self.transaction.records(run.no))
        again = _tried_again(run, records)
        run = replace(run, status="running", attempt=run.attempt + 1, updated_at=self.now, outcome=None)
        admitted = self._hold(thread, run, [Record(FORGOTTEN, *record.key, b"", b"") for record in again])
        dropped = set(map(id, again))
        return replace(admitted, records=[record for record in records if id(record) not in dropped])

    def _record_answers(self, thread: ThreadRow, run: RunRow) -> list[Record]:
        """Append the answers to the run's journal; returns its records with them."""
        records = decode_records(self.transaction.records(run.no))
        answers = answers_for(self.request.answer, run, records, self.serde)
        if answers:
            self.transaction.append(Chunk(thread.no, thread.fence, run.no, encode_records(answers)))
        return records + answers

    def _check_workflow(self, run: RunRow) -> None:
        if run.workflow != self.request.workflow:
            raise WorkflowMismatch(
                f"run {run.run_id} on thread {self.request.thread_id!r} belongs to workflow {run.workflow!r}, and "
                f"{self.request.workflow!r} was asked to resume it. Resume it with {run.workflow!r}, or start a new run "
                "with an input."
            )

    # Going back.

    def _find_checkpoint(self, checkpoint_id: str) -> tuple[RunRow, int]:
        run_id, end = parse_checkpoint(checkpoint_id)
        run, thread = self.transaction.find_run(run_id), self.opened.thread
        if run is None or thread is None or run.thread_no != thread.no or (end and run.status != "done"):
            raise ConfigError(f"thread {self.request.thread_id!r} has no checkpoint {checkpoint_id!r}")
        return run, end

    def _travel(self, run: RunRow, end: int) -> Admitted | Existing:
        """Go on from an earlier moment: its value at a run's end, a fork from its start."""
        self._check_workflow(run)
        if end and self.request.fork is None:
            return Existing(run)
        records = decode_records(self.transaction.records(run.no))
        fork = self.request.fork
        if fork is not None:
            replaced = tuple((_record_of(records, key), value) for key, value in fork.set)
            return self._fork(run, _before(records, fork.before), replaced)
        if self.request.kind == "answer":
            return self._answer_afresh(run, records)
        return self._fork(run, [], ())

    def _answer_afresh(self, run: RunRow, records: list[Record]) -> Admitted:
        """Fork a run before the earliest of the questions that are answered, and answer them in the fork."""
        if not is_by_id(self.request.answer):
            raise UnknownInterruptError(
                "an answer to a run of the past names its question: Command(resume={id: answer}). "
                "The ids are in get_state(config).tasks and in run.calls()."
            )
        asked = {call_id(run.run_id, record.key): record for record in records if record.kind in (ASKED, ANSWERED)}
        unknown = [name for name in self.request.answer if name not in asked]
        if unknown:
            raise UnknownInterruptError(f"no question of run {run.run_id} has the id {unknown[0]}")
        answers = tuple(
            (msgspec.structs.replace(asked[name], kind=ANSWERED), answer)
            for name, answer in self.request.answer.items()
        )
        keys = {record.key for record, _ in answers}
        first = next(record.key for record in records if record.key in keys)
        return self._fork(run, _before(records, first), answers)

    def _fork(self, run: RunRow, kept: list[Record], replaced: tuple[tuple[Record, Any], ...]) -> Admitted:
        thread = self.opened.thread
        assert thread is not None
        copied = copied_records(run.run_id, self.request.run_id, kept, replaced, self.serde)
        row = self._row(
            copied_input(run, self.request.run_id, self.serde), checkpoint_of(run.run_id, START), run.base_no, "fork"
        )
        self._leave_behind(self.opened.run, False)
        return self._hold(thread, row, copied)

    # Writing without running.

    def update(self, outcome: Outcome, saved: bytes) -> RunRow:
        """Write a run that has ended already: what a thread returns and saves from now on.

        A question that is open stays so; an update of a moment of the past begins a branch of the thread there.
        """
        request, latest = self.request, self.opened.run
        thread = self.opened.thread or ThreadRow(0, request.thread_id)
        if self.owner.is_held(thread, self.transaction, self.now):
            raise _busy(thread, latest, self.now)
        parent, base_no = ("" if latest is None else last_checkpoint(latest)), thread.head_no
        if request.checkpoint_id is not None:
            target, end = self._find_checkpoint(request.checkpoint_id)
            parent, base_no = request.checkpoint_id, target.no if end else target.base_no
        row = replace(
            self._row(b"", parent, base_no, "update"), status="done", outcome=encode_row(outcome), saved=saved
        )
        step = -1 if latest is None else end_step(latest)
        row = replace(row, head=encode_row(msgspec.structs.replace(head_of(row), step=step)))
        if not thread.no:
            thread = self.transaction.put_thread(thread)
        row = self.transaction.put_run(replace(row, thread_no=thread.no))
        stays_open = request.checkpoint_id is None and latest is not None and latest.status in RESUMABLE
        run_no = thread.run_no if stays_open else row.no
        self.transaction.put_thread(replace(thread, head_no=row.no, run_no=run_no))
        return row

    def cancel(self) -> RunRow:
        """End the thread's current run from outside; whoever runs it can write nothing any more."""
        thread, run = self.opened.thread, self.opened.run
        if thread is None or run is None or run.status not in RESUMABLE:
            raise _nothing_to_resume(self.request, run)
        run = self.transaction.put_run(replace(run, status="cancelled", updated_at=self.now))
        self.transaction.put_thread(replace(thread, fence=thread.fence + 1, owner=""))
        return run


def _busy(thread: ThreadRow, run: RunRow | None, now: float) -> ThreadBusy:
    what = f"run {run.run_id} of workflow {run.workflow!r}" if run is not None else "a run"
    return ThreadBusy(
        f"thread {thread.thread_id!r} is busy: {what} has held it for {now - thread.since:.1f} seconds "
        f"(owner {thread.owner}). Wait for it to end, use another thread, or say with on_busy= what to do."
    )


def _nothing_to_resume(request: Request, run: RunRow | None) -> Exception:
    where = f"thread {request.thread_id!r}"
    state = "has never run" if run is None else f"has nothing open: its last run {run.run_id} is {run.status}"
    if request.kind == "answer":
        return UnknownInterruptError(f"{where} {state}, so there is no question to answer. Start a run with an input.")
    return EmptyInputError(f"{where} {state}, so there is nothing to resume. Start a run with an input.")


def _before(records: list[Record], key: Key | None) -> list[Record]:
    """The records made before the first one of a call; all of them for None."""
    if key is None:
        return records
    for index, record in enumerate(records):
        if record.key == key:
            return records[:index]
    raise ConfigError(f"the run has no recorded call {key}; run.calls() lists what it has")


def _record_of(records: list[Record], key: Key) -> Record:
    """The latest record of a call."""
    for record in reversed(records):
        if record.key == key:
            return record
    raise ConfigError(f"the run has no recorded call {key}; run.calls() lists what it has")


def _tried_again(run: RunRow, records: list[Record]) -> list[Record]:
    """The failures that the resumed attempt tries again.

    When the last attempt ended with an exception it named them. When it was killed nobody knows whether the workflow had
    seen the failures at the journal's end; nothing was built on them, so they are tried again.
    """
    if run.status == "running":
        return list(takewhile(lambda record: record.kind == RAISED, reversed(records)))
    again = {Key(*key) for key in outcome_of(run).again}
    return [record for record in records if record.kind == RAISED and record.key in again]


def settle(admitted: Admitted, ending: Ending) -> Work:
    """End an attempt: write how, and give the thread back."""

    def work(transaction: Transaction) -> None:
        thread, run = admitted.thread, admitted.run
        if transaction.fence(thread.no) != thread.fence:
            raise Superseded(
                f"run {run.run_id} on thread {thread.thread_id!r} has been taken over by another attempt; "
                "what this one did after that is not recorded"
            )
        outcome = None if ending.outcome is None else encode_row(ending.outcome)
        done = ending.status == "done"
        transaction.put_run(
            replace(run, status=ending.status, updated_at=time.time(), outcome=outcome, saved=ending.saved)
        )
        transaction.put_thread(replace(thread, owner="", head_no=run.no if done else thread.head_no))

    return work


def cancel(request: Request, owner: Owner, serde: Serializer) -> Work:
    """End a thread's current run from outside; returns it."""

    def work(transaction: Transaction) -> RunRow:
        return _Admission(request, owner, serde, transaction).cancel()

    return work


def update(request: Request, owner: Owner, serde: Serializer, value: bytes | None, saved: bytes) -> Work:
    """Set what a thread returns and saves, as a run of its own that has ended; returns that run."""

    def work(transaction: Transaction) -> RunRow:
        return _Admission(request, owner, serde, transaction).update(Outcome(value), saved)

    return work
