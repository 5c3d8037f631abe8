"""Moments inside runs, for workflows that can tell them from what is recorded; see `durably.moments`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from ..checkpoint.base import RunRow, Transaction, Work
from ..checkpoint.saved import bases_of, recalled, whole
from ..errors import ConfigError
from ..moments import Call, CallKey, Moments, Step, Story
from ..serde import Serializer, rebuild_exception
from ..types import StateSnapshot
from .commit import Committer
from .ending import open_questions
from .history import find_moment, unknown_thread
from .identity import Key, call_id, record_place, run_place
from .journal import RAISED, RETURNED, Record, decode_records, questions
from .rows import (
    END,
    START,
    checkpoint_of,
    decode_extra,
    head_of,
    outcome_of,
    parse_checkpoint,
    saved_by,
    step_checkpoint,
    step_of,
)
from .steps import Steps

if TYPE_CHECKING:
    from ..checkpoint.base import BaseCheckpointer

__all__ = ["Unfolded", "find_unfolded", "read_unfolded", "state_of", "unfolded"]

PAGE = 50


class Unfolded(msgspec.Struct, frozen=True):
    """A run with all that its moments are told from.

    Args:
        thread_id: its thread.
        run: the run, what it saved in whole.
        before: the run that it was based on, likewise; None on a thread's first run, and where only the end of a run is asked
            for that is done.
        records: its calls; none there either.
        step: which of its moments is meant: a number, `END`, or None for the latest.
    """

    thread_id: str
    run: RunRow
    before: RunRow | None
    records: list[Record]
    at_end: bool = False
    step: int | None = None

    # What the workflow is told.

    def story(self, serde: Serializer) -> Story:
        """What the run has recorded."""
        run = self.run
        asked = open_questions(run, self.records, serde)
        return Story(
            run_id=run.run_id,
            input=serde.loads(run.input, run_place(run.run_id, "input")) if run.input else None,
            saved=None if self.before is None else saved_by(self.before, serde),
            calls=_Calls(run.run_id, self.records, serde),
            questions=tuple(zip(map(tuple, questions(self.records)), asked, strict=True)),  # type: ignore[arg-type]
            id_of=lambda key: call_id(run.run_id, Key(*key)),
        )

    def meant(self, moments: Moments, serde: Serializer, *, subgraphs: bool = False) -> tuple[Step, int]:
        """The moment that is meant, and its number in the run.

        Raises:
            ConfigError: the run never came there.
        """
        if self.at_end or not self.run.input:  # or it was written at its end
            return Step(saved_by(self.run, serde)), outcome_of(self.run).steps
        try:
            return moments.at(self.story(serde), self.step, subgraphs=subgraphs)
        except IndexError as error:
            raise ConfigError(f"run {self.run.run_id} has no step {self.step}: it came to step {error}") from None

    def address(self, index: int) -> str:
        """The checkpoint of one of its moments."""
        is_end = self.run.status == "done" and index >= outcome_of(self.run).steps
        return checkpoint_of(self.run.run_id, END) if is_end else step_checkpoint(self.run.run_id, index)

    # What people see.

    def snapshot(self, moments: Moments, serde: Serializer, *, subgraphs: bool = False) -> StateSnapshot:
        """How the thread stood at the moment that is meant."""
        step, index = self.meant(moments, serde, subgraphs=subgraphs)
        return self._shown(step, index)

    def snapshots(self, moments: Moments, serde: Serializer) -> Iterator[StateSnapshot]:
        """How it stood at all of its moments, latest first."""
        if not self.run.input:
            yield self.snapshot(moments, serde)
            return
        steps = moments.steps(self.story(serde))
        while steps:
            step = steps.pop()
            yield self._shown(step, len(steps))

    def _shown(self, step: Step, index: int) -> StateSnapshot:
        """A moment as the user sees it."""
        run, head = self.run, head_of(self.run)
        is_first, is_end = index == 0 or not run.input, run.status == "done" and index >= outcome_of(run).steps
        at = run.updated_at if is_end else step.at or run.created_at
        metadata = {
            **decode_extra(head).get("metadata", {}),
            "source": head.source if is_first else "loop",
            "step": head.step + index,
            "parents": {},
            "run_id": run.run_id,
            "workflow": run.workflow,
            "status": run.status,
        }
        parent = run.parent if is_first else step_checkpoint(run.run_id, index - 1)
        return StateSnapshot(
            values=step.values,
            next=step.next,
            config=self._config(self.address(index)),
            metadata=metadata,
            created_at=datetime.fromtimestamp(at, UTC).isoformat(),
            parent_config=self._config(parent) if parent else None,
            tasks=step.tasks,
            interrupts=tuple(question for task in step.tasks for question in task.interrupts),
        )

    def _config(self, checkpoint_id: str) -> dict[str, Any]:
        return {"configurable": {"thread_id": self.thread_id, "checkpoint_ns": "", "checkpoint_id": checkpoint_id}}


class _Calls(Mapping[CallKey, Call]):
    """The calls that have ended, each decoded when it is looked at."""

    def __init__(self, run_id: str, records: list[Record], serde: Serializer) -> None:
        self._run_id = run_id
        self._serde = serde
        self._records = {tuple(record.key): record for record in records if record.kind in (RETURNED, RAISED)}

    def __getitem__(self, key: CallKey) -> Call:
        record = self._records[key]

        def value() -> Any:
            return self._serde.loads(record.data, record_place(self._run_id, record.key))

        error = rebuild_exception(value(), record.name) if record.kind == RAISED else None
        return Call(value, error, record.started + record.seconds)

    def __iter__(self) -> Iterator[CallKey]:
        return iter(self._records)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._records)


def unfolded(
    transaction: Transaction,
    thread_id: str,
    run: RunRow,
    checkpoint_id: str | None,
    serde: Serializer,
    known: dict[int, RunRow] | None = None,
) -> Unfolded:
    """A run as it stands, read in this transaction.

    Args:
        transaction: reads.
        thread_id: the run's thread.
        run: the run.
        checkpoint_id: which of its moments is meant, None for its latest.
        serde: puts together what is stored as differences.
        known: runs that were read before; see `durably.checkpoint.saved.bases_of`.
    """
    known = {} if known is None else known
    end = run.status == "done" if checkpoint_id is None else parse_checkpoint(checkpoint_id)[1]
    run = recalled(run, serde)
    return Unfolded(
        thread_id,
        whole(run, bases_of(transaction, run, known), serde),
        None if end else _before(transaction, run, serde, known),
        [] if end else decode_records(transaction.records(run.no)),
        bool(end),
        None if checkpoint_id is None else step_of(checkpoint_id),
    )


def _before(transaction: Transaction, run: RunRow, serde: Serializer, known: dict[int, RunRow]) -> RunRow | None:
    """The run that another is based on, what it saved in whole."""
    before = transaction.run(run.base_no) if run.base_no else None
    if before is None:
        return None
    before = recalled(before, serde)
    return whole(before, bases_of(transaction, before, known), serde)


def find_unfolded(thread_id: str, checkpoint_id: str | None, serde: Serializer, *, inside: bool = False) -> Work:
    """The run that a checkpoint belongs to, the current one for None; None where the thread has never run.

    Args:
        thread_id: the thread.
        checkpoint_id: the checkpoint.
        serde: puts together what is stored as differences.
        inside: whether its end, too, is to be told from what it recorded.
    """

    def work(transaction: Transaction) -> Unfolded | None:
        opened = transaction.open(thread_id)
        run = opened.run
        if checkpoint_id is not None:
            run_id, end = parse_checkpoint(checkpoint_id)
            run = transaction.find_run(run_id)
            if (
                opened.thread is None
                or run is None
                or run.thread_no != opened.thread.no
                or (end and run.status != "done")
            ):
                raise ConfigError(f"thread {thread_id!r} has no checkpoint {checkpoint_id!r}")
        if run is None:
            return None
        found = unfolded(transaction, thread_id, run, checkpoint_id, serde)
        if inside and found.at_end:
            before = _before(transaction, run, serde, {})
            found = replace(found, at_end=False, before=before, records=decode_records(transaction.records(run.no)))
        return found

    return work


def read_unfolded(thread_id: str, before: str | None, serde: Serializer) -> Callable[[int], Work]:
    """Pages of a thread's runs, latest first; see `durably.engine.history.read_history`."""

    def page(below: int) -> Work:
        def work(transaction: Transaction) -> tuple[list[Unfolded], int]:
            thread = transaction.open(thread_id).thread
            if thread is None:
                return [], 0
            first = below
            if before is not None:
                run = transaction.find_run(parse_checkpoint(before)[0])
                first = min(first, 0 if run is None else run.no + 1)
            runs = transaction.runs(thread.no, first, PAGE)
            shown = [run for run in runs if run.status != "undone"]
            known: dict[int, RunRow] = {}
            found = [
                unfolded(transaction, thread_id, run, checkpoint_of(run.run_id, START), serde, known) for run in shown
            ]
            return found, runs[-1].no if len(runs) == PAGE else 0

        return work

    return page


def state_of(
    thread_id: str,
    checkpoint_id: str | None,
    checkpointer: BaseCheckpointer,
    moments: Moments | None,
    *,
    subgraphs: bool = False,
) -> Steps[StateSnapshot]:
    """How a thread stands, or stood at a checkpoint."""
    serde, committer = checkpointer.serde, Committer.of(checkpointer)
    if moments is None:
        moment = yield from committer.perform(find_moment(thread_id, checkpoint_id, serde))
        return unknown_thread(thread_id) if moment is None else moment.snapshot(serde)
    found = yield from committer.perform(find_unfolded(thread_id, checkpoint_id, serde))
    return unknown_thread(thread_id) if found is None else found.snapshot(moments, serde, subgraphs=subgraphs)
