"""Who begins a call, and when: whoever asks for it first, and if nobody does, somebody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from .loops import LoopHost, library_loop
from .queue import Limits, ReadyQueue
from .threads import TICK, pool, sentinel

if TYPE_CHECKING:
    from .call import TaskFuture

__all__ = ["Scheduler"]

LIVELY: Final = 20
"""So many calls made, or begun, between two looks mean that those who do that need no help, which would be in their way."""

CALM: Final = 3
"""After so many looks without that they do something else, or wait."""

PATIENCE: Final = 0.02
"""Seconds after which a thread tries all the same whether the bodies take long, and then twice as many, and so on."""

QUICK: Final = 0.001
"""Seconds: a body that takes fewer is as well run by whoever asks for it."""


class Scheduler:
    """The calls of a run that nobody has begun, and the threads and the event loop that begin them.

    Making a call only appends it to a queue. ``result()`` and ``await`` claim it and run it on the spot. On a thread the
    sentinel hands over what nobody asks for; on an event loop that happens two turns after the call.

    Args:
        host: the event loop on which async bodies run, None for the library's own.
        limits: how many bodies may be under way.
    """

    __slots__ = (
        "_async",
        "_calm",
        "_helped",
        "_host",
        "_last_first",
        "_last_trial",
        "_last_waiting",
        "_limits",
        "_needs_threads",
        "_sweeping",
        "_sync",
        "_trial",
        "_watched",
        "limited",
        "lock",
    )

    def __init__(self, host: LoopHost | None, limits: Limits) -> None:
        self.lock = Lock()
        self._host = host
        self._limits = limits
        self.limited = bool(limits)  # whether calls may have to wait for one another
        self._sync = ReadyQueue()
        self._async = ReadyQueue()
        self._watched = False  # by the sentinel
        self._sweeping = False
        self._last_first: TaskFuture[Any] | None = None
        self._last_waiting = 0
        self._last_trial = 0.0
        self._trial = 1  # how many threads the next one takes
        self._needs_threads = False  # sync calls are made on a loop, where nobody but a thread can run them
        self._calm = CALM  # for how many looks
        self._helped = 0  # how many calls threads of the pool have begun since the last one

    @property
    def host(self) -> LoopHost:
        """The event loop on which async bodies run."""
        if self._host is None:
            host = LoopHost.of(library_loop())
            with self.lock:
                first, self._host = self._host is None, self._host or host
            if first:
                host.enter()
        return self._host

    def open(self) -> None:
        """The run begins: asyncio tasks started in its bodies are branches."""
        if self._host is not None:
            self._host.enter()

    def close(self) -> None:
        """The run has ended."""
        if self._host is not None:
            self._host.leave()

    def loop_here(self) -> asyncio.AbstractEventLoop | None:
        """That loop, if this thread is running it just now."""
        host = self._host
        if host is None:
            return None
        running = asyncio._get_running_loop()
        return running if running is not None and host.is_of(running) else None

    # Beginning calls.

    def add(self, call: TaskFuture[Any], parent: TaskFuture[Any]) -> None:
        """Queue a call made in the body of ``parent``."""
        is_async = call.function.is_async
        loop = asyncio._get_running_loop()
        here = loop is not None and self._host is not None and self._host.is_of(loop)
        watch = sweep = False
        lock = self.lock
        lock.acquire()
        try:
            if parent.children is None:
                parent.children = {call}
            else:
                parent.children.add(call)
            if self.limited:
                self._limits.discount(parent)
            if is_async:
                self._async.push(call)
            else:
                self._sync.push(call)
            if loop is None:
                if not (is_async or self._watched):
                    self._watched = watch = True
            elif (here or not is_async) and not self._sweeping:
                self._sweeping = sweep = True
        finally:
            lock.release()
        if watch:
            sentinel.watch(self)
        elif sweep and loop is not None:
            LoopHost.of(loop).after_two_turns(self._sweep)
        elif is_async and not here:
            self.host.post(self._spawn_ready)

    def claim(self, call: TaskFuture[Any]) -> bool:
        """Take a call to run it now, if nobody has and the limits allow it."""
        lock = self.lock
        lock.acquire()
        try:
            return self._take(call)
        finally:
            lock.release()

    def _take(self, call: TaskFuture[Any]) -> bool:
        if (self.limited and not self._limits.allow(call)) or not call.begin():
            return False
        if self.limited:
            self._limits.count(call)
        (self._async if call.function.is_async else self._sync).begun(call)
        return True

    def _take_first(self, queue: ReadyQueue) -> TaskFuture[Any] | None:
        with self.lock:
            call = queue.first()
            if call is None or not self._take(call):
                return None
            self._helped += queue is self._sync
            return call

    def begin_root(self, call: TaskFuture[Any]) -> None:
        """Take the call of the workflow itself."""
        with self.lock:
            call.begin()
            self._limits.count(call)

    def begin_elsewhere(self, call: TaskFuture[Any]) -> None:
        """Run a call on another thread: this one's stack is deep enough."""
        if self.claim(call):
            pool.run(call.execute)

    def tick(self, now: float) -> float | None:
        """For the sentinel: hand sync calls to threads when their caller seems busy with something else."""
        with self.lock:
            first = self._sync.first()
            if first is None:
                self._watched = False
                self._last_first, self._last_waiting, self._calm = None, 0, CALM
                return None
            waiting = len(self._sync)
            hand_over = waiting > 1 or first is self._last_first
            moved = abs(waiting - self._last_waiting + self._helped)
            self._last_first, self._last_waiting, self._helped = first, waiting, 0
        was_lively = self._is_lively()
        self._calm = 0 if moved >= LIVELY else self._calm + 1
        if not self._is_lively():
            if hand_over:
                pool.offer(self._work, waiting)
        elif not was_lively:
            self._last_trial, self._trial = now, 1
        elif now - self._last_trial > PATIENCE:
            pool.offer(self._work, self._trial)
            self._last_trial, self._trial = now, 2 * self._trial
        return TICK

    def _is_lively(self) -> bool:
        """Whether those who make the calls, and ask for them, are at it fast."""
        return self._calm < CALM and not self._needs_threads

    def _sweep(self) -> None:
        """On a loop: begin what nobody has awaited two turns after it was called."""
        with self.lock:
            self._sweeping = False
            any_async = self._async.first() is not None
            waiting = len(self._sync) if self._sync.first() is not None else 0
            self._needs_threads = self._needs_threads or waiting > 0
            watch = waiting > 0 and not self._watched
            if watch:
                self._watched = True
        if self.loop_here() is not None:
            self._spawn_ready()
        elif any_async:  # this is a loop of the user's own, inside a sync body
            self.host.post(self._spawn_ready)
        if watch:  # the sentinel adds threads as they are needed
            sentinel.watch(self)
        if waiting:
            pool.offer(self._work, waiting)

    def _spawn_ready(self) -> None:
        while (call := self._take_first(self._async)) is not None:
            call.spawn()

    def _work(self) -> None:
        """On a thread of the pool: run sync calls as long as there are any that may begin, and that is worth a thread."""
        while (call := self._take_first(self._sync)) is not None:
            began = time.monotonic()
            call.execute()
            pool.finished += 1
            if self._is_lively() and time.monotonic() - began < QUICK:
                self._trial = 1
                return

    # Ending them.

    def unfinished(self, call: TaskFuture[Any]) -> list[TaskFuture[Any]]:
        """The calls made in a body that have not ended."""
        with self.lock:
            return list(call.children or ())

    def ended(self, call: TaskFuture[Any], parent: TaskFuture[Any]) -> None:
        """A call has its outcome: its parent computes again. The lock is held."""
        if parent.children is not None:
            parent.children.discard(call)
        if self.limited:
            self._limits.discount(call)
            if not parent.children and parent.running():
                self._limits.count(parent)

    @contextmanager
    def resting(self, body: TaskFuture[Any]) -> Iterator[None]:
        """While a body waits for what is not its own call, it holds no slot either."""
        if not self.limited:
            yield
            return
        with self.lock:
            self._limits.discount(body)
        self.begin_more()
        try:
            yield
        finally:
            with self.lock:
                if not body.children and body.running():
                    self._limits.count(body)

    def begin_more(self) -> None:
        """A slot may be free: begin what waited for one."""
        if not self.limited:
            return
        with self.lock:
            more_sync = self._sync.first() is not None
            more_async = self._async.first() is not None
        if more_sync:
            pool.offer(self._work, 1)
        if more_async:
            self.host.post(self._spawn_ready)
