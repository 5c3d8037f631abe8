"""One call of a task or workflow: the future its caller holds, and the body it runs in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

from ..context import current
from ..runtime import ExecutionInfo, Runtime
from ..types import MISSING
from .around import run_instrumented
from .deadline import Deadline
from .env import Env
from .function import Function, Injected, Policies
from .future import CANCELLED, DONE, FINISHED, PENDING, SharedFuture
from .identity import Key, body_path, call_id
from .loops import InContext
from .perform import perform
from .scope import Scope
from .steps import adrive, drive
from .stream import Writer

if TYPE_CHECKING:
    from collections.abc import Generator

    from .run import Run

__all__ = ["Env", "TaskFuture"]

R = TypeVar("R")

NO_POLICIES = Policies()
NOTHING: AbstractContextManager[None] = nullcontext()

INLINE_DEPTH = 30
"""How many bodies may run inside one another on one thread's stack before the next one gets a thread of its own."""


class TaskFuture(SharedFuture[R]):
    """What calling a task returns: a `concurrent.futures.Future` that can be awaited, too.

    The work runs where it is asked for: ``result()`` of a sync task that nobody has begun runs it on the calling thread,
    and awaiting an async one runs it inside the awaiting `asyncio.Task`. Left alone it is begun by others within a few
    milliseconds.
    """

    __slots__ = (
        "args",
        "asked",
        "asyncio_task",
        "attempt",
        "beat",
        "because",
        "cache_policy",
        "cached",
        "cancelling",
        "children",
        "config",
        "connection",
        "context",
        "counted",
        "depth",
        "env",
        "fingerprint",
        "first_time",
        "function",
        "inline",
        "keeps",
        "key",
        "kwargs",
        "made_new_calls",
        "parent",
        "recorded",
        "retry_policies",
        "run",
        "said",
        "says_values",
        "seen",
        "stopped",
        "summary",
        "unsaid",
    )

    def __init__(
        self,
        run: Run,
        function: Function,
        key: Key,
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        env: Env,
        parent: TaskFuture[Any] | None,
        context: Context,
    ) -> None:
        super().__init__(run.lock)
        self.run = run
        self.function = function
        self.key = key
        self.args, self.kwargs = arguments
        self.env = env
        self.config = env.config  # what instruments make of it, for the length of an attempt
        self.parent = parent
        self.context = context
        self.depth: int = 0 if parent is None else parent.depth + 1
        own, defaults = function.policies, NO_POLICIES if function.is_workflow else env.policies
        self.retry_policies = own.retry or defaults.retry
        self.cache_policy = None if function.transactional else own.cache or defaults.cache
        # Whether the calls made in this body are kept in memory: another attempt of it, or of one around it, reuses them.
        self.keeps: bool = bool(self.retry_policies) or (parent is not None and parent.keeps)
        self.fingerprint = b""
        self.summary = ""  # the arguments in a few words
        self.children: set[TaskFuture[Any]] = set()  # called in this body and unfinished; guarded by the run's lock
        self.attempt = 0
        self.first_time = 0.0
        self.inline = 0  # how many bodies run inside one another on this thread's stack
        self.asked = False  # a question was put in this body: it stops, whatever it makes of the signal
        self.stopped = False  # likewise for the signal that the attempt has to end
        self.cached = False
        self.because: tuple[Key, ...] = ()  # of a failure that is replayed: what in its body made it fail
        self.recorded = False  # together with its own rows; nothing is left to record
        self.connection: Any = None  # lent to the body of a transactional task
        self.cancelling = False
        self.made_new_calls = False
        self.counted = False  # whether it counts against the run's limits just now
        self.says_values = False  # the body writes chunks of the mode values itself, the last one included
        self.said: Any = MISSING  # the last of them
        self.unsaid = False  # it is held back: the body is still at what an earlier attempt did
        self.seen = False  # whether somebody was handed the outcome
        self.beat: Callable[[], None] | None = None  # tells the idle timeout that the body is alive
        self.asyncio_task: asyncio.Task[Any] | None = None  # what drives the body on a loop

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
            drive(perform(self))

    def help_on_loop(self) -> Generator[Any, Any, None]:
        """Run the body inside the awaiting asyncio task, if it is an async one of this loop that nobody has begun."""
        if not self.function.is_async or not self.run.scheduler.is_here():
            return
        place = current.get()
        depth = place.body.inline + 1 if isinstance(place, Scope) else 1
        if depth <= INLINE_DEPTH and self.run.scheduler.claim(self):
            self.inline = depth
            self.asyncio_task = task = asyncio.current_task()
            yield from adrive(perform(self)).__await__()
            if self.cancelling and task is not None:
                task.uncancel()  # it was this call that was cancelled, not the task that awaits it

    async def until_settled(self, seconds: float | None = None) -> None:
        """Wait until it has ended in whatever way, or for some seconds; helps like an awaiting task would."""
        if seconds is None and not self.done():
            await _Helping(self)
        if not self.done():
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            self.add_done_callback(lambda _: None if waiter.done() else waiter.set_result(None))
            await asyncio.wait([waiter], timeout=seconds)

    def cancel(self) -> bool:
        """Cancel the work: true for an async task and for one that has not begun, false for a sync one under way."""
        if self.withdraw():
            return True
        if self._state in DONE or not self.function.is_async:
            return self._state == CANCELLED
        if self.run.scheduler.is_here():
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
        self.asyncio_task = self.run.scheduler.host.spawn(adrive(perform(self)))

    def execute(self) -> None:
        """Run the claimed body on this thread."""
        drive(perform(self))

    def settle(self, state: str, value: Any = None, error: BaseException | None = None) -> bool:
        """Set the outcome, tell everybody, and let others have the slot."""
        settled = super().settle(state, value, error)
        self.run.scheduler.begin_more()
        return settled

    def _set(self, state: str, value: Any, error: BaseException | None) -> bool:
        settled = super()._set(state, value, error)
        if settled and self.parent is not None:  # under the same lock, so that both are seen at once
            self.run.scheduler.ended(self, self.parent)
        return settled

    def _block(self, timeout: float | None) -> None:
        with self._resting():
            super()._block(timeout)

    def _suspend(self) -> Generator[Any, Any, None]:
        with self._resting():
            yield from super()._suspend()

    def _resting(self) -> AbstractContextManager[None]:
        """The body that waits for this call may not be the one that made it."""
        place = current.get()
        if not isinstance(place, Scope) or place.body is self.parent:
            return NOTHING
        return place.body.run.scheduler.resting(place.body)

    # Its body; `Step` is what `perform` waits for.

    def block(self) -> Any:
        """Call a sync function."""
        return self._attempt_context().run(self._enter)

    async def wait(self) -> Any:
        """Call an async function and await what it gives."""
        context = self._attempt_context()
        awaited = InContext(context, context.run(self._enter))
        timeout = self.function.policies.timeout
        if timeout is None:
            return await awaited
        return await Deadline(timeout, self).limit(awaited)

    def _attempt_context(self) -> Context:
        """The context of the call; a copy where another attempt may need it again."""
        return self.context.copy() if self.retry_policies else self.context

    def _enter(self) -> Any:
        current.set(Scope(self))
        if self.env.instruments and self.function.is_own:
            self.config = self.env.config
            return run_instrumented(self, self.env.instruments, self._called)
        return self._called()

    def _called(self) -> Any:
        missing = self.function.parameters.injected and self.function.parameters.missing(self.args, self.kwargs)
        if missing:
            return self.function.call(*self.args, **self.kwargs, **self._injected(missing))
        return self.function.call(*self.args, **self.kwargs)

    def _injected(self, missing: Sequence[Injected]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for parameter in missing:
            if parameter.name == "previous":
                if self.env.previous is not MISSING:
                    values["previous"] = self.env.previous
                elif not parameter.has_default:
                    values["previous"] = None
            elif parameter.name == "runtime":
                values["runtime"] = self.runtime()
            elif parameter.name == "config":
                values["config"] = dict(self.config)
            elif parameter.name == "store":
                values["store"] = self.env.store
            elif parameter.name == "connection":
                values["connection"] = self.connection
            else:
                values["writer"] = Writer(self)
        return values

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
        run = self.run
        info = ExecutionInfo(
            checkpoint_id=run.checkpoint_id,
            checkpoint_ns=self.path,
            task_id=self.id,
            thread_id=run.thread_id,
            run_id=run.run_id,
            node_attempt=self.attempt,
            node_first_attempt_time=self.first_time,
        )
        return Runtime(
            context=self.env.context,
            store=self.env.store,
            stream_writer=Writer(self),
            heartbeat=self.heartbeat,
            previous=None if self.env.previous is MISSING else self.env.previous,
            execution_info=info,
            control=run.options.control,
        )

    def begin_attempt(self) -> None:
        """Count an attempt."""
        self.attempt += 1
        if self.attempt == 1:
            self.first_time = time.time()
        self.made_new_calls = False
        if self.env.watch is not None and self.parent is not None:
            self.env.watch(self)


class _Helping:
    """Awaits a call without asking for its outcome."""

    __slots__ = ("call",)

    def __init__(self, call: TaskFuture[Any]) -> None:
        self.call = call

    def __await__(self) -> Generator[Any, Any, None]:
        return self.call.help_on_loop()
