"""The written memory of one attempt: what earlier attempts recorded, and what this one adds."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..checkpoint.transfer import encoded_summary, sealed_summary, unsealed_summary
from ..errors import EncodeError
from ..serde import Serializer, TypedSerializer, encode_exception, rebuild_exception
from .failures import culprits_within
from .identity import Key, body_path, record_place
from .journal import ANSWERED, ASKED, RAISED, RETURNED, SAID, STREAM, WHOLE, Entry, Journal, Kept, Record, in_body
from .steps import Steps
from .summary import summary_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import Lock

    from ..checkpoint.base import BaseCheckpointer
    from .call import TaskFuture
    from .log import Log
    from .scope import Scope

__all__ = ["Mark", "Recorder"]

NOT_FAILURES: Final = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""The process is ending, not the task failing: nothing is recorded, and the task runs again."""


class Recorder:
    """Finds the record of a call, and makes it.

    Args:
        run_id: the run.
        journal: the calls that earlier attempts have recorded.
        log: takes the records of this attempt; None where nothing is stored.
        serde: turns values into bytes and back.
        lock: guards the journal.
    """

    __slots__ = ("_binds", "_journal", "_kept", "_lock", "_log", "_met", "run_id", "serde")

    def __init__(self, run_id: str, journal: Journal, log: Log | None, serde: Serializer, lock: Lock) -> None:
        self.run_id = run_id
        self.serde = serde
        self._binds = type(serde) is not TypedSerializer  # whether bytes depend on the place they are kept at
        self._journal = journal
        self._log = log
        self._lock = lock
        self._met: set[str] = set()  # what has been recorded of the stream, in pieces or as a whole
        self._kept: list[Entry] = []  # what another attempt of a body may claim again

    @property
    def stores(self) -> bool:
        """Whether anything is stored."""
        return self._log is not None

    @property
    def log(self) -> Log | None:
        """Where records go, None where nothing is stored."""
        return self._log

    @property
    def replays(self) -> bool:
        """Whether there are calls of earlier attempts that this one has not come to yet."""
        return self._journal.has_more

    @property
    def checkpointer(self) -> BaseCheckpointer | None:
        """Where the run is stored, if anywhere."""
        return None if self._log is None else self._log.checkpointer

    def place(self, key: Key) -> bytes:
        """Where the value of a call is stored, for an encrypting serializer to bind it to."""
        return record_place(self.run_id, key) if self._binds else b""

    # Finding.

    def claim(self, call: TaskFuture[Any]) -> Entry | None:
        """The record that belongs to a call, None where it has to run."""
        if not call.env.journaled:
            return None
        recognized: Sequence[Any] = ()
        if self._log is not None:
            identity = call.function.identity
            arguments = call.function.parameters.bound(call.args, call.kwargs)  # which fit, or are refused
            recognized = arguments if identity is None else identity(*call.args, **call.kwargs)
            call.fingerprint = self.serde.fingerprint(recognized)
        entry = self._find(call, recognized) if self._journal.concerns_calls else None
        if entry is None and self._log is not None:
            call.summary = summary_of(recognized)
        return entry

    def _find(self, call: TaskFuture[Any], recognized: Sequence[Any]) -> Entry | None:
        lock, journal, parent = self._lock, self._journal, call.parent
        key, fingerprint = call.key, call.fingerprint
        lock.acquire()
        try:
            entry = journal.claim_own(key, fingerprint)
            if entry is None:
                call.key, entry = journal.claim(key, fingerprint, partial(self._what_changed, recognized))
            if entry is not None and parent is not None and parent.keeps:
                self._kept.append(entry)
            return entry
        finally:
            lock.release()

    def _claim(self, caller: Key, fingerprint: bytes) -> tuple[Key, Entry | None]:
        if not self._journal.concerns_calls:
            return caller, None
        with self._lock:
            key, entry = self._journal.claim(caller, fingerprint)
            if entry is not None:
                self._kept.append(entry)
            return key, entry

    def claim_question(self, caller: Key, value: Any) -> tuple[Key, Entry | None, bytes]:
        """Under which key a question is recorded, its record if there is one, and its fingerprint."""
        fingerprint = b"" if self._log is None else self.serde.fingerprint((value,))
        return *self._claim(caller, fingerprint), fingerprint

    def mark(self, key: Key, *, keeps: bool = False) -> Mark:
        """A fact, decided or not. It belongs to its place in the program, so nothing else takes its record.

        Args:
            key: what identifies it.
            keeps: whether another attempt of the body around it reuses what was decided.
        """
        with self._lock:
            before = self._journal.before(key) if self._journal.has(key) else set()
        entry = self._claim(key, b"")[1] if self._journal.has(key) else None
        if entry is None:
            return Mark(self, key, keeps=keeps)
        if isinstance(entry, Record) and entry.kind == RAISED:
            return Mark(self, key, decided=True, failed=self.error_of(entry), before=before, entry=entry)
        return Mark(self, key, decided=True, entry=entry)

    def memories(self, entry: Entry) -> Sequence[Record]:
        """What nested workflows saved inside a recorded call, which is not made again, oldest first."""
        if not self._journal.memories:
            return ()
        path = body_path(entry.key)
        with self._lock:
            return [record for record in self._journal.memories if in_body(record.key, path)]

    def is_behind(self, scope: Scope) -> bool:
        """Whether the recorded run had passed this place of its program."""
        with self._lock:
            return any(scope.is_ahead(entry.key.scope) for entry in self._journal.leftovers(scope.body.path))

    def unclaimed(self, scope: str) -> list[Key]:
        """The calls recorded in a scope that it has not made yet in this attempt."""
        with self._lock:
            return self._journal.unclaimed(scope)

    def _what_changed(self, recognized: Sequence[Any], entry: Entry) -> str:
        was = "" if isinstance(entry, Kept) else unsealed_summary(entry, self.run_id, self.serde)
        return f"they were {was or 'not noted'}, and are now {summary_of(recognized)}"

    def value(self, entry: Entry) -> Any:
        """The recorded result or answer."""
        if isinstance(entry, Kept):
            return entry.value
        return self.serde.loads(entry.data, self.place(entry.key)) if self._binds else self.serde.loads(entry.data)

    def error_of(self, entry: Record) -> BaseException:
        """The recorded exception, or a `TaskFailed` that stands for it."""
        return rebuild_exception(self.value(entry), entry.name)

    def report_leftovers(self, call: TaskFuture[Any]) -> None:
        """Warn of recorded calls that a body did not make this time, while it made new ones."""
        if self._journal.concerns_calls:
            self._journal.report_leftovers(call.path)

    # Recording.

    def result(self, call: TaskFuture[Any], value: Any) -> bool:
        """Record what a call returned; whether there is something to write.

        Raises:
            EncodeError: the value cannot be stored.
        """
        if call.parent is None or call.recorded or not call.env.journaled:
            return False
        if self._log is None:
            if call.parent.keeps:
                self._keep(Kept(call.key, value))
            return False
        record = self.record_of(call, value)
        if call.parent.keeps:
            self._keep(record)
        self._log.append(record)
        return True

    def record_of(self, call: TaskFuture[Any], value: Any) -> Record:
        """What is to be recorded of a call that returned.

        Raises:
            EncodeError: the value cannot be stored.
        """
        try:
            data = self.serde.dumps(value, self.place(call.key) if self._binds else b"")
        except EncodeError as error:
            raise EncodeError(
                f"the result of task {call.function.name!r} cannot be stored: {error}", error.path
            ) from None
        return self._record(call, RETURNED, data)

    def failure(self, call: TaskFuture[Any], error: BaseException) -> bool:
        """Record what a call raised; whether there is something to write."""
        if self._log is None or call.parent is None or not call.env.journaled or isinstance(error, NOT_FAILURES):
            return False
        if call.recorded:
            return False
        data = self.serde.dumps(encode_exception(error), self.place(call.key))
        because = culprits_within(call.key, error, call.run.failed)
        self._append(self._log, call, self._record(call, RAISED, data, because))
        return True

    def schema(self, entry: Entry) -> Any:
        """What is recorded besides the value, such as the JSON schema of a question; None where nothing is."""
        recorded = b"" if isinstance(entry, Kept) else entry.schema
        return self.serde.loads(recorded, self.place(entry.key)) if recorded else None

    def question(self, key: Key, fingerprint: bytes, value: Any, schema: Any) -> None:
        """Record that a question was put.

        Raises:
            EncodeError: it cannot be stored.
        """
        if self._log is not None:
            data = self._encoded(value, key, "the value given to interrupt()")
            encoded = b"" if schema is None else self._encoded(schema, key, "the response_schema given to interrupt()")
            self._log.append(Record(ASKED, *key, fingerprint, data, time.time(), schema=encoded))

    def _encoded(self, value: Any, key: Key, what: str) -> bytes:
        try:
            return self.serde.dumps(value, self.place(key))
        except EncodeError as error:
            raise EncodeError(f"{what} cannot be stored: {error}", error.path) from None

    def _record(self, call: TaskFuture[Any], kind: int, data: bytes, because: tuple[Key, ...] = ()) -> Record:
        scope, name, n = call.key
        remembers = kind == RETURNED and call.keeps_memory
        return Record(
            kind,
            scope,
            name,
            n,
            call.fingerprint,
            data,
            call.first_time,
            time.time() - call.first_time,
            call.attempt,
            call.cached,
            b"",
            sealed_summary(call.summary, self.run_id, call.key, self.serde)
            if self._binds
            else encoded_summary(call.summary),
            -1 if call.function.is_passive else call.env.nesting,
            remembers,
            call.env.memory if remembers else "",
            because,
        )

    def _append(self, log: Log, call: TaskFuture[Any], record: Record) -> None:
        self.keep_for_retries(call, record)
        log.append(record)

    def keep_for_retries(self, call: TaskFuture[Any], record: Record) -> None:
        """Another attempt of the body that made the call may claim its record again."""
        if call.parent is not None and call.parent.keeps:
            self._keep(record)

    def _keep(self, entry: Entry) -> None:
        with self._lock:
            self._kept.append(entry)

    def fact(self, key: Key, value: Any, *, keeps: bool = False) -> None:
        """Record something that was decided once."""
        if keeps:
            self._keep(Kept(key, value))
        if self._log is not None:
            data = self._encoded(value, key, f"the outcome of {key.name}()")
            self._log.append(Record(RETURNED, *key, b"", data, time.time()))

    def fault(self, key: Key, error: BaseException, before: Any = None) -> None:
        """Likewise, where it was decided by a failure; ``before``: what had come of it."""
        if self._log is not None:
            besides = b"" if before is None else self._encoded(before, key, f"the outcome of {key.name}()")
            data = self.serde.dumps(encode_exception(error), self.place(key))
            self._log.append(Record(RAISED, *key, b"", data, time.time(), schema=besides))

    def said(self, call: TaskFuture[Any], mode: str, chunk: Any, piece_of: str = "", whole: str = "") -> None:
        """Record what a body wrote to its stream, for those who follow the run.

        Args:
            call: the body's.
            mode: the stream mode.
            chunk: what it wrote.
            piece_of: the chunk is a piece of the thing with this id.
            whole: the chunk is that thing as a whole: nothing to record where pieces of it are recorded.

        Raises:
            EncodeError: it cannot be stored.
        """
        if self._log is not None and call.env.journaled and self.meets(piece_of, whole):
            key = Key(call.path, f"{STREAM}{mode}", call.attempt)
            data = self._encoded(chunk, key, f"what {call.describe()} wrote to the stream")
            about = WHOLE * bool(whole) + (whole or piece_of).encode("utf-8", "surrogatepass")
            self._log.append(Record(SAID, *key, about, data, time.time(), nesting=call.env.nesting))

    def meets(self, piece_of: str, whole: str = "") -> bool:
        """Whether a piece of something, or the whole of it, is still to be recorded; from now on it was met."""
        if not (piece_of or whole):
            return True
        with self._lock:
            if whole in self._met:
                return False
            self._met.add(whole or piece_of)
            return True

    def flush(self) -> Steps[None]:
        """Go on when everything recorded is on disk."""
        if self._log is not None:
            yield from self._log.flush()

    def rewind(self, path: str) -> None:
        """Before another attempt of the body at ``path``: the calls that have finished in it can be claimed again."""
        with self._lock:
            mine = [entry for entry in self._kept if in_body(entry.key, path)]
            self._kept = [entry for entry in self._kept if not in_body(entry.key, path)]
            self._journal.restart(path)
            for entry in mine:
                if entry.kind in (RETURNED, ANSWERED):
                    self._journal.add(entry)


