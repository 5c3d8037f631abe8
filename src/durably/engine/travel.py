"""Going on from an earlier moment of a thread: forks of its runs, and answers given afresh."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from msgspec.structs import replace

from ..checkpoint.base import RunRow
from ..checkpoint.heads import encode_row
from ..checkpoint.transfer import copied_input, copied_records
from ..errors import ConfigError, UnknownInterruptError
from .answers import check_answer, is_by_id
from .decision import Decision
from .identity import Key, body_path, call_id, run_place
from .journal import ANSWERED, ASKED, RAISED, Record, decode_records, in_body
from .request import Admitted, Existing, Fork
from .rows import START, checkpoint_of, head_of, merge_extra, outcome_of, step_checkpoint

__all__ = ["Travel", "at_step", "tried_again"]


class Travel(Decision):
    """Decisions about runs of the past."""

    def travel(self, run: RunRow, end: int) -> Admitted | Existing:
        """From a run's end its value; from its start a fork."""
        self.check_workflow(run)
        fork = self.request.fork
        if end and fork is None and self.request.kind != "answer":
            return Existing(run)
        records = decode_records(self.transaction.records(run.no))
        if fork is not None:
            return self._fork_at(run, records, fork)
        if self.request.kind == "answer":
            return self._answer_afresh(run, records)
        return self._fork(run, [], ())

    def _fork_at(self, run: RunRow, records: list[Record], fork: Fork) -> Admitted:
        # Whoever sets a result means it for this call whatever its arguments become.
        replaced = tuple((replace(_latest(records, key), fingerprint=b""), value) for key, value in fork.set)
        for record, value in replaced:
            check_answer(record, value, run, self.serde)
        before = fork.before or _first(records, {key for key, _ in fork.set})
        if before is None:
            again = set(map(id, tried_again(run, records)))
            return self._fork(run, [record for record in records if id(record) not in again], ())
        return self._fork(run, _up_to(records, before), replaced)

    def _answer_afresh(self, run: RunRow, records: list[Record]) -> Admitted:
        """Fork a run before the earliest of the answered questions that are answered again."""
        if not is_by_id(self.request.answer):
            raise UnknownInterruptError(
                "an answer to a run of the past names its question: Command(resume={id: answer}). "
                "The ids are in run.calls() of workflow.runs(thread_id)."
            )
        asked = {call_id(run.run_id, record.key): record for record in records if record.kind in (ASKED, ANSWERED)}
        unknown = [name for name in self.request.answer if name not in asked]
        if unknown:
            raise UnknownInterruptError(
                f"no question of run {run.run_id} has the id {unknown[0]}; its questions are in run.calls() of "
                "workflow.runs(thread_id)"
            )
        answers = tuple((asked[name], answer) for name, answer in self.request.answer.items())
        for record, answer in answers:
            check_answer(record, answer, run, self.serde)
        answered = {record.key for record, _ in answers if record.kind == ANSWERED}
        first = _first(records, answered)
        return self._fork(run, records if first is None else _up_to(records, first), answers)

    def begin_at(self, run: RunRow, index: int, given: Any) -> Admitted:
        """A new run from a moment inside another, with the input that stands for that moment."""
        request, latest = self.request, self.opened.run
        source = "input" if request.kind == "input" else "fork"
        extra = merge_extra(head_of(run).extra, request.head.extra)
        data = self.serde.dumps(given, run_place(request.run_id, "input"))
        head = replace(request.head, source=source, extra=extra)
        row = self.row(data, step_checkpoint(run.run_id, index), run.base_no, head=head, after=latest)
        self.leave_behind(latest)
        return self.hold(at_step(row, head_of(run).step + index + 1), [])

    def _fork(self, run: RunRow, kept: list[Record], replaced: tuple[tuple[Record, Any], ...]) -> Admitted:
        request, latest = self.request, self.opened.run
        copied = copied_records(run.run_id, request.run_id, kept, replaced, self.serde)
        extra = merge_extra(head_of(run).extra, request.head.extra)
        row = self.row(
            copied_input(run, request.run_id, self.serde),
            checkpoint_of(run.run_id, START),
            run.base_no,
            head=replace(request.head, source="fork", extra=extra),
            after=latest,
        )
        self.leave_behind(latest)
        return self.hold(row, copied)


def at_step(run: RunRow, step: int) -> RunRow:
    """A new run whose start is the so-manieth checkpoint of its thread."""
    return replace(run, head=encode_row(replace(head_of(run), step=step)))


def tried_again(run: RunRow, records: list[Record]) -> list[Record]:
    """The failures that the next attempt of a run tries again.

    When the last attempt ended with an exception it named them. When it was killed nobody knows whether the workflow had
    seen the failures at the journal's end; nothing was built on them, so they are tried again.
    """
    if run.status == "running" or (run.status == "stopped" and run.outcome is None):
        return list(takewhile(lambda record: record.kind == RAISED, reversed(records)))
    again = {Key(*key) for key in outcome_of(run).again}
    return [record for record in records if record.kind == RAISED and record.key in again] if again else []


def _up_to(records: list[Record], key: Key) -> list[Record]:
    """The records made before the first one of a call, without those of its own body."""
    index = next((index for index, record in enumerate(records) if record.key == key), None)
    if index is None:
        raise _unknown(key)
    body = body_path(key)
    return [record for record in records[:index] if not in_body(record.key, body)]


def _first(records: list[Record], keys: set[Key]) -> Key | None:
    """Which of some calls was recorded first."""
    return next((record.key for record in records if record.key in keys), None)


def _latest(records: list[Record], key: Key) -> Record:
    """The latest record of a call."""
    for record in reversed(records):
        if record.key == key:
            return record
    raise _unknown(key)


def _unknown(key: Key) -> ConfigError:
    return ConfigError(f"the run has no recorded call {key}; run.calls() lists what it has")
