"""One attempt of a run under way: what every call, question and stop goes through."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from ..errors import GraphInterrupt, GraphRecursionError, Stop, TaskFailed
from ..serde import Serializer
from ..types import Interrupt
from .call import Env, TaskFuture
from .function import Function
from .future import FINISHED
from .identity import Key, call_id
from .journal import ANSWERED, RAISED, Entry, Journal, Kept
from .loops import LoopHost
from .queue import Limits
from .recorder import Recorder
from .schedule import Scheduler

if TYPE_CHECKING:
    from ..checkpoint.base import BaseCheckpointer
    from ..types import Durability
    from .commit import Log
    from .options import Options
    from .scope import Scope

__all__ = ["QUESTION", "Leash", "Run"]

QUESTION: Final = "interrupt"
"""The name under which questions are recorded; no task may have it."""


class Run:
    """One attempt of a run under way.

    Args:
        run_id: the run.
        options: what the invocation asked for.
        journal: the calls that earlier attempts have recorded.
        log: takes the records of this attempt; None where nothing is stored.
        serde: turns values into bytes and back.
        host: the event loop on which async bodies run, None for the library's own.
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
    ) -> None:
        self.run_id = run_id
        self.options = options
        self.durability: Durability = options.durability
        self.scheduler = Scheduler(host, Limits(options.max_concurrency, options.max_workers))
        self.lock = self.scheduler.lock
        self.recorder = Recorder(run_id, journal, log, serde, self.lock)
        self.questions: dict[Key, Interrupt[Any]] = {}
        self.failed: list[TaskFuture[Any]] = []  # calls that raised, in this attempt or in one that is replayed
        self._stopping: BaseException | None = None

    @property
    def thread_id(self) -> str | None:
        """The thread, None where nothing is stored."""
        return self.options.thread_id if self.recorder.stores else None

    @property
    def checkpointer(self) -> BaseCheckpointer | None:
        """Where the run is stored, if anywhere."""
        return self.recorder.checkpointer

    @property
    def checkpoint_id(self) -> str:
        """The address of the run's start."""
        return f"{self.run_id}-0"

    # Calls.

    def root(self, function: Function, value: Any, env: Env) -> TaskFuture[Any]:
        """The call of the workflow itself, begun."""
        call = TaskFuture[Any](self, function, Key("", function.name, 0), ((value,), {}), env, None, copy_context())
        self.scheduler.begin_root(call)
        return call

    def call(
        self, scope: Scope, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], env: Env | None = None
    ) -> TaskFuture[Any]:
        """Make a call: its recorded outcome, or a future that somebody will bring about."""
        self.check_stopped()
        parent = scope.body
        key = Key(scope.path, function.name, scope.count(function.name))
        call = TaskFuture[Any](self, function, key, (args, kwargs), env or parent.env, parent, copy_context())
        if call.depth > self.options.recursion_limit:
            raise self._too_deep(call)
        entry = self.recorder.claim(call)
        if entry is not None:
            self._replay(call, entry)
            return call
        parent.made_new_calls = True
        parent.alive()
        self.scheduler.add(call, parent)
        return call

    def _too_deep(self, call: TaskFuture[Any]) -> GraphRecursionError:
        limit = self.options.recursion_limit
        return GraphRecursionError(
            f"{call.describe()} is nested {call.depth} calls deep. If that is meant, raise the limit: "
            f'config={{"recursion_limit": {2 * limit}}}'
        )

    def _replay(self, call: TaskFuture[Any], entry: Entry) -> None:
        if isinstance(entry, Kept) or entry.kind != RAISED:
            call.settle(FINISHED, self.recorder.value(entry))
            return
        error = self.recorder.error_of(entry)
        self.failed.append(call)
        call.settle(FINISHED, None, error)
        if isinstance(error, TaskFailed):  # whatever the workflow did on another exception is not the recorded path
            self.stop(error)
            self.check_stopped()

    def ended(self, call: TaskFuture[Any], error: BaseException | None) -> None:
        """A call has ended, and its outcome is recorded."""
        parent = call.parent
        if error is not None:
            if isinstance(error, GraphInterrupt):
                if parent is not None:
                    parent.asked = True
            elif parent is not None and isinstance(error, Exception):
                self.failed.append(call)
        if parent is not None:
            self.scheduler.finished(call, parent)

    # Questions.

    def ask(self, scope: Scope, value: Any, response_schema: Any) -> Any:
        """Put a question, or return its recorded answer."""
        self.check_stopped()
        key = Key(scope.path, QUESTION, scope.count(QUESTION))
        entry, fingerprint = self.recorder.claim_answer(key, value)
        if entry is not None and entry.kind == ANSWERED:
            return self.recorder.value(entry)
        if entry is None:
            scope.body.made_new_calls = True
            self.recorder.question(key, fingerprint, value)
        else:
            key = entry.key
        scope.body.asked = True
        self.questions[key] = question = Interrupt(value, call_id(self.run_id, key), response_schema)
        raise GraphInterrupt((question,))

    # Stopping.

    @property
    def stopping(self) -> BaseException | None:
        """Why the attempt has to end, None as long as it may go on."""
        return self._stopping or self.recorder.error

    def stop(self, reason: BaseException) -> None:
        """Have the attempt end at its next call."""
        if self._stopping is None:
            self._stopping = reason

    def check_stopped(self) -> None:
        """Raise the signal that ends the attempt, if it has to end."""
        if self.stopping is not None:
            raise Stop(self.stopping)


class Leash:
    """Stops an attempt from outside: from another thread, or before it has begun."""

    __slots__ = ("_reason", "_root")

    def __init__(self) -> None:
        self._root: TaskFuture[Any] | None = None
        self._reason: BaseException | None = None

    def attach(self, root: TaskFuture[Any]) -> None:
        """The attempt begins."""
        self._root = root
        if self._reason is not None:
            root.run.stop(self._reason)

    def stop(self, reason: BaseException) -> None:
        """Have the attempt end: at its next call, and what is async at once."""
        self._reason = reason
        root = self._root
        if root is not None:
            root.run.stop(reason)
            for call in root.run.scheduler.unfinished(root):
                call.cancel()
