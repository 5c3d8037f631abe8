"""What ends a run, and what is written to a thread without running: decisions made inside one transaction.

How a run begins is in `durably.engine.admission`. The fence, not the lease, carries safety: every attempt takes the
next one, and whoever comes with an older one writes nothing.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from msgspec.structs import replace

from ..checkpoint.base import RunRow, ThreadRow, Transaction, Work
from ..checkpoint.heads import encode_row
from ..checkpoint.transfer import copied_memory
from ..errors import EmptyInputError, Superseded, ThreadBusy
from ..serde import Serializer
from .decision import Decision, busy, nothing_open
from .owner import Owner
from .request import RESUMABLE, Admitted, Ending, Request, is_waiting
from .rows import END, Outcome, end_step, head_of, last_checkpoint
from .steps import clock
from .travel import at_step

__all__ = ["Place", "begin_update", "cancel", "next_turn", "settle", "unless_changed", "update"]


def settle(admitted: Admitted, ending: Ending) -> Work:
    """End an attempt: write how, and give the thread back, or to the next run that waits for it."""

    def work(transaction: Transaction) -> None:
        thread, run = admitted.thread, admitted.run
        found = transaction.thread(thread.no)
        if found is None or found.fence != thread.fence:
            raise _superseded(transaction, admitted)
        outcome = None if ending.outcome is None else encode_row(ending.outcome)
        ended = replace(run, status=ending.status, updated_at=time.time(), outcome=outcome, due=ending.due)
        if ending.stored is not None:
            ended = replace(ended, **ending.stored._asdict())
        if ending.status in ("asked", "sleeping") and _was_answered(transaction, run):
            ended = replace(ended, status="pending", due=clock().now())
        transaction.put_run(ended)
        free = replace(found, owner="", head_no=run.no if ending.status == "done" else found.head_no)
        transaction.put_thread(free if is_waiting(ended) else next_turn(transaction, free, ended))

    return work


def _was_answered(transaction: Transaction, run: RunRow) -> bool:
    """Whether an answer was submitted while the attempt was under way, so that another one may be needed."""
    stored = transaction.run(run.no)
    return stored is not None and stored.due is not None


def next_turn(transaction: Transaction, thread: ThreadRow, ended: RunRow) -> ThreadRow:
    """The thread, with the first of the runs that wait for their turn as its current one, due at once."""
    run = transaction.run(thread.next_no) if thread.next_no else None
    if run is None:
        return thread
    if ended.status == "asked":
        transaction.put_run(replace(ended, status="abandoned", due=None))
    head = encode_row(replace(head_of(run), step=end_step(ended) + 1))
    parent = last_checkpoint(ended)
    transaction.put_run(replace(run, due=clock().now(), parent=parent, base_no=thread.head_no, head=head))
    behind = transaction.waiting(thread.no, run.no)
    return replace(thread, run_no=run.no, next_no=0 if behind is None else behind.no)


def _superseded(transaction: Transaction, admitted: Admitted) -> Superseded:
    run = transaction.run(admitted.run.no) or admitted.run
    what = "was cancelled" if run.status == "cancelled" else "has been taken over by another attempt"
    return Superseded(
        f"run {run.run_id} on thread {admitted.thread.thread_id!r} {what}; what this attempt did after that is not recorded"
    )


def cancel(request: Request, owner: Owner, serde: Serializer) -> Work:
    """End a thread's current run from outside, or the one that is named: whoever runs it can write nothing any more.

    The work returns the thread's number and the fence below which everybody is fenced off.
    """

    def work(transaction: Transaction) -> tuple[int, int]:
        decision = Decision(request, owner, serde, transaction)
        run = decision.opened.run
        named = transaction.find_run(request.run_id) if request.run_id else run
        if named is not None and (run is None or named.no != run.no):
            return _leave_line(transaction, decision, named)
        if run is None or run.status not in RESUMABLE:
            raise nothing_open(decision, "cancel")
        if request.checkpoint_id is not None and decision.find_checkpoint(request.checkpoint_id)[0].no != run.no:
            raise EmptyInputError(
                f"checkpoint {request.checkpoint_id!r} is of a run that is over; the open run of thread "
                f"{request.thread_id!r} is {run.run_id}"
            )
        ended = transaction.put_run(replace(run, status="cancelled", updated_at=decision.now, due=None))
        thread = replace(decision.thread, fence=decision.thread.fence + 1, owner="")
        transaction.put_thread(next_turn(transaction, thread, ended))
        return thread.no, thread.fence

    return work


class Place(NamedTuple):
    """Where in a thread's history a run belongs: after which checkpoint, and as the how-manieth its start counts."""

    parent: str = ""
    step: int = 0


