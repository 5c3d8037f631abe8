"""One attempt of a run under way: what calls go through, and who gets to begin them."""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ..errors import EncodeError, GraphInterrupt, GraphRecursionError, Stop, TaskFailed
from ..serde import Serializer, encode_exception, rebuild_exception
from ..types import Interrupt
from .call import Env, TaskFuture
from .function import Function
from .future import FINISHED
from .identity import Key, call_id
from .journal import ANSWERED, ASKED, RAISED, RETURNED, Entry, Journal, Kept, Record, in_body
from .loops import LoopHost, library_loop
from .queue import Limits, ReadyQueue
from .steps import Steps
from .threads import TICK, pool, sentinel

if TYPE_CHECKING:
    from ..runtime import RunControl
    from ..types import Durability
    from .commit import Log
    from .options import Options
    from .scope import Scope

__all__ = ["QUESTION", "Leash", "Run"]

QUESTION: Final = "interrupt"
"""The name under which questions are recorded; no task may have it."""

NOT_FAILURES = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""The process is ending, not the task failing: nothing is recorded, and the task runs again."""


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
        self.lock = threading.Lock()
        self.run_id = run_id
        self.thread_id = options.thread_id if log is not None else None
        self.checkpoint_id = f"{run_id}-0"
        self.durability: Durability = options.durability
        self.control: RunControl = options.control
        self.grace = options.grace
        self.serde = serde
        self.stopping: BaseException | None = None
        self.questions: dict[Key, Interrupt[Any]] = {}
        self.failed: list[TaskFuture[Any]] = []
        self._depth_limit = options.recursion_limit
        self._journal = journal
        self._log = log
        self._kept: list[Entry] = []
        self._host = host
        self._limits = Limits(options.max_concurrency, options.max_workers)
        self._sync = ReadyQueue()
        self._async = ReadyQueue()
        self._watched = False
        self._sweeping = False
        self._last_first: TaskFuture[Any] | None = None

    # Making calls.

    def root(self, function: Function, value: Any, env: Env) -> TaskFuture[Any]:
        """The call of the workflow itself, claimed."""
        call = TaskFuture[Any](self, function, Key("", function.name, 0), ((value,), {}), env, None, copy_context())
        call.claim()
        with self.lock:
            self._limits.count(call)
        return call

    def call(
        self, scope: Scope, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], env: Env | None = None
    ) -> TaskFuture[Any]:
        """Make a call: its recorded outcome, or a future that somebody will bring about."""
        self.check_stopped()
        parent = scope.body
        with self.lock:
            n = scope.count(function.name)
        call = TaskFuture[Any](
            self, function, Key(scope.path, function.name, n), (args, kwargs), env or parent.env, parent, copy_context()
        )
        if call.depth > self._depth_limit:
            raise GraphRecursionError(
                f"{call.describe()} is nested {call.depth} calls deep. If that is meant, raise the limit: "
                f'config={{"recursion_limit": {2 * self._depth_limit}}}'
            )
        if self._log is not None and call.env.journaled:
            call.fingerprint = self.serde.fingerprint(function.parameters.bound(args, kwargs))
        if self._journal and call.env.journaled:
            entry = self._claim(call.key, call.fingerprint)
            if entry is not None:
                return self._replay(call, entry)
        parent.made_new_calls = True
        parent.alive()
        self._begin(call, parent)
        return call

    def _claim(self, key: Key, fingerprint: bytes) -> Entry | None:
        with self.lock:
            entry = self._journal.claim(key, fingerprint)
            if entry is not None:
                self._kept.append(entry)
            return entry

    def _replay(self, call: TaskFuture[Any], entry: Entry) -> TaskFuture[Any]:
        if isinstance(entry, Kept):
            call.settle(FINISHED, entry.value)
        elif entry.kind == RETURNED:
            call.settle(FINISHED, self.serde.loads(entry.data, self.place(entry.key)))
        elif entry.kind == RAISED:
            error = rebuild_exception(self.serde.loads(entry.data, self.place(entry.key)), call.function.name)
            self.failed.append(call)
            call.settle(FINISHED, None, error)
            if isinstance(error, TaskFailed):  # no path that the workflow takes on another exception is the recorded one
                self.stop(error)
                self.check_stopped()
        return call

    def _begin(self, call: TaskFuture[Any], parent: TaskFuture[Any]) -> None:
        """Queue a call; whoever asks for it first runs it, and if nobody does, somebody will."""
        is_async = call.function.is_async
        on_loop = asyncio._get_running_loop() is not None
        with self.lock:
            parent.children.add(call)
            self._limits.discount(parent)
            (self._async if is_async else self._sync).push(call)
            watch = not (is_async or on_loop or self._watched)
            self._watched |= watch
            sweep = on_loop and not self._sweeping and (not is_async or self.is_here())
            self._sweeping |= sweep
        if watch:
            sentinel.watch(self)
        if sweep:
            LoopHost.of(asyncio.get_running_loop()).after_two_turns(self._sweep)
        elif is_async and not self.is_here():
            self.host.post(self._spawn_ready)

    # Beginning them.

    @property
    def host(self) -> LoopHost:
        """The event loop on which async bodies run."""
        if self._host is None:
            self._host = LoopHost.of(library_loop())
        return self._host

    def is_here(self) -> bool:
        """Whether this thread is running that loop just now."""
        running = asyncio._get_running_loop()
        return running is not None and self._host is not None and self._host.loop is running

    @property
    def limited(self) -> bool:
        """Whether calls may have to wait for one another."""
        return bool(self._limits)

    def claim(self, call: TaskFuture[Any]) -> bool:
        """Take a call to run it now, if nobody has and the limits allow it."""
        with self.lock:
            return self._take(call)

    def _take(self, call: TaskFuture[Any]) -> bool:
        if not call.pending or not self._limits.allow(call):
            return False
        call.begin()
        self._limits.count(call)
        (self._async if call.function.is_async else self._sync).begun(call)
        return True

    def _take_first(self, queue: ReadyQueue) -> TaskFuture[Any] | None:
        with self.lock:
            call = queue.first()
            return call if call is not None and self._take(call) else None

    def tick(self, now: float) -> float | None:
        """For the sentinel: hand sync calls to threads when their caller seems busy with something else."""
        with self.lock:
            first = self._sync.first()
            if first is None:
                self._watched = False
                self._last_first = None
                return None
            waiting = len(self._sync)
            hand_over = waiting > 1 or first is self._last_first
            self._last_first = first
        if hand_over:
            pool.offer(self._work, waiting)
        return TICK

    def _sweep(self) -> None:
        """On a loop: begin what nobody has awaited two turns after it was called."""
        self._sweeping = False
        self._spawn_ready()
        with self.lock:
            waiting = len(self._sync) if self._sync.first() is not None else 0
            watch = waiting > 0 and not self._watched
            self._watched |= watch
        if watch:  # the sentinel adds threads as they are needed
            sentinel.watch(self)
        if waiting:
            pool.offer(self._work, waiting)

    def _spawn_ready(self) -> None:
        while (call := self._take_first(self._async)) is not None:
            call.spawn()

    def _work(self) -> None:
        """On a thread of the pool: run sync calls as long as there are any that may begin."""
        while (call := self._take_first(self._sync)) is not None:
            call.execute()
            pool.finished += 1

    def dispatch_elsewhere(self, call: TaskFuture[Any]) -> None:
        """Run a call on a thread of its own: this thread's stack is deep enough."""
        if self.claim(call):
            pool.run(call.execute)

    def unfinished(self, call: TaskFuture[Any]) -> list[TaskFuture[Any]]:
        """The calls made in a body that have not ended."""
        with self.lock:
            return list(call.children)

    def finished(self, call: TaskFuture[Any], *, asked: bool = False) -> None:
        """A call has ended: its parent computes again, and others may begin."""
        parent = call.parent
        if parent is None:
            return
        with self.lock:
            self._limits.discount(call)
            parent.children.discard(call)
            parent.asked |= asked
            if not parent.children and parent.running():
                self._limits.count(parent)
            more_sync = self.limited and self._sync.first() is not None
            more_async = self.limited and self._async.first() is not None
        if more_sync:
            pool.offer(self._work, 1)
        if more_async:
            self.host.post(self._spawn_ready)

    # Recording how they ended.

    def place(self, key: Key) -> bytes:
        """Where the value of a call is stored, for an encrypting serializer to bind it to."""
        return f"{self.run_id}\0{key.scope}\0{key.name}\0{key.n}".encode("utf-8", "surrogatepass")

    def record_result(self, call: TaskFuture[Any], value: Any) -> bool:
        """Record what a call returned; whether there is something to write.

        Raises:
            EncodeError: the value cannot be stored.
        """
        if call.parent is None or not call.env.journaled:
            return False
        if self._log is None:
            if call.parent.keeps:
                self._kept.append(Kept(call.key, value))
            return False
        try:
            data = self.serde.dumps(value, self.place(call.key))
        except EncodeError as error:
            raise EncodeError(
                f"the result of task {call.function.name!r} cannot be stored: {error}", error.path
            ) from None
        self._append(call, RETURNED, data)
        return True

    def record_failure(self, call: TaskFuture[Any], error: BaseException) -> bool:
        """Record what a call raised; whether there is something to write."""
        if call.parent is None or isinstance(error, NOT_FAILURES):
            return False
        with self.lock:
            self.failed.append(call)
        if self._log is None or not call.env.journaled:
            return False
        self._append(call, RAISED, self.serde.dumps(encode_exception(error), self.place(call.key)))
        return True

    def _append(self, call: TaskFuture[Any], kind: int, data: bytes) -> None:
        scope, name, n = call.key
        seconds = time.time() - call.first_time
        record = Record(
            kind, scope, name, n, call.fingerprint, data, call.first_time, seconds, call.attempt, call.cached
        )
        if call.parent is not None and call.parent.keeps:
            self._kept.append(record)
        if self._log is not None:
            self._log.append(record)

    def flush(self) -> Steps[None]:
        """Go on when everything recorded is on disk."""
        if self._log is not None:
            yield from self._log.flush()

    def rewind(self, call: TaskFuture[Any]) -> None:
        """Before another attempt of a body: the calls that have finished in it are there to be claimed again."""
        path = call.path
        with self.lock:
            mine = [entry for entry in self._kept if in_body(entry.key, path)]
            self._kept = [entry for entry in self._kept if not in_body(entry.key, path)]
            for entry in mine:
                if entry.kind in (RETURNED, ANSWERED):
                    self._journal.add(entry)

    def report_leftovers(self, call: TaskFuture[Any]) -> None:
        """Warn of recorded calls that a body did not make this time, although it made new ones."""
        if self._journal and call.made_new_calls:
            self._journal.report_leftovers(call.path)

    # Questions.

    def ask(self, scope: Scope, value: Any, response_schema: Any) -> Any:
        """Put a question, or return its recorded answer."""
        self.check_stopped()
        with self.lock:
            key = Key(scope.path, QUESTION, scope.count(QUESTION))
        fingerprint = b"" if self._log is None else self.serde.fingerprint((value,))
        entry = self._claim(key, fingerprint) if self._journal else None
        if isinstance(entry, Record) and entry.kind == ANSWERED:
            return self.serde.loads(entry.data, self.place(entry.key))
        asked = Key(*key) if entry is None else entry.key
        if entry is None and self._log is not None:
            scope.body.made_new_calls = True
            self._log.append(Record(ASKED, *key, fingerprint, self._question(value, key), time.time()))
        self._surface(scope, asked, Interrupt(value, call_id(self.run_id, asked), response_schema=response_schema))

    def _question(self, value: Any, key: Key) -> bytes:
        try:
            return self.serde.dumps(value, self.place(key))
        except EncodeError as error:
            raise EncodeError(f"the value given to interrupt() cannot be stored: {error}", error.path) from None

    def _surface(self, scope: Scope, key: Key, question: Interrupt[Any]) -> NoReturn:
        with self.lock:
            self.questions[key] = question
            scope.body.asked = True
        raise GraphInterrupt((question,))

    # Stopping, and being watched.

    def stop(self, reason: BaseException) -> None:
        """Have the attempt end at its next call."""
        if self.stopping is None:
            self.stopping = reason

    def check_stopped(self) -> None:
        """Raise the signal that ends the attempt, if it has to end."""
        if self.stopping is None and self._log is not None and self._log.error is not None:
            self.stopping = self._log.error
        if self.stopping is not None:
            raise Stop(self.stopping)


class Leash:
    """Stops an attempt from outside: from another thread, or before it has begun."""

    __slots__ = ("_reason", "_root", "_run")

    def __init__(self) -> None:
        self._run: Run | None = None
        self._root: TaskFuture[Any] | None = None
        self._reason: BaseException | None = None

    def attach(self, run: Run, root: TaskFuture[Any]) -> None:
        """The attempt begins."""
        self._run, self._root = run, root
        if self._reason is not None:
            run.stop(self._reason)

    def stop(self, reason: BaseException) -> None:
        """Have the attempt end: at its next call, and what is async at once."""
        self._reason = reason
        if self._run is not None and self._root is not None:
            self._run.stop(reason)
            for call in self._run.unfinished(self._root):
                call.cancel()
