"""One call of a task or workflow: the future its caller holds, and the body it runs in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from ..context import current
from ..types import MISSING
from .around import run_instrumented
from .deadline import Deadline
from .env import Env
from .future import CANCELLED, DONE, FINISHED, PENDING, SharedFuture
from .given import given, runtime_of
from .identity import Key, body_path, call_id
from .loops import in_context
from .perform import perform_here, perform_on_loop
from .scope import Scope

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..runtime import Runtime
    from ..types import CachePolicy, RetryPolicy, StreamWriter
    from .function import Function
    from .run import Run

__all__ = ["Env", "TaskFuture"]

R = TypeVar("R")

INLINE_DEPTH = 30
"""How many bodies may run inside one another on one thread's stack before the next one gets a thread of its own."""


class TaskFuture(SharedFuture[R]):
    """What calling a task returns: a `concurrent.futures.Future` that can be awaited, too.

    The work runs where it is asked for: ``result()`` of a sync task that nobody has begun runs it on the calling thread,
    and awaiting an async one runs it inside the awaiting `asyncio.Task`. Left alone it is begun by others within a few
    milliseconds.
    """

    __slots__ = (
        "_key",
        "args",
        "asyncio_task",
        "attempt",
        "awaited",
        "children",
        "config",
        "context",
        "depth",
        "env",
        "fingerprint",
        "first_time",
        "function",
        "inline",
        "keeps",
        "kwargs",
        "n",
        "parent",
        "run",
        "scope",
        "seen",
        "summary",
    )

    # What few calls ever need is found here until it is set: so it costs the others neither time nor memory.
    asked: int = 0  # how many questions put in this body, and calls that asked, hold it up: it stops, whatever it does
    holds: bool = False  # whether it is such a call of the body that made it
    outrun: bool = False  # it lost a race, so that it holds nobody up with a question
    stopped: bool = False  # likewise for the signal that the attempt has to end
    cached: bool = False
    because: tuple[Key, ...] = ()  # of a failure that is replayed: what in its body made it fail
    recorded: bool = False  # together with its own rows; nothing is left to record
    connection: Any = None  # lent to the body of a transactional task
    cancelling: bool = False
    made_new_calls: bool = False
    counted: bool = False  # whether it counts against the run's limits just now
    says_values: bool = False  # the body writes chunks of the mode values itself, the last one included
    said: Any = MISSING  # the last of them
    unsaid: bool = False  # it is held back: the body is still at what an earlier attempt did
    writers: Mapping[str, StreamWriter] = MappingProxyType({})  # that the body has asked for, by their modes
    beat: Callable[[], None] | None = None  # tells the idle timeout that the body is alive

    def __init__(
        self,
        run: Run,
        function: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        env: Env,
        scope: Scope | None,
        context: Context,
    ) -> None:
        self._lock = run.lock
        self._state = PENDING
        self._value = self._error = self._cond = self._callbacks = None
        self._key: Key | None = None
        self.run = run
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.env = env
        self.config = env.config  # what instruments make of it, for the length of an attempt
        self.scope = scope  # in which it was called; None for the run's own workflow
        self.context = context
        self.n = 0
        # The calls made in this body that have not ended; guarded by the run's lock.
        self.children: set[TaskFuture[Any]] | None = None
        self.attempt = 0
        self.first_time = 0.0
        self.seen = False  # whether somebody was handed the outcome
        self.awaited = False  # the body that made it waits for its end, without a limit
        self.asyncio_task: asyncio.Task[Any] | None = None  # what drives the body on a loop
        self.inline = 0  # how many bodies run inside one another on this thread's stack
        # Whether the calls made in this body are kept in memory: another attempt of it, or of one around it, reuses them.
        self.keeps = bool(function.policies.retry)
        self.fingerprint = b""
        self.summary = ""  # the arguments in a few words
        self.parent: TaskFuture[Any] | None
        if scope is None:
            self.parent = None
            self.depth: int = 0
        else:
            self.parent = parent = scope.body
            self.depth = parent.depth + 1
            if parent.keeps or (env.policies.retry and not function.is_workflow):
                self.keeps = True

    @property
    def key(self) -> Key:
        """What identifies it within the run."""
        key = self._key
        if key is None:
            path = "" if self.scope is None else self.scope.path
            key = self._key = tuple.__new__(Key, (path, self.function.name, self.n))  # twice as fast as Key()
        return key

    @key.setter
    def key(self, key: Key) -> None:
        self._key = key

    @property
    def retry_policies(self) -> tuple[RetryPolicy, ...]:
        """What to do when it fails: its own, or what the workflow says of its tasks."""
        function = self.function
        return function.policies.retry or (() if function.is_workflow else self.env.policies.retry)

    @property
    def cache_policy(self) -> CachePolicy | None:
        """Likewise, whether its result is shared across runs."""
        function = self.function
        if function.transactional:
            return None
        return function.policies.cache or (None if function.is_workflow else self.env.policies.cache)

    def describe(self) -> str:
        """Names the call in errors."""
        return f"{'workflow' if self.function.is_workflow else 'task'} {self.function.name!r}"

    @property
    def path(self) -> str:
        """The scope of the body: empty for the run's own workflow."""
        return "" if self.parent is None else body_path(self.key)

    @property
    def keeps_memory(self) -> bool:
        """Whether it is a nested workflow that sees what it saved in the thread's earlier runs."""
        return self.function.is_workflow and bool(self.env.memory) and self.parent is not None

    @property
    def id(self) -> str:
        """The idempotency key: the same on every attempt of the run."""
        return call_id(self.run.run_id, self.key)

    # Waiting for it.

    def delivered(self) -> None:
        """Remember that the workflow knows how this ended."""
        self.seen = True
        if self.outrun:
            self.run.outrun(self, False)

    def await_end(self) -> None:
        """The body that made it waits for that."""
        self.awaited = True
        if self.run.napping:
            self.run.naps.stir()

    def help_here(self) -> None:
        """Run the body on this thread, if it is a sync one that nobody has begun."""
        if self.function.is_async:
            return
        place = current.get()
        depth = place.body.inline + 1 if isinstance(place, Scope) else 1
        if depth > INLINE_DEPTH:
            self.run.scheduler.begin_elsewhere(self)
        elif self.run.scheduler.claim(self):
            self.inline = depth
            perform_here(self)

    def help_on_loop(self) -> Generator[Any, Any, None] | None:
        """Run the body inside the awaiting asyncio task, if it is an async one of this loop that nobody has begun."""
        loop = self.run.scheduler.loop_here() if self.function.is_async else None
        if loop is None:
            return None
        place = current.get()
        depth = place.body.inline + 1 if isinstance(place, Scope) else 1
        if depth > INLINE_DEPTH or not self.run.scheduler.claim(self):
            return None
        self.inline = depth
        if isinstance(place, Scope) and place.body is self.parent:
            self.await_end()
        self.asyncio_task = asyncio.current_task(loop)
        return perform_on_loop(self).__await__()

    def uncancel(self) -> None:
        """The cancelled body is about to end."""
        if self.inline and self.asyncio_task is not None:
            self.asyncio_task.uncancel()  # it was this call that was cancelled, not the task that awaits it

    def cancel(self) -> bool:
        """Cancel the work: true for an async task and for one that has not begun, false for a sync one under way."""
        if self.withdraw():
            return True
        if self._state in DONE or not self.function.is_async:
            return self._state == CANCELLED
        if self.run.scheduler.loop_here() is not None:
            self._cancel_body()
        else:
            self.run.scheduler.host.post(self._cancel_body)
        return True

    def _cancel_body(self) -> None:
        """On the loop's thread."""
        if self._state not in DONE:
            self.cancelling = True
            if self.asyncio_task is not None:
                self.asyncio_task.cancel()
                if not self.attempt:  # asyncio does not even begin a task that is cancelled before its first step
                    self.settle(CANCELLED)

    def withdraw(self, signal: BaseException | None = None) -> bool:
        """End the work if it has not begun: with a signal for those who wait for it, or cancelled."""
        if not self.claim():
            return False
        return self.settle(CANCELLED) if signal is None else self.settle(FINISHED, None, signal)

    def release(self) -> None:
        """Let anybody begin a call that was held."""
        with self._lock:
            self._state = PENDING

    def spawn(self) -> None:
        """Run the claimed body as an asyncio task of its own; on the loop's thread."""
        self.asyncio_task = self.run.scheduler.host.spawn(perform_on_loop(self))

    def execute(self) -> None:
        """Run the claimed body on this thread."""
        perform_here(self)

    def ended(self) -> Callable[[], None] | None:
        """The body around it computes again; others may have the slot."""
        scheduler = self.run.scheduler
        parent = self.parent
        if parent is not None:
            scheduler.ended(self, parent)
        if self.run.napping:
            return self._stir
        return scheduler.begin_more if scheduler.limited else None

    def _stir(self) -> None:
        self.run.scheduler.begin_more()
        self.run.naps.stir()

    def _block(self, timeout: float | None) -> None:
        place = current.get()
        waiting = place.body if isinstance(place, Scope) else self.parent
        if waiting is None or waiting is self.parent:
            if timeout is None:
                self.await_end()
            SharedFuture._block(self, timeout)  # twice as fast as super()
        else:  # not the body that made the call
            with waiting.run.scheduler.resting(waiting):
                SharedFuture._block(self, timeout)

    def _suspend(self) -> Generator[Any, Any, None]:
        place = current.get()
        waiting = place.body if isinstance(place, Scope) else self.parent
        if waiting is None or waiting is self.parent:
            self.await_end()
            return super()._suspend()
        return self._suspend_resting(waiting)

    def _suspend_resting(self, waiting: TaskFuture[Any]) -> Generator[Any, Any, None]:
        with waiting.run.scheduler.resting(waiting):
            yield from super()._suspend()

    # Its body; `Step` is what `perform` waits for.

    def block(self) -> Any:
        """Call a sync function."""
        context = self._attempt_context() if self.keeps else self.context
        return context.run(self._enter)

    def wait(self) -> Awaitable[Any]:
        """Call an async function; returns what to await."""
        context = self._attempt_context() if self.keeps else self.context
        awaited = in_context(context, context.run(self._enter))
        timeout = self.function.policies.timeout
        return awaited if timeout is None else Deadline(timeout, self).limit(awaited)

    def _attempt_context(self) -> Context:
        """The context of the call; a copy where another attempt may need it again."""
        return self.context.copy() if self.retry_policies else self.context

    def _enter(self) -> Any:
        current.set(Scope(self))
        function = self.function
        if self.env.instruments and function.is_own:
            self.config = self.env.config
            return run_instrumented(self, self.env.instruments, self._called)
        if function.parameters.injected:
            return self._called()
        return function.call(*self.args, **self.kwargs)

    def _called(self) -> Any:
        missing = self.function.parameters.missing(self.args, self.kwargs)
        return self.function.call(*self.args, **self.kwargs, **given(self, missing))

    def write(self, chunk: Any, mode: str = "custom") -> None:
        """Hand what the body says to whoever streams the run; from any thread."""
        self.alive()
        if mode != "values":
            self.hand_over(mode, chunk)
            return
        self.says_values, self.said, self.unsaid = True, chunk, True
        if not self.run.recorder.replays:
            self.say()

    def say(self) -> None:
        """Hand over the value that was held back, if there is one."""
        if self.unsaid:
            self.unsaid = False
            self.hand_over("values", self.said)

    def hand_over(self, mode: str, chunk: Any, *, piece_of: str = "", whole: str = "") -> None:
        """Record a chunk where that is wanted, and emit it; see `Env.emit`."""
        if self.run.options.durable_stream:
            self.run.recorder.said(self, mode, chunk, piece_of, whole)
        self.env.emit(mode, chunk, piece_of=piece_of, whole=whole)

    def heartbeat(self) -> None:
        """Tell the idle timeout that the body is alive."""
        for body in self.lineage():
            if body.beat is not None:
                body.beat()

    def alive(self) -> None:
        """Something happened in this body: a sign of life unless only heartbeats count."""
        body: TaskFuture[Any] | None = self  # once for every chunk that is written, so without a generator
        while body is not None:
            if body.beat is not None:
                timeout = body.function.policies.timeout
                if timeout is not None and timeout.refresh_on == "auto":
                    body.beat()
            body = body.parent

    def lineage(self) -> Generator[TaskFuture[Any], None, None]:
        """This body and those around it, innermost first."""
        body: TaskFuture[Any] | None = self
        while body is not None:
            yield body
            body = body.parent

    def runtime(self) -> Runtime[Any]:
        """What the body can know about its run."""
        return runtime_of(self)

    def begin_attempt(self) -> None:
        """Count an attempt."""
        self.attempt += 1
        if self.attempt == 1:
            self.first_time = time.time()
        elif self.made_new_calls:
            self.made_new_calls = False
        if self.env.watch is not None and self.parent is not None:
            self.env.watch(self)