def _leave_line(transaction: Transaction, decision: Decision, run: RunRow) -> tuple[int, int]:
    """Cancel a run that waits for its turn; nobody is fenced off."""
    thread = decision.thread
    if run.thread_no != thread.no or run.status != "pending":
        raise EmptyInputError(f"run {run.run_id} is {run.status}, so there is nothing to cancel")
    transaction.put_run(replace(run, status="cancelled", updated_at=decision.now))
    if thread.next_no == run.no:
        behind = transaction.waiting(thread.no, run.no)
        transaction.put_thread(replace(thread, next_no=0 if behind is None else behind.no))
    return thread.no, 0


def update(
    request: Request, owner: Owner, serde: Serializer, value: bytes | None, saved: bytes, place: Place | None = None
) -> Work:
    """Set what a thread returns and saves, as a run of its own that has ended; returns that run.

    A question that is open stays so, unless the update says what its place is: then it takes the place of an open run. An
    update of a moment of the past begins a branch of the thread there.
    """

    def work(transaction: Transaction) -> RunRow:
        return _Update(request, owner, serde, transaction).write(Outcome(value), saved, place)

    return work


def begin_update(request: Request, owner: Owner, serde: Serializer, place: Place) -> Work:
    """Write an update as a run that is to be gone on with: its input says from where.

    Args:
        request: names the thread, and holds the input.
        owner: this process as the holder of threads.
        serde: turns values into bytes.
        place: where in the thread's history it belongs.
    """

    def work(transaction: Transaction) -> RunRow:
        return _Update(request, owner, serde, transaction).open(place)

    return work


def unless_changed(work: Work, thread_id: str, seen: RunRow | None) -> Work:
    """Do it only if the thread's current run has not gone on since it was seen, if it was the current one."""

    def checked(transaction: Transaction) -> Any:
        now = transaction.open(thread_id).run
        if (now is None) != (seen is None) or (
            now and seen and now.no == seen.no and now.updated_at != seen.updated_at
        ):
            raise ThreadBusy(f"thread {thread_id!r} has gone on while it was looked at: look again, and then update it")
        return work(transaction)

    return checked


class _Update(Decision):
    """A change from outside to what a thread returns and saves."""

    def write(self, outcome: Outcome, saved: bytes, place: Place | None) -> RunRow:
        """Write a run that has ended already."""
        latest, transaction = self.opened.run, self.transaction
        if self.is_held():
            raise busy(self)
        parent, base_no, is_now = self._place()
        if is_waiting(latest) and (place is not None or not is_now):
            raise busy(self)
        row = self.row(b"", parent, base_no, head=replace(self.request.head, source="update"), after=latest)
        head = head_of(row)  # it has an end only, which takes the step that the start of another run would have
        row = replace(
            row,
            status="done",
            attempt=1,
            outcome=encode_row(replace(outcome, memory=self._memory(base_no))),
            saved=saved,
            saved_no=1,
            head=encode_row(replace(head, step=max(-1, head.step - 1))),
        )
        if place is not None:
            row = at_step(replace(row, parent=place.parent), place.step - 1)
        stays_open = place is None and is_now and latest is not None and latest.status in RESUMABLE
        if not stays_open:
            self.leave_behind(latest)
        thread = self.thread if self.thread.no else transaction.put_thread(self.thread)
        row = transaction.put_run(replace(row, thread_no=thread.no))
        if stays_open and latest is not None and not latest.attempt and latest.base_no == thread.head_no:
            transaction.put_run(replace(latest, base_no=row.no))  # it has not begun, and is to see this
        transaction.put_thread(replace(thread, head_no=row.no, run_no=thread.run_no if stays_open else row.no))
        return row

    def open(self, place: Place) -> RunRow:
        """Write a run that has not begun; it takes the place of an open one."""
        latest, transaction = self.opened.run, self.transaction
        if self.is_held() or is_waiting(latest):
            raise busy(self)
        head = replace(self.request.head, source="update")
        row = self.row(self.request.input, place.parent, self._place()[1], head=head, after=latest)
        row = at_step(replace(row, status="stopped", attempt=1), place.step)
        self.leave_behind(latest)
        thread = self.thread if self.thread.no else transaction.put_thread(self.thread)
        row = transaction.put_run(replace(row, thread_no=thread.no))
        transaction.put_thread(replace(thread, run_no=row.no))
        return row

    def _memory(self, base_no: int) -> dict[str, bytes]:
        """What nested workflows have saved stays as it was."""
        base = self.transaction.run(base_no) if base_no else None
        return {} if base is None else copied_memory(base, self.request.run_id, self.serde)

    def _place(self) -> tuple[str, int, bool]:
        """The checkpoint it comes after, the run it is based on, and whether that is how the thread stands now."""
        latest, thread, checkpoint_id = self.opened.run, self.thread, self.request.checkpoint_id
        if checkpoint_id is None:
            return "" if latest is None else last_checkpoint(latest), thread.head_no, True
        target, end = self.find_checkpoint(checkpoint_id)
        if end == END:
            return checkpoint_id, target.no, target.no == thread.head_no
        is_now = self.is_current(target) and target.status in RESUMABLE
        return checkpoint_id, thread.head_no if is_now else target.base_no, is_now
