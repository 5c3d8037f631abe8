"""What happened in a run, told from its records, as it is drawn."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from .. import drawing
from ..checkpoint.base import RunRow
from ..checkpoint.records import ANSWERED, ASKED, FORGOTTEN, RAISED, RETURNED, Record, record_place, run_place
from ..checkpoint.transfer import unsealed_summary
from ..engine.identity import body_of, body_path
from ..engine.request import RESUMABLE
from ..engine.rows import head_of, outcome_of
from ..engine.summary import summary_of
from ..errors import DurablyError
from ..serde import describe_exception

if TYPE_CHECKING:
    from ..drawing import Call, RunFacts, Span, State
    from ..serde import Serializer

__all__ = ["Story"]

DEEPEST: Final = 50
"""Calls further down are drawn in the body that far down."""

LATEST: Final = 1e11
"""No clock shows such a time, in seconds since the epoch."""


class Story:
    """What the records of a run tell.

    Args:
        run: the run.
        records: all of its journal, oldest first.
        serde: reads the values.
    """

    def __init__(self, run: RunRow, records: list[Record], serde: Serializer) -> None:
        self._run = run = replace(run, created_at=_moment(run.created_at), updated_at=_moment(run.updated_at))
        self._serde = serde
        self._is_fork = head_of(run).source == "fork"
        self._records = defaultdict[str, list[Record]](list)  # of each call, by the path of its body
        self._calls = defaultdict[str, dict[str, None]](dict)  # made in each body, likewise
        for record in records:
            if not _is_note(record):
                path = body_path(record.key)
                self._records[path].append(_sane(record, run.created_at))
                self._place(path)
        self._end = max(run.created_at, run.updated_at, *(_ended(r) for found in self._records.values() for r in found))

    def tell(self, thread_id: str) -> RunFacts:
        """The story."""
        run, calls = self._run, self._body("")
        return drawing.RunFacts(
            workflow=run.workflow,
            thread_id=thread_id,
            run_id=run.run_id,
            status=run.status,
            attempts=run.attempt,
            began=min([run.created_at, *(call.began for call in calls)]),
            ended=self._end,
            words=self._words(run.input, run_place(run.run_id, "input")) if run.input else "",
            note=self._reason(outcome_of(run).error, run_place(run.run_id, "error")),
            calls=calls,
        )

    def _place(self, path: str) -> None:
        """Put a call into the body it was made in, and that, whether it has a record or not, into the one around it."""
        while path:
            body = _around(path)
            if path in self._calls[body]:
                return
            self._calls[body][path] = None
            path = body

    def _body(self, path: str) -> tuple[Call, ...]:
        calls = [self._call(path) for path in self._calls.get(path, ())]
        return tuple(sorted(calls, key=lambda call: call.began))

    def _call(self, path: str) -> Call:
        calls, records = self._body(path), self._records.get(path, [])
        spans = self._spans(records)
        first = min((call.began for call in calls), default=self._end)
        if not records or records[-1].kind == FORGOTTEN:
            last_seen = max((call.ended for call in calls), default=first)
            ended = self._end if self._run.status in RESUMABLE else last_seen
            spans.append(drawing.Span(spans[-1].ended if spans else first, ended, "unfinished"))
        if first < spans[0].began:  # an attempt that had no outcome made calls, too
            spans.insert(0, drawing.Span(first, spans[0].began, "unfinished"))
        waits = any(call.state == "waiting" for call in calls)
        known = [record for record in records if record.kind != FORGOTTEN]
        last = known[-1] if known else None
        return drawing.Call(
            name=_name_of(path) if last is None else last.name,
            state="waiting" if waits else spans[-1].state,
            spans=tuple(spans),
            is_question=last is not None and last.kind in (ASKED, ANSWERED),
            words=self._told(known) if known else "",
            note=self._failure(last) if last is not None and spans[-1].state == "failed" else "",
            attempts=1 if last is None else last.attempts,
            calls=calls,
        )

    def _spans(self, records: list[Record]) -> list[Span]:
        spans: list[Span] = []
        asked: float | None = None
        for record in records:
            if record.kind == ASKED:
                asked = record.started if asked is None else asked
            elif record.kind != FORGOTTEN:
                began = record.started if asked is None else asked
                spans.append(drawing.Span(began, max(began, _ended(record)), self._state(record)))
                asked = None
        if asked is not None:
            spans.append(drawing.Span(asked, self._end, "waiting"))
        return spans

    def _state(self, record: Record) -> State:
        if self._is_fork and record.started < self._run.created_at:
            return "kept"
        if record.kind == RAISED:
            return "failed"
        if record.kind == ANSWERED:
            return "answered"
        return "cached" if record.cached else "finished"

    # In a few words. What cannot be read has none.

    def _told(self, records: list[Record]) -> str:
        """A call's arguments, or a question and its answer."""
        last = {record.kind: record for record in records}
        talk = [self._value(last[kind]) for kind in (ASKED, ANSWERED) if kind in last]
        if talk:
            return " → ".join(talk)
        try:
            return unsealed_summary(records[-1], self._run.run_id, self._serde)
        except DurablyError:
            return ""

    def _value(self, record: Record) -> str:
        return self._words(record.data, record_place(self._run.run_id, record.key))

    def _words(self, data: bytes, place: bytes) -> str:
        try:
            return summary_of((self._serde.loads(data, place),))
        except DurablyError:
            return ""

    def _failure(self, record: Record) -> str:
        return self._reason(record.data, record_place(self._run.run_id, record.key))

    def _reason(self, data: bytes | None, place: bytes) -> str:
        """An exception's type and message."""
        try:
            return "" if data is None else describe_exception(self._serde.loads(data, place))
        except DurablyError:
            return ""


def _is_note(record: Record) -> bool:
    """Whether it is something the engine noted, such as a time that did not run out, and no call."""
    return record.kind == RETURNED and not (record.fingerprint or record.summary or record.seconds)


def _sane(record: Record, moment: float) -> Record:
    """A record with times that can be drawn, whatever a clock or a database says."""
    started = record.started if 0 < record.started < LATEST else moment
    seconds = record.seconds if 0 <= record.seconds < LATEST else 0.0
    return replace(record, started=started, seconds=seconds)


def _moment(seconds: float) -> float:
    return seconds if 0 <= seconds < LATEST else 0.0


def _ended(record: Record) -> float:
    return record.started + (record.seconds if record.kind != ANSWERED else 0.0)


def _around(path: str) -> str:
    """The body in which the body at ``path`` was called, empty for the workflow's own."""
    parts = path.split("/", DEEPEST)
    return body_of("/".join(parts[: min(len(parts) - 1, DEEPEST)]))


def _name_of(path: str) -> str:
    """The name of a call that has no record."""
    name = path.rpartition("/")[2].rpartition(".")[0]
    for code, character in (("%7E", "~"), ("%2F", "/"), ("%25", "%")):
        name = name.replace(code, character)
    return name
