"""One thread inside one transaction: what was found there, and how a run is written to it."""

from __future__ import annotations

import time

from msgspec.structs import replace

from ..checkpoint.base import Chunk, Opened, RunRow, Status, ThreadRow, Transaction
from ..checkpoint.heads import encode_row
from ..checkpoint.rows import new_thread
from ..checkpoint.saved import load
from ..errors import ConfigError, DurablyError, EmptyInputError, ThreadBusy, UnknownInterruptError, WorkflowMismatch
from ..serde import Serializer
from .answers import answers_for
from .journal import Record, decode_records, encode_records
from .owner import Owner
from .request import Admitted, Request, is_waiting
from .rows import Head, end_step, left_nothing, parse_checkpoint
from .steps import clock

__all__ = ["Decision", "busy", "nothing_open"]


class Decision:
    """Reads a thread and decides what to write. It raises before it has written anything, or not at all.

    Args:
        request: what is asked of the thread.
        owner: this process as the holder of threads.
        serde: turns values into bytes and back.
        transaction: reads and writes.
    """

    def __init__(self, request: Request, owner: Owner, serde: Serializer, transaction: Transaction) -> None:
        self.request = request
        self.owner = owner
        self.serde = serde
        self.transaction = transaction
        self.now = time.time()
        self.time = clock().now()  # by the clock that workflows sleep by
        self.opened: Opened = transaction.open(request.thread_id)
        # Not stored yet where it has never run.
        self.thread: ThreadRow = self.opened.thread or new_thread(request.thread_id)

    # Reading.

    def is_held(self) -> bool:
        """Whether somebody alive is at it."""
        return self.owner.is_held(self.thread, self.transaction, self.now)

    def is_current(self, run: RunRow) -> bool:
        """Whether this is the thread's current run."""
        return self.opened.run is not None and self.opened.run.no == run.no

    def find_checkpoint(self, checkpoint_id: str) -> tuple[RunRow, int]:
        """A run of the thread, and whether its start or its end is meant."""
        run_id, end = parse_checkpoint(checkpoint_id)
        run = self.transaction.find_run(run_id)
        if run is None or run.thread_no != self.thread.no or (end and run.status != "done"):
            raise ConfigError(
                f"thread {self.request.thread_id!r} has no checkpoint {checkpoint_id!r}: take one from get_state() or "
                "get_state_history()"
            )
        return run, end

    def check_workflow(self, run: RunRow) -> None:
        """Runs are gone on with by the workflow that started them."""
        if run.workflow != self.request.workflow:
            raise WorkflowMismatch(
                f"run {run.run_id} on thread {self.request.thread_id!r} belongs to workflow {run.workflow!r}, and "
                f"{self.request.workflow!r} was asked to go on with it. Use {run.workflow!r}, or start a new run with an "
                "input."
            )

    # Writing.

    def row(self, input: bytes, parent: str, base_no: int, *, head: Head, after: RunRow | None) -> RunRow:
        """A new run that comes after another in the thread's history."""
        step = -1 if after is None else end_step(after) + 1
        return RunRow(
            no=0,
            run_id=self.request.run_id,
            thread_no=self.thread.no,
            workflow=self.request.workflow,
            status="running",
            attempt=0,
            created_at=self.now,
            updated_at=self.now,
            parent=parent,
            head=encode_row(replace(head, step=step)),
            input=input,
            base_no=base_no,
            key=self.request.key,
        )

    def leave_behind(self, run: RunRow | None, status: Status = "abandoned") -> None:
        """Another run takes the place of one that is open."""
        if run is not None and (run.status in ("asked", "running") or run.due is not None):
            self.transaction.put_run(replace(run, status=status, due=None, updated_at=self.now))

    def hold(self, run: RunRow, copied: list[Record]) -> Admitted:
        """Write the run, and take the thread for it under the next fence; of a submitted one, for nobody."""
        transaction, thread = self.transaction, self.thread
        base = transaction.run(run.base_no) if run.base_no else None
        saved = None if base is None else load(transaction, base, self.serde)  # may be refused: nothing is written yet
        if not thread.no:
            thread = transaction.put_thread(thread)
        if self.request.submitted:
            run = replace(run, status="pending", due=self.time)
        else:
            run = replace(run, attempt=run.attempt + 1, due=None)
            self.owner.register(transaction, self.now)
        run = transaction.put_run(replace(run, thread_no=thread.no))
        owner = "" if self.request.submitted else self.owner.name
        thread = replace(thread, fence=thread.fence + 1, run_no=run.no, owner=owner, since=self.now)
        transaction.put_thread(thread)
        if owner:
            self.owner.taking(self.request.run_id, thread.no, thread.fence)
        if copied:
            transaction.append(Chunk(thread.no, thread.fence, run.no, encode_records(copied)))
        return Admitted(thread, run, copied, saved)

    def record_answers(self, run: RunRow) -> list[Record]:
        """Append the answers to the run's journal; returns its records with them."""
        records = decode_records(self.transaction.records(run.no))
        answers = answers_for(self.request.answer, run, records, self.serde)
        if answers:
            self.transaction.append(Chunk(self.thread.no, self.thread.fence, run.no, encode_records(answers)))
        return records + answers


def busy(decision: Decision) -> ThreadBusy:
    """What says that the thread is held: since when, by whom, for what."""
    thread, run = decision.thread, decision.opened.run
    what = f"run {run.run_id} of workflow {run.workflow!r}" if run is not None else "a run"
    if thread.owner or not is_waiting(run):
        how = f"has held it for {decision.now - thread.since:.1f} seconds (owner {thread.owner})"
    else:
        how = "sleeps" if run is not None and run.status == "sleeping" else "waits for a worker to go on with it"
    return ThreadBusy(
        f"thread {thread.thread_id!r} is busy: {what} {how}. Wait for it to end, use another thread, or say with on_busy= "
        "what to do."
    )


def nothing_open(decision: Decision, what: str = "resume") -> DurablyError:
    """What says that the thread has no run that could be gone on with."""
    run, where = decision.opened.run, f"thread {decision.request.thread_id!r}"
    if run is None:
        state = "has never run"
    elif left_nothing(run):
        state = f"has nothing open: its last run {run.run_id} was killed before its end, when durability 'exit' writes"
    else:
        state = f"has nothing open: its last run {run.run_id} is {run.status}"
    if decision.request.kind == "answer":
        return UnknownInterruptError(f"{where} {state}, so there is no question to answer. Start a run with an input.")
    return EmptyInputError(f"{where} {state}, so there is nothing to {what}. Start a run with an input.")
