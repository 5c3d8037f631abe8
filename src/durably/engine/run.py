"""One attempt of a run under way: what every call, question and stop goes through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from ..errors import (
    GraphBubbleUp,
    GraphInterrupt,
    GraphRecursionError,
    InvalidAnswerError,
    NonDeterminismError,
    OutsideRunError,
    Stop,
    TaskFailed,
    TransactionError,
)
from ..serde import Serializer
from ..types import Interrupt
from . import announce
from .call import Env, TaskFuture
from .cutoff import Cutoff
from .failures import FailedCall
from .function import FinalValue, Function
from .future import CANCELLED, FINISHED
from .identity import Key, call_id
from .journal import ANSWERED, PATCH, RAISED, Entry, Journal, Kept
from .loops import LoopHost
from .naps import Naps
from .queue import Limits
from .recorder import Mark, Recorder
from .schedule import Scheduler
from .schemas import as_wanted, schema_of

if TYPE_CHECKING:
    from ..checkpoint.base import BaseCheckpointer
    from ..store.base import BaseStore
    from ..types import Durability
    from .log import Log
    from .options import Options
    from .scope import Scope

__all__ = ["QUESTION", "Again", "Run", "run_class", "set_run_class"]

QUESTION: Final = "interrupt"
"""The name under which questions are recorded; no task may have it."""

PAUSE: Final = "pause:"
"""In front of the name of a pause, the name under which it is recorded; no Python name contains it."""


class Again(Exception):
    """Ends a pass through a program that is followed by another one in the same attempt."""


class Run:
    """One attempt of a run under way.

    Args:
        run_id: the run.
        options: what the invocation asked for.
        journal: the calls that earlier attempts have recorded.
        log: takes the records of this attempt; None where nothing is stored.
        serde: turns values into bytes and back.
        host: the event loop on which async bodies run, None for the library's own.
        memory: what nested workflows have saved in earlier runs, by their path.
    """

    def __init__(
        self,
        run_id: str,
        options: Options,
        *,
        journal: Journal,
        log: Log | None,
        serde: Serializer,
        host: LoopHost | None,
        memory: dict[str, Any] | None = None,
    ) -> None:
        self.run_id = run_id
        self.options = options
        self.durability: Durability = options.durability
        self.scheduler = Scheduler(host, Limits(options.max_concurrency, options.max_workers))
        self.lock = self.scheduler.lock
        self.recorder = Recorder(run_id, journal, log, serde, self.lock)
        self.questions: dict[Key, Interrupt[Any]] = {}
        self.failed: list[FailedCall] = []  # what raised, in this attempt or in one that is replayed
        self.paused: list[Key] = []  # where it did, in this attempt
        self.memory: dict[str, Any] = memory or {}
        self.stores: list[BaseStore] = []  # that remember what was written once, until the run is over
        self.flushes = log is not None and self.durability == "sync"  # whether a call ends when its record is on disk
        self.timed = False  # whether there is, or was, a body that has a deadline
        self.leaves = False  # whether it leaves memory where it would wait for long: nobody waits for its end here
        self.napping = False  # whether a call sleeps, or slept
        self._naps: Naps | None = None
        self._patches: dict[tuple[str, str], bool] = {}
        self._stopping: BaseException | None = None
        self._control = options.control
        self._log = log

    @property
    def thread_id(self) -> str | None:
        """The thread, None where nothing is stored."""
        return self.options.thread_id if self.recorder.stores else None

    @property
    def checkpointer(self) -> BaseCheckpointer | None:
        """Where the run is stored, if anywhere."""
        return self.recorder.checkpointer

    @property
    def keeps_stream(self) -> bool:
        """Whether what bodies write to the stream is stored."""
        return self.options.durable_stream and self.recorder.stores

    @property
    def checkpoint_id(self) -> str:
        """The address of the run's start."""
        return f"{self.run_id}-0"

    @property
    def is_last(self) -> bool:
        """Whether no other pass through the program follows in the same attempt."""
        return True

    @property
    def naps(self) -> Naps:
        """Its calls that are asleep."""
        with self.lock:
            if self._naps is None:
                self._naps = Naps(self.scheduler)
            return self._naps

    # Calls.

    def root(self, function: Function, value: Any, env: Env) -> TaskFuture[Any]:
        """The call of the workflow itself, begun."""
        call: TaskFuture[Any] = TaskFuture(self, function, (value,), {}, env, None, copy_context())
        self.scheduler.begin_root(call)
        return call

    def call(
        self, scope: Scope, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], env: Env | None = None
    ) -> TaskFuture[Any]:
        """Make a call: its recorded outcome, or a future that somebody will bring about."""
        self._check_alive(scope)
        parent = scope.body
        call: TaskFuture[Any] = TaskFuture(self, function, args, kwargs, env or parent.env, scope, copy_context())
        call.n = scope.count(function.name)
        if call.depth > self.options.recursion_limit:
            raise self._too_deep(call)
        try:
            entry = self.recorder.claim(call)
        except NonDeterminismError as error:  # a body that swallows the refusal of strict replay stops all the same
            self.stop(error)
            parent.stopped = True
            raise
        if function.is_workflow:
            namespace = (*parent.env.namespace, f"{function.name}:{call.id}")
            call.env = replace(call.env, namespace=namespace, nesting=parent.env.nesting | 1 << parent.depth)
        if scope.cutoff is None or not scope.cutoff.holds(call, entry):
            self._begin(scope, call, entry)
        return call

    def _begin(self, scope: Scope, call: TaskFuture[Any], entry: Entry | None) -> None:
        if entry is not None:
            self._replay(scope, call, entry)
            return
        parent = scope.body
        parent.made_new_calls = True
        if parent.unsaid:
            parent.say()
        if self.timed:
            parent.alive()
        self.scheduler.add(call, parent)

    def _too_deep(self, call: TaskFuture[Any]) -> GraphRecursionError:
        limit = self.options.recursion_limit
        return GraphRecursionError(
            f"{call.describe()} is nested {call.depth} calls deep. If that is meant, raise the limit: "
            f'config={{"recursion_limit": {2 * limit}}}'
        )

    def _replay(self, scope: Scope, call: TaskFuture[Any], entry: Entry) -> None:
        if scope.body.env.taps:
            announce.started(call)
        for record in self.recorder.memories(entry):
            self.memory[record.memory] = self.recorder.value(record)[1]
        if isinstance(entry, Kept) or entry.kind != RAISED:
            value = self.recorder.value(entry)
            if call.keeps_memory:
                value = self._unfolded(call, value)
            if call.pending:  # nobody has been given it yet
                call.preset(value)
            else:
                call.settle(FINISHED, value)
            return
        error = self.recorder.error_of(entry)
        call.because = entry.because
        self.failed.append(call)
        call.settle(FINISHED, None, error)
        if isinstance(error, TaskFailed):  # whatever the workflow did on another exception is not the recorded path
            self.stop(error)
            self._check_alive(scope)

    def returned(self, call: TaskFuture[Any], value: Any) -> tuple[Any, Any]:
        """What the caller of a call gets, and what is recorded of it: a nested workflow may save something beside."""
        if call.parent is None:
            return value, value
        value, save = (value.value, value.save) if isinstance(value, FinalValue) else (value, value)
        if not call.keeps_memory:
            return value, value
        return self._unfolded(call, (value, save)), (value, save)

    def _unfolded(self, call: TaskFuture[Any], recorded: tuple[Any, Any]) -> Any:
        value, self.memory[call.env.memory] = recorded
        return value

    def raised(self, call: TaskFuture[Any], error: BaseException) -> None:
        """A call has ended with an exception or a signal, which is recorded."""
        parent = call.parent
        if parent is None:
            return
        if isinstance(error, GraphInterrupt):
            self._hold(call, parent)
            self._hold_back(parent, error)
        elif isinstance(error, Stop):
            parent.stopped = True
        elif not isinstance(error, GraphBubbleUp):
            self.failed.append(call)

    def _hold_back(self, parent: TaskFuture[Any], signal: BaseException) -> None:
        """After a question, what waits for a slot does not start: to whoever asks for it, it has asked, too."""
        if self.scheduler.limited:
            for call in self.scheduler.unfinished(parent):
                if not call.function.is_passive:
                    call.withdraw(signal)

    def outrun(self, call: TaskFuture[Any], lost: bool) -> None:
        """Whether a call has lost a race: whatever it asks, the body that made it goes on, until it asks for that call."""
        with self.lock:
            call.outrun = lost
        if call.parent is not None and (call.holds or isinstance(call.failed, GraphInterrupt)):
            self._hold(call, call.parent)

    def _hold(self, call: TaskFuture[Any], parent: TaskFuture[Any]) -> None:
        """A call that asks holds up the body that made it, unless it was outrun."""
        with self.lock:
            parent.asked += (not call.outrun) - call.holds
            call.holds = not call.outrun

    # Questions.

    def ask(self, scope: Scope, value: Any, response_schema: Any) -> Any:
        """Put a question, or return its recorded answer."""
        self._check_alive(scope)
        caller = Key(scope.path, QUESTION, scope.count(QUESTION))
        key, entry, fingerprint = self.recorder.claim_question(caller, value)
        if entry is not None and entry.kind == ANSWERED:
            if scope.cutoff is not None:
                scope.cutoff.take(key)
            return self._answer(scope, entry, (fingerprint, value), response_schema)
        schema = schema_of(response_schema)
        if entry is None:
            scope.body.made_new_calls = True
        if entry is None or entry.fingerprint != fingerprint or self.recorder.schema(entry) != schema:
            self.recorder.question(key, fingerprint, value, schema)
        with self.lock:
            scope.body.asked += 1
        self.questions[key] = question = Interrupt(value, call_id(self.run_id, key), schema)
        raise GraphInterrupt((question,))

    def _answer(self, scope: Scope, entry: Entry, question: tuple[bytes, Any], wanted: Any) -> Any:
        """A recorded answer as the type that was asked for."""
        answer = self.recorder.value(entry)
        if wanted is None:
            return answer
        try:
            return as_wanted(answer, wanted)
        except Exception as error:  # from checks that a JSON schema cannot express: the question is put again
            self.recorder.question(entry.key, *question, schema_of(wanted))
            reason = InvalidAnswerError(
                f"the answer {answer!r} does not fit the response_schema of question {call_id(self.run_id, entry.key)}: "
                f"{error}. The question is open again; answer it again."
            )
            self.stop(reason)
            scope.body.stopped = True
            raise Stop(reason) from error

    # Facts that are recorded like calls.

    def mark(self, scope: Scope, name: str, *, keeps: bool = False) -> Mark:
        """Something that is decided once, here, and then recorded; ``keeps``: for another attempt of the body, too."""
        self._check_alive(scope)
        mark = self.recorder.mark(Key(scope.path, name, scope.count(name)), keeps=keeps)
        if mark.failed is not None:
            self.failed.append(mark)
        if not mark.decided:
            scope.body.made_new_calls = True
        elif scope.cutoff is not None:
            scope.cutoff.take(mark.key)
        return mark

    def pause(self, scope: Scope, name: str) -> None:
        """Stop here until the run is gone on with. That decides the mark: a crash on the way to the end does not."""
        mark = self.mark(scope, f"{PAUSE}{name}")
        if not mark.decided:
            self.paused.append(mark.key)
            with self.lock:
                scope.body.asked += 1
            raise GraphInterrupt

    def fail(self, mark: Mark, error: BaseException, before: Any = None) -> None:
        """Decide it by a failure, which is tried again when it ends the attempt; ``before``: what had come of it."""
        mark.fail(error, before)
        self.failed.append(mark)

    @contextmanager
    def cut_off(self, scope: Scope, mark: Mark) -> Iterator[Cutoff]:
        """In this block only those calls have an outcome that had one before ``mark`` was recorded."""
        outer = scope.cutoff
        scope.cutoff = cutoff = Cutoff(mark.before, outer)
        try:
            yield cutoff
        finally:
            scope.cutoff = outer
            self.release(scope, cutoff)

    def release(self, scope: Scope, cutoff: Cutoff) -> None:
        """Let the calls go on that were held in a block whose time has run out."""
        for call, entry in cutoff.release():
            if entry is None and call.cancelling:
                call.settle(CANCELLED)
            else:
                if entry is None:
                    call.release()
                self._begin(scope, call, entry)

    def is_patched(self, scope: Scope, name: str) -> bool:
        """Whether a body comes to a changed place of the program for the first time, or did when it was new."""
        self._check_alive(scope)
        path = scope.body.path
        if (known := self._patches.get((path, name))) is None:
            mark = self.recorder.mark(Key(path, f"{PATCH}{name}", 0))
            known = mark.decided or not self.recorder.is_behind(scope)
            known = self._patches.setdefault((path, name), known)
            if known and not mark.decided:
                mark.decide(True)
        return known

    # Stopping.

    @property
    def stopping(self) -> BaseException | None:
        """Why the attempt has to end, None as long as it may go on."""
        log = self._log
        return self._stopping or (None if log is None else log.error) or self._control.overdue

    def stop(self, reason: BaseException) -> None:
        """Have the attempt end at its next call."""
        if self._stopping is None:
            self._stopping = reason

    def _check_alive(self, scope: Scope) -> None:
        """Raise the signal that ends the attempt, if it has to end."""
        body = scope.body
        if body.connection is not None:
            raise TransactionError(
                f"the body of {body.describe()} is a transaction, and makes a call that would be recorded: make it in "
                "the workflow, before or after this task, and hand over what the task needs"
            )
        if (reason := self.stopping) is not None:
            body.stopped = True
            raise Stop(reason)
        if body.done():
            raise OutsideRunError(
                f"{body.describe()} has returned, and what it left behind makes another call: await the asyncio "
                "tasks and join the threads that a body starts before it returns"
            )


_class: type[Run] = Run


def run_class() -> type[Run]:
    """What goes through programs now."""
    return _class


def set_run_class(new: type[Run]) -> type[Run]:
    """Put another class in its place, for tests; returns the one that was there."""
    global _class
    before, _class = _class, new
    return before
