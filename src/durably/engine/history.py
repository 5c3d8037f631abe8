"""What the database knows of a thread, read for people: snapshots, runs, calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ..checkpoint.base import Opened, RunRow, Status, ThreadRow, Transaction, Work
from ..checkpoint.saved import bases_of, recalled, whole
from ..checkpoint.transfer import unsealed_summary
from ..errors import ConfigError, DecodeError
from ..serde import Serializer, rebuild_exception
from ..types import PregelTask, StateSnapshot
from .ending import open_questions
from .identity import Key, call_id, record_place
from .journal import ANSWERED, ASKED, RAISED, RETURNED, Record, decode_records
from .request import RESUMABLE
from .rows import END, START, checkpoint_of, decode_extra, head_of, parse_checkpoint, raised_by, returned_by

__all__ = ["CallInfo", "Moment", "RunInfo", "find_moment", "list_runs", "read_history", "unknown_thread"]

PAGE: Final = 50


class Moment(msgspec.Struct, frozen=True):
    """A checkpoint as the database knows it.

    Args:
        thread_id: its thread.
        run: the run it belongs to.
        end: whether it is the run's end.
        is_latest: whether it is how the thread stands now.
        before: the run whose value held before this run, None on a thread's first run; at its end nobody asks.
        records: the run's calls; only read for a run that is open.
        run_bases: the runs that what ``run`` saved is stored as a difference to; likewise ``before_bases``, at a
            run's start.
    """

    thread_id: str
    run: RunRow
    end: int
    is_latest: bool
    before: RunRow | None
    records: tuple[Record, ...] = ()
    run_bases: tuple[RunRow, ...] = ()
    before_bases: tuple[RunRow, ...] = ()

    def snapshot(self, serde: Serializer) -> StateSnapshot:
        """As the user sees it."""
        run, head = self.run, head_of(self.run)
        extra = decode_extra(head)
        is_open = not self.end and (run.status in RESUMABLE or not self.is_latest)
        tasks = (self._task(serde),) if is_open else ()
        metadata = {
            **extra.get("metadata", {}),
            "source": "loop" if self.end and head.source != "update" else head.source,
            "step": head.step + self.end,
            "parents": {},
            "run_id": run.run_id,
            "workflow": run.workflow,
            "status": run.status,
        }
        return StateSnapshot(
            values=self._values(serde),
            next=(run.workflow,) if is_open else (),
            config=self._config(checkpoint_of(run.run_id, self.end)),
            metadata=metadata,
            created_at=_iso(run.updated_at if self.end else run.created_at),
            parent_config=self._parent(head.source),
            tasks=tasks,
            interrupts=tasks[0].interrupts if tasks else (),
        )

    def _values(self, serde: Serializer) -> Any:
        run, bases = (self.run, self.run_bases) if self.end else (self.before, self.before_bases)
        return {} if run is None else returned_by(whole(run, bases, serde, remember=self.is_latest), serde)

    def _task(self, serde: Serializer) -> PregelTask:
        run = self.run
        error = raised_by(run, serde)
        return PregelTask(
            id=call_id(run.run_id, Key("", run.workflow, 0)),
            name=run.workflow,
            path=("__pregel_pull", run.workflow),
            error=error if isinstance(error, Exception) else None,
            interrupts=open_questions(run, list(self.records), serde),
            result=returned_by(whole(run, self.run_bases, serde), serde) if run.status == "done" else None,
        )

    def _parent(self, source: str) -> dict[str, Any] | None:
        if self.end and source != "update":
            return self._config(checkpoint_of(self.run.run_id, START))
        return self._config(self.run.parent) if self.run.parent else None

    def _config(self, checkpoint_id: str) -> dict[str, Any]:
        return {"configurable": {"thread_id": self.thread_id, "checkpoint_ns": "", "checkpoint_id": checkpoint_id}}


def _iso(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        raise DecodeError(
            f"the database says that a run was at {seconds} seconds since 1970, which is no time"
        ) from None


def unknown_thread(thread_id: str) -> StateSnapshot:
    """How a thread stands that has never run."""
    config = {"configurable": {"thread_id": thread_id}}
    return StateSnapshot({}, (), config, None, None, None, (), ())


def find_moment(thread_id: str, checkpoint_id: str | None, serde: Serializer) -> Work:
    """A checkpoint of a thread, the latest for None; None where the thread has never run."""

    def work(transaction: Transaction) -> Moment | None:
        opened = transaction.open(thread_id)
        if opened.thread is None or opened.run is None:
            if checkpoint_id is not None:
                raise ConfigError(f"thread {thread_id!r} has no checkpoint {checkpoint_id!r}: it has never run")
            return None
        if checkpoint_id is None:
            address = opened.run, END if opened.run.status == "done" else START
        else:
            address = _addressed(transaction, opened.thread, checkpoint_id)
        return _moment(transaction, opened, address, serde, {})

    return work


def _addressed(transaction: Transaction, thread: ThreadRow, checkpoint_id: str) -> tuple[RunRow, int]:
    run_id, end = parse_checkpoint(checkpoint_id)
    run = transaction.find_run(run_id)
    if run is None or run.thread_no != thread.no or (end and run.status != "done"):
        raise ConfigError(f"thread {thread.thread_id!r} has no checkpoint {checkpoint_id!r}")
    return run, end


def _moment(
    transaction: Transaction, opened: Opened, address: tuple[RunRow, int], serde: Serializer, known: dict[int, RunRow]
) -> Moment:
    assert opened.thread is not None
    run, end = address
    is_latest = opened.run is not None and run.no == opened.run.no and end == (run.status == "done")
    is_open = not end and run.status != "done"  # a run that is done has no open question
    records = tuple(decode_records(transaction.records(run.no))) if is_open else ()
    run = recalled(run, serde)
    bases = bases_of(transaction, run, known)
    before = None if end else transaction.run(opened.thread.head_no if is_latest else run.base_no)
    if before is None:
        return Moment(opened.thread.thread_id, run, end, is_latest, None, records, bases)
    before = recalled(before, serde)
    before_bases = bases_of(transaction, before, known)
    return Moment(opened.thread.thread_id, run, end, is_latest, before, records, bases, before_bases)


def read_history(thread_id: str, before: str | None, serde: Serializer) -> Callable[[int], Work]:
    """Pages of a thread's history, latest first.

    Args:
        thread_id: the thread.
        before: begin behind this checkpoint, None for the latest.
        serde: knows again what was saved or read with it.

    Returns:
        A function that takes the number of the last run seen (a large one at first) and gives the work that reads the
        next page: its moments, and the number to go on from, 0 after the last page.
    """

    def page(below: int) -> Work:
        def work(transaction: Transaction) -> tuple[list[Moment], int]:
            opened = transaction.open(thread_id)
            if opened.thread is None:
                return [], 0
            first = (below, START)
            if before is not None:
                run, end = _addressed(transaction, opened.thread, before)
                first = min(first, (run.no, end))
            runs = transaction.runs(opened.thread.no, first[0] + 1, PAGE)
            known: dict[int, RunRow] = {}
            moments = [
                _moment(transaction, opened, (run, end), serde, known)
                for run in runs
                for end in _ends(run)
                if (run.no, end) < first and (run.attempt or run.no == opened.thread.run_no)
            ]
            return moments, runs[-1].no if len(runs) == PAGE else 0

        return work

    return page


def _ends(run: RunRow) -> Iterator[int]:
    """The checkpoints of a run, later one first; none of one that was rolled back."""
    if run.status == "undone":
        return
    if run.status == "done":
        yield END
    if head_of(run).source != "update":
        yield START


# Runs and calls.


class CallInfo(msgspec.Struct, frozen=True, eq=False):  # a key of ``fork(set=...)``, whatever its value is
    """One recorded call.

    Args:
        id: its idempotency key; of a question, the id to answer it by.
        key: scope, name and number: what identifies it within the run.
        arguments: what it was given, in a few words; empty for a question, and for what was not called.
        status: ``returned``, ``raised``, ``asked`` or ``answered``.
        value: the result, the question, or the answer; None where it raised.
        error: what it raised, None where it did not.
        started_at: when its first attempt began, in seconds since the epoch.
        seconds: how long it took, attempts and pauses included.
        attempts: how many there were.
        cached: whether the result came from a cache.
    """

    id: str
    key: Key
    arguments: str
    status: str
    value: Any
    error: BaseException | None
    started_at: float
    seconds: float
    attempts: int
    cached: bool

    @property
    def name(self) -> str:
        """The task's name, or ``interrupt``."""
        return self.key.name

    @property
    def scope(self) -> str:
        """The body or branch it was made in, empty for the workflow itself."""
        return self.key.scope


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One run of a thread.

    Args:
        run_id: names it.
        thread_id: its thread.
        workflow: the name of the workflow that runs it.
        status: how it stands.
        attempts: how many have begun.
        created_at: when it began, in seconds since the epoch; likewise ``updated_at``.
        source: what made it: ``input``, ``update`` or ``fork``.
        config: addresses its start.
    """

    run_id: str
    thread_id: str
    workflow: str
    status: Status
    attempts: int
    created_at: float
    updated_at: float
    source: str
    config: dict[str, Any]
    _records: tuple[Record, ...] = field(default=(), repr=False, compare=False)
    _serde: Any = field(default=None, repr=False, compare=False)

    def calls(self) -> list[CallInfo]:
        """Every recorded call, in the order in which they ended."""
        return [_call_info(record, self.run_id, self._serde) for record in self._records]


_STATUS: Final = {RETURNED: "returned", RAISED: "raised", ASKED: "asked", ANSWERED: "answered"}


def _call_info(record: Record, run_id: str, serde: Serializer) -> CallInfo:
    value = serde.loads(record.data, record_place(run_id, record.key))
    error = rebuild_exception(value, record.name) if record.kind == RAISED else None
    return CallInfo(
        id=call_id(run_id, record.key),
        key=record.key,
        arguments=unsealed_summary(record, run_id, serde),
        status=_STATUS[record.kind],
        value=None if error is not None else value[0] if record.paired else value,
        error=error,
        started_at=record.started,
        seconds=record.seconds,
        attempts=record.attempts,
        cached=record.cached,
    )


def list_runs(thread_id: str, limit: int, serde: Serializer) -> Work:
    """The latest runs of a thread, latest first."""

    def work(transaction: Transaction) -> list[RunInfo]:
        thread = transaction.open(thread_id).thread
        rows: Sequence[RunRow] = () if thread is None else transaction.runs(thread.no, 1 << 62, limit)
        return [_run_info(row, thread_id, decode_records(transaction.records(row.no)), serde) for row in rows]

    return work


def _run_info(row: RunRow, thread_id: str, records: list[Record], serde: Serializer) -> RunInfo:
    config = {"configurable": {"thread_id": thread_id, "checkpoint_id": checkpoint_of(row.run_id, START)}}
    source = head_of(row).source
    return RunInfo(
        run_id=row.run_id,
        thread_id=thread_id,
        workflow=row.workflow,
        status=row.status,
        attempts=row.attempt,
        created_at=row.created_at,
        updated_at=row.updated_at,
        source=source,
        config=config,
        _records=tuple(records),
        _serde=serde,
    )
