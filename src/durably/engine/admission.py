"""How a run begins: which one, at once, later, or not at all."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from ..checkpoint.base import RunRow, Status, Transaction, Work
from ..errors import AlreadyAnswered, ConfigError
from ..moments import Moments
from ..serde import Serializer
from .answers import answers_for, is_by_id
from .decision import busy, nothing_open
from .identity import Key, record_place, run_place
from .journal import BEGAN, FORGOTTEN, RETURNED, Record, decode_records
from .owner import Owner
from .request import RESUMABLE, Admitted, Busy, Existing, NotDue, Request, is_waiting
from .rows import last_checkpoint, left_nothing, outcome_of, step_of
from .travel import Travel, tried_again
from .unfolding import unfolded

__all__ = ["admit"]


def admit(request: Request, owner: Owner, serde: Serializer) -> Work:
    """Begin an attempt, of a new run or of one that is there: `Admitted`, `Existing` or `Busy`."""

    def work(transaction: Transaction) -> Admitted | Existing | Busy:
        return _Admission(request, owner, serde, transaction).decide()

    return work


class _Admission(Travel):
    """One decision about one attempt."""

    def decide(self) -> Admitted | Existing | Busy:
        """Read, decide, write."""
        is_held = self.is_held()
        if self.request.answered:
            return self._after_answering(is_held)
        started = self._started_before(is_held)
        if started is not None:
            return started
        if is_held or self._is_in_the_way():
            return self._when_busy() or self._begin(self.request.on_busy)
        if self._queues() and not self.owner.is_next(self.request.thread_id, self.request.run_id):
            return self._come_again()
        return self._begin("")

    def _started_before(self, is_held: bool) -> Admitted | Existing | Busy | None:
        """The run that was started under the same idempotency key, at its end; one whose process dies is gone on with."""
        key = self.request.key
        if not key:
            return None
        if self.request.kind != "input":
            raise ConfigError(
                "idempotency_key= is for starting a run with an input: answers are idempotent by the question's id, and "
                "invoke(None, config) goes on with the one run that is open"
            )
        run = self.transaction.find_key(self.thread.no, key)
        if run is None:
            return None
        self.check_workflow(run)
        if run.status != "running" or not self.is_current(run) or (is_held and self.request.submitted):
            return Existing(run)
        return Busy(admit(self.request, self.owner, self.serde)) if is_held else self._resume(run)

    # While the thread is busy.

    def _is_in_the_way(self) -> bool:
        """Whether the current run waits to be gone on with, and something else is asked for."""
        run, request = self.opened.run, self.request
        if not (is_waiting(run) or self.thread.next_no):
            return False
        if request.kind == "input" or request.fork is not None:
            return True
        return request.checkpoint_id is not None and not self.is_current(self.find_checkpoint(request.checkpoint_id)[0])

    def _when_busy(self) -> Existing | Busy | None:
        """What comes instead of beginning; None where the attempt under way is to be fenced off."""
        run, request = self.opened.run, self.request
        if request.kind == "due":
            raise NotDue(str(busy(self)))
        if run is not None and self._answers(run):
            self.check_workflow(run)
            self.record_answers(run)
            return self._told(run) if request.submitted else self._come_again(replace(request, answered=run.run_id))
        if request.on_busy == "enqueue" and not request.submitted:
            return self._come_again()
        if request.on_busy == "enqueue" and request.kind == "input":
            return self._line_up()
        if request.on_busy == "join" and run is not None and request.kind != "answer":
            self.check_workflow(run)
            return Existing(run)
        if request.on_busy in ("interrupt", "rollback") and request.kind == "input":
            return None
        raise busy(self)

    def _answers(self, run: RunRow) -> bool:
        """Whether these are answers to the run under way."""
        if self.request.kind != "answer":
            return False
        checkpoint_id = self.request.checkpoint_id
        return checkpoint_id is None or self.find_checkpoint(checkpoint_id)[0].no == run.no

    def _after_answering(self, is_held: bool) -> Admitted | Existing | Busy:
        """When the attempt that was under way has ended, another one goes on with the answers, if that is needed."""
        run = self.transaction.find_run(self.request.answered)
        assert run is not None
        if not self.is_current(run) or run.status not in RESUMABLE:
            return Existing(run)
        return self._come_again() if is_held else self._resume(run)

    def _told(self, run: RunRow) -> Existing:
        """Nobody waits for the attempt under way to end: should it not use the answers, the run is due then."""
        self.transaction.put_run(replace(run, due=self.time))
        return Existing(run)

    def _line_up(self) -> Existing:
        """A new run that begins when those before it on its thread have ended."""
        run = replace(self.row(self.request.input, "", 0, head=self.request.head, after=None), status="pending")
        run = self.transaction.put_run(run)
        if not self.thread.next_no:
            self.transaction.put_thread(replace(self.thread, next_no=run.no))
        return Existing(run)

    def _queues(self) -> bool:
        return self.request.on_busy == "enqueue" and self.request.kind == "input"

    def _come_again(self, request: Request | None = None) -> Busy:
        if self._queues():
            self.owner.queue(self.request.thread_id, self.request.run_id)
        return Busy(admit(request or self.request, self.owner, self.serde))

    # Beginning.

    def _begin(self, fencing: str) -> Admitted | Existing:
        """Begin; ``fencing`` says how an attempt under way is fenced off, empty where there is none."""
        request = self.request
        current = self.opened.run
        if (
            request.goes_on
            and request.moments
            and current
            and current.status in RESUMABLE
            and not request.checkpoint_id
        ):
            return self._inside(current, request.moments) or self._start(None, None, fencing)
        if request.checkpoint_id is None:
            return self._start(None, None, fencing) if request.kind == "input" else self._go_on()
        target, end = self.find_checkpoint(request.checkpoint_id)
        if request.moments is not None and not end:
            inside = self._inside(target, request.moments)
            if inside is not None:
                return inside
        if request.kind == "input":
            return self._start(target.no if end else target.base_no, request.checkpoint_id, fencing)
        if request.fork is None and self.is_current(target) and target.status in RESUMABLE:
            try:
                return self._resume(target)
            except AlreadyAnswered:
                pass  # at an address of the past an answered question is answered afresh
        return self.travel(target, end)

    def _inside(self, run: RunRow, moments: Moments) -> Admitted | None:
        """A run that begins at a moment inside another; None where the other is gone on with, or answered."""
        request, step = self.request, step_of(self.request.checkpoint_id or "")
        if request.kind == "answer" or request.fork is not None or not run.input:
            return None
        unfolding = unfolded(self.transaction, request.thread_id, run, request.checkpoint_id, self.serde)
        start, index = unfolding.meant(moments, self.serde)
        may_go_on = request.kind == "resume" and self.is_current(run) and run.status in RESUMABLE
        if may_go_on and step == replace(unfolding, step=None).meant(moments, self.serde)[1]:
            return None  # that is where it stands
        self.check_workflow(run)
        given: Any = start.start
        if request.kind == "input":
            given = moments.entered(start, self.serde.loads(request.input, run_place(request.run_id, "input")))
        return self.begin_at(run, index, given)

    def _start(self, base_no: int | None, parent: str | None, fencing: str) -> Admitted:
        """A new run, after the thread's latest one or from an earlier moment."""
        latest = self.opened.run
        after = self._last_before(latest) if latest is not None and fencing == "rollback" else latest
        if parent is None:
            parent = "" if after is None else last_checkpoint(after)
        base_no = self.thread.head_no if base_no is None else base_no
        run = self.row(self.request.input, parent, base_no, head=self.request.head, after=after)
        left: dict[str, Status] = {"rollback": "undone", "interrupt": "stopped"}
        self.leave_behind(latest, left.get(fencing, "abandoned"))
        return self.hold(run, [])

    def _last_before(self, run: RunRow) -> RunRow | None:
        """The run before one that is rolled back, in the history that people see."""
        no = run.no
        while found := self.transaction.runs(run.thread_no, no, 1):
            if found[0].status != "undone":
                return found[0]
            no = found[0].no
        return None

    def _go_on(self) -> Admitted | Existing:
        """The next attempt of the thread's current run."""
        run, request = self.opened.run, self.request
        lost = run is not None and left_nothing(run)
        if request.kind == "due" and (run is None or run.due is None or run.due > self.time):
            raise NotDue(str(nothing_open(self, "go on with")))
        if run is not None and run.status in RESUMABLE and not lost:
            return self._resume(run)
        if run is not None and run.status == "done" and request.kind == "answer" and is_by_id(request.answer):
            records = decode_records(self.transaction.records(run.no))
            if not answers_for(request.answer, run, records, self.serde):
                return Existing(run)  # the answers that it was given
        raise nothing_open(self)

    def _resume(self, run: RunRow) -> Admitted:
        """The next attempt of a run."""
        self.check_workflow(run)
        if self.request.kind == "answer" and not self.request.answered:
            records = self.record_answers(run)
        else:
            records = decode_records(self.transaction.records(run.no))
        again = tried_again(run, records)
        passed = self._passed(run)
        forgotten = [Record(FORGOTTEN, *record.key, b"", b"") for record in again]
        begun = [Record(BEGAN, "", run.status, run.attempt + 1, b"", b"", self.now)]
        begins_anew = run.attempt > 0 and not self.request.submitted
        run = replace(run, status="running", updated_at=self.now, outcome=None)
        admitted = self.hold(run, [*forgotten, *passed, *(begun if begins_anew else ())])
        dropped = set(map(id, again))
        kept = [record for record in records if id(record) not in dropped] if dropped else records
        return replace(admitted, records=[*kept, *passed])

    def _passed(self, run: RunRow) -> list[Record]:
        """The pauses with which the last attempt ended, as decided: whoever goes on with the run lets it pass them.

        That time has come for a sleep beside them lets it pass none.
        """
        if run.status != "asked" or self.request.kind == "due":
            return []
        keys = [Key(*key) for key in outcome_of(run).paused]
        return [
            Record(RETURNED, *key, b"", self.serde.dumps(True, record_place(run.run_id, key)), self.now) for key in keys
        ]
