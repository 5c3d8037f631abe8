"""The events of a run, told from its journal. Pure: no clock, no database.

An event is where the record is that it is told from: its sequence number is the record's place in the journal times `SLOTS`,
plus a slot for its kind. So the same event has the same number whoever tells it, whenever. How an attempt ended stands in no
record: that is told at the place of its last record, when the run is seen to have ended or its next attempt to have begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Final, cast

import msgspec

from ..checkpoint.base import RunRow
from ..errors import ConfigError
from ..parts import StreamEvent, StreamMode
from ..serde import Serializer, rebuild_exception
from ..types import Interrupt
from .ending import question_of
from .identity import Key, call_id, depth_of, namespace_of, record_place
from .journal import ANSWERED, ASKED, BEGAN, FORGOTTEN, RAISED, RETURNED, SAID, STREAM, WHOLE, Record
from .rows import raised_by, returned_by
from .stream import WRITTEN

__all__ = ["Told", "Wanted", "event_id", "parse_event_id"]

SLOTS: Final = 8
UPDATE, TASK, VALUE, END_UPDATE, END_TASK, END_VALUE, ATTEMPT = range(7)


class Wanted(msgspec.Struct, frozen=True):
    """Which events of a run to tell.

    Args:
        modes: of which stream modes; that a further attempt begins is always told.
        nested: whether those of nested workflows, too.
        after: those with a higher sequence number.
    """

    modes: frozenset[str]
    nested: bool
    after: int


class Told:
    """Tells the events of one run, record by record.

    Args:
        run_id: the run.
        workflow: its name.
        serde: turns bytes into values.
        wanted: which events to tell.
    """

    def __init__(self, run_id: str, workflow: str, serde: Serializer, wanted: Wanted) -> None:
        self._run_id = run_id
        self._workflow = workflow
        self._serde = serde
        self._wanted = wanted
        self._place = 0  # of the present record, from 1
        self._last = 0  # of the attempt's last record: an answer is of none
        self._attempt = 1
        self._asked: dict[Key, Record] = {}  # the questions of the present attempt
        self._answered = set[Key]()  # those among them that have an answer by now
        self._says_values = False
        self._met: set[bytes] = set()  # what was told in pieces, or as a whole
        self._namespaces: dict[tuple[str, int], tuple[str, ...]] = {}

    def record(self, record: Record) -> Iterator[StreamEvent]:
        """The events that a record stands for."""
        self._place += 1
        if record.kind == BEGAN:
            yield from self._began(record)
        elif record.kind == ASKED:
            self._asked[record.key] = record
            self._answered.discard(record.key)
        elif record.kind == ANSWERED:
            self._answered.add(record.key)
        elif record.kind == SAID:
            yield from self._said(record)
        elif record.kind in (RETURNED, RAISED) and record.nesting >= 0:
            yield from self._ended(record)
        if record.kind not in (ANSWERED, FORGOTTEN):
            self._last = self._place

    def end(self, run: RunRow) -> Iterator[StreamEvent]:
        """The events at the end of the run's last attempt."""
        if run.status == "done":
            yield from self._done(run)
        elif self.has_asked(run.status):
            yield from self._questions()
        elif (error := raised_by(run, self._serde)) is not None:
            yield from self._task_end(self._last, END_TASK, self._root(), error=error)

    def has_asked(self, status: str) -> bool:
        """Whether an attempt after which the run stands so has ended with questions."""
        return status in ("asked", "abandoned") and bool(self._asked)

    # Kinds of records.

    def _began(self, record: Record) -> Iterator[StreamEvent]:
        if self.has_asked(record.name):
            yield from self._questions()
        self._asked = {key: question for key, question in self._asked.items() if key not in self._answered}
        self._answered.clear()
        self._attempt = record.n
        if record.n == 1:  # the first one of a run that had to wait for its turn
            return
        yield from self._event(self._place, ATTEMPT, "attempt", (), lambda: {"attempt": record.n, "after": record.name})

    def _said(self, record: Record) -> Iterator[StreamEvent]:
        if self._was_told(record.fingerprint):
            return
        mode = record.name.removeprefix(STREAM)
        ns = self._namespace(record.scope, record.nesting)
        if mode == "values" and not ns:
            self._says_values = True
        yield from self._event(self._place, UPDATE, mode, ns, lambda: self._value(record))

    def _was_told(self, about: bytes) -> bool:
        """Whether a chunk is the whole of what has been told. An attempt does not know what those before it have said."""
        id = about.removeprefix(WHOLE)
        if id != about and id in self._met:
            return True
        if id:
            self._met.add(id)
        return False

    def _ended(self, record: Record) -> Iterator[StreamEvent]:
        scope, name = record.scope, record.name
        is_workflow = bool(record.nesting >> depth_of(scope) & 1)
        ns = self._namespace(scope, record.nesting)
        identity = {"id": call_id(self._run_id, record.key), "name": name}
        if record.kind == RAISED:
            if "tasks" not in self._wanted.modes:
                return
            error = rebuild_exception(self._serde.loads(record.data, self._at(record)), name)
            yield from self._task_end(self._place, TASK, identity, ns, error=error)
            return
        extra = {"__metadata__": {"cached": True}} if record.cached else {}
        yield from self._event(self._place, UPDATE, "updates", ns, lambda: {name: self._value(record), **extra})
        key = "__end__" if is_workflow else "__return__"
        if "tasks" in self._wanted.modes:
            yield from self._task_end(self._place, TASK, identity, ns, result={key: self._value(record)})
        if is_workflow:
            inside = (*ns, f"{name}:{identity['id']}")
            yield from self._event(self._place, VALUE, "values", inside, lambda: self._value(record))

    # Ends of attempts.

    def _done(self, run: RunRow) -> Iterator[StreamEvent]:
        value = returned_by(run, self._serde)
        if not self._says_values:
            yield from self._event(self._last, END_UPDATE, "updates", (), lambda: {self._workflow: value})
        yield from self._task_end(self._last, END_TASK, self._root(), result={"__end__": value})
        if not self._says_values:
            yield from self._event(self._last, END_VALUE, "values", (), lambda: value)

    def _questions(self) -> Iterator[StreamEvent]:
        questions = tuple(question_of(record, self._run_id, self._serde) for record in self._asked.values())
        asked = {"__interrupt__": questions}
        yield from self._event(self._last, END_UPDATE, "updates", (), lambda: asked)
        yield from self._task_end(self._last, END_TASK, self._root(), interrupts=questions)
        yield from self._event(self._last, END_VALUE, "values", (), lambda: asked)

    def _root(self) -> dict[str, Any]:
        return {"id": call_id(self._run_id, Key("", self._workflow, 0)), "name": self._workflow}

    # Making events.

    def _task_end(
        self,
        place: int,
        slot: int,
        identity: dict[str, Any],
        ns: tuple[str, ...] = (),
        *,
        error: BaseException | None = None,
        result: dict[str, Any] | None = None,
        interrupts: tuple[Interrupt[Any], ...] = (),
    ) -> Iterator[StreamEvent]:
        end = {"error": error, "result": result or {}, "interrupts": [asdict(question) for question in interrupts]}
        yield from self._event(place, slot, "tasks", ns, lambda: {**identity, **end})

    def _event(
        self, place: int, slot: int, mode: str, ns: tuple[str, ...], data: Callable[[], Any]
    ) -> Iterator[StreamEvent]:
        """An event, if it is wanted; only then its data is made."""
        sequence, wanted = place * SLOTS + slot, self._wanted
        if sequence <= wanted.after or (mode not in wanted.modes and slot != ATTEMPT):
            return
        if ns and not wanted.nested and mode not in WRITTEN:
            return
        name = event_id(self._run_id, sequence)
        yield StreamEvent(name, cast("StreamMode", mode), ns, data(), self._run_id, self._attempt, sequence)

    def _value(self, record: Record) -> Any:
        value = self._serde.loads(record.data, self._at(record))
        return value[0] if record.paired else value

    def _at(self, record: Record) -> bytes:
        return record_place(self._run_id, record.key)

    def _namespace(self, scope: str, nesting: int) -> tuple[str, ...]:
        if nesting <= 0:
            return ()
        known = self._namespaces.get((scope, nesting))
        if known is None:
            known = self._namespaces[scope, nesting] = namespace_of(self._run_id, scope, nesting)
        return known


def event_id(run_id: str, sequence: int) -> str:
    """The name of an event; names of one run sort as the numbers do."""
    return f"{run_id}-{sequence:015d}"


def parse_event_id(name: Any) -> tuple[str, int]:
    """The run and the sequence number that an event's name stands for.

    Raises:
        ConfigError: that is no event's name.
    """
    if isinstance(name, str):
        run_id, _, sequence = name.rpartition("-")
        if run_id and sequence.isascii() and sequence.isdecimal():
            return run_id, int(sequence)
    raise ConfigError(f"after={name!r} is no event's id: take one from an event of join_stream()")