class Mark:
    """Something that is decided once and recorded; made by `durably.engine.run.Run.mark`.

    Args:
        recorder: records it.
        key: what identifies it within the run.
        decided: whether it was decided in an earlier attempt.
        failed: the failure by which it was.
        before: the calls recorded before that failure.
        entry: what was recorded.
        keeps: whether another attempt of the body around it reuses what is decided.
    """

    __slots__ = ("_entry", "_recorder", "before", "decided", "failed", "keeps", "key", "seen")
    because: tuple[Key, ...] = ()  # there is no body

    def __init__(
        self,
        recorder: Recorder,
        key: Key,
        *,
        decided: bool = False,
        failed: BaseException | None = None,
        before: set[Key] | None = None,
        entry: Entry | None = None,
        keeps: bool = False,
    ) -> None:
        self._recorder = recorder
        self._entry = entry
        self.keeps = keeps
        self.key = key
        self.decided = decided
        self.failed = failed
        self.before = before or set()
        self.seen = True  # whoever it concerns is told at once

    def describe(self) -> str:
        """Names it in errors."""
        return f"{self.key.name}()"

    def value(self) -> Any:
        """How it was decided in an earlier attempt; if by a failure, what had come of it before."""
        assert self._entry is not None
        return self._recorder.value(self._entry) if self.failed is None else self._recorder.schema(self._entry)

    def decide(self, value: Any) -> None:
        """Decide it."""
        self.decided = True
        self._recorder.fact(self.key, value, keeps=self.keeps)

    def fail(self, error: BaseException, before: Any = None) -> None:
        """Decide it by a failure; ``before``: what had come of it."""
        self._recorder.fault(self.key, error, before)
        self.decided, self.failed = True, error
