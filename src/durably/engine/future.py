"""A future for threads and event loops alike, cheap enough to make a hundred thousand of.

It is a real `concurrent.futures.Future`, so that module's ``wait`` and ``as_completed`` take it; it can be awaited; and
`asyncio.wait` takes it too. Unlike its base it makes its condition only when somebody really waits.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import BlockingError
from .loops import LoopHost

if TYPE_CHECKING:
    from contextvars import Context

__all__ = ["CANCELLED", "DONE", "FINISHED", "PENDING", "RUNNING", "SharedFuture"]

R = TypeVar("R")

CANCELLED = CANCELLED_AND_NOTIFIED
DONE = (FINISHED, CANCELLED)

NOBODY: Final[tuple[Callable[[], object], ...]] = ()
"""To be told of an outcome."""

logger = getLogger("durably")


class SharedFuture(Future[R]):
    """A future whose state is guarded by a lock it shares with others.

    A subclass fills in the fields: the base's constructor would make a condition for each, and what that keeps is served by
    the properties below.
    """

    __slots__ = ("_callbacks", "_cond", "_error", "_lock", "_state", "_value")

    _lock: threading.Lock  # held for a few instructions at a time
    _state: str
    _value: Any
    _error: BaseException | None
    _cond: threading.Condition | None
    _callbacks: list[tuple[Callable[[Any], Any], Callable[[], None]]] | None
    _watchers: list[Any] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe()} {self._state.lower()}>"

    def describe(self) -> str:
        """Names the future in errors."""
        return hex(id(self))

    # What subclasses change: how somebody who waits can help.

    def help_here(self) -> None:
        """Called on a thread that is about to wait without a limit: do the work here, if it can be done."""

    def help_on_loop(self) -> Generator[Any, Any, None] | None:
        """Likewise for an `asyncio.Task` that is about to wait: what it is to go through, None for nothing."""
        return None

    def delivered(self) -> None:
        """Called whenever an outcome is about to be handed to somebody who asked."""

    def ended(self) -> Callable[[], None] | None:
        """Called once it has its outcome, with the lock held: whoever sees the one sees what is done here.

        Returns:
            What to call without the lock, if anything.
        """
        return None

    # The outcome, for those who wait.

    def done(self) -> bool:
        """Whether there is an outcome."""
        return self._state in DONE

    @property
    def pending(self) -> bool:
        """Whether nobody has begun the work."""
        return self._state == PENDING

    @property
    def failed(self) -> BaseException | None:
        """What the work raised, None if it returned, was cancelled or is not done. Never waits."""
        return self._error

    def running(self) -> bool:
        """Whether the work is under way."""
        return self._state == RUNNING

    def cancelled(self) -> bool:
        """Whether the work was cancelled."""
        return self._state == CANCELLED

    def result(self, timeout: float | None = None) -> R:
        """The result; waits for it.

        Args:
            timeout: how many seconds to wait at most.

        Raises:
            TimeoutError: it took longer.
            BlockingError: an event loop is running on this thread; await the future instead.
            CancelledError: the work was cancelled.
            Exception: whatever the work raised.
        """
        if self._state not in DONE:
            self._block(timeout)
        if self._state == CANCELLED:
            raise CancelledError(f"{self.describe()} was cancelled")
        return self._outcome()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the work raised, None if it returned; waits like `result`."""
        if self._state not in DONE:
            self._block(timeout)
        if self._state == CANCELLED:
            raise CancelledError
        self.delivered()
        return self._error

    def __await__(self) -> Generator[Any, Any, R]:
        if self._state not in DONE:
            helping = self.help_on_loop()
            if helping is not None:
                yield from helping
            if self._state not in DONE:
                yield from self._suspend()
        if self._state == CANCELLED:
            raise asyncio.CancelledError(f"{self.describe()} was cancelled")
        return self._outcome()

    def _outcome(self) -> R:
        self.delivered()
        if self._error is not None:
            try:
                raise self._error
            finally:
                self = None  # type: ignore[assignment]  # the traceback would keep the future alive
        return self._value  # type: ignore[no-any-return]

    def _block(self, timeout: float | None) -> None:
        if asyncio._get_running_loop() is not None:
            raise BlockingError(
                f"waiting for {self.describe()} here would block the event loop that runs on this thread: "
                "await it instead, as in `await task(x)` or `await workflow.ainvoke(x)`"
            )
        if timeout is None:
            self.help_here()
            if self._state in DONE:
                return
        with self._condition:
            if self._state not in DONE and not self._condition.wait_for(self.done, timeout):
                raise TimeoutError(f"{self.describe()} was not done after {timeout} seconds; it goes on")

    def _suspend(self) -> Generator[Any, Any, None]:
        """Wait on the running loop; cancelling the waiter cancels the work, as awaiting an `asyncio.Task` does."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.add_done_callback(lambda _: None if waiter.done() else waiter.set_result(None))
        try:
            yield from waiter
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def until_settled(self, seconds: float | None = None) -> None:
        """Wait until it has ended in whatever way, or for some seconds; helps like an awaiting task would."""
        if seconds is None and not self.done():
            await _Helping(self)
        if not self.done():
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            self.add_done_callback(lambda _: None if waiter.done() else waiter.set_result(None))
            await asyncio.wait([waiter], timeout=seconds)

    # The outcome, for those who want to be told.

    def add_done_callback(self, fn: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Call ``fn`` with this future when it is done.

        Added while an event loop runs on this thread, the call is made by that loop; otherwise by whoever ends the
        work, or at once when it has ended.

        Args:
            fn: takes the future; what it raises is logged.
            context: in which context the loop makes the call, as for `asyncio.Future.add_done_callback`.
        """
        call = self._caller(fn, context)
        with self._lock:
            if self._state not in DONE:
                if self._callbacks is None:
                    self._callbacks = []
                self._callbacks.append((fn, call))
                return
        call()

    def remove_done_callback(self, fn: Callable[[Any], object]) -> int:
        """Take back all callbacks equal to ``fn``; returns how many there were."""
        with self._lock:
            callbacks = self._callbacks or []
            kept = [pair for pair in callbacks if pair[0] != fn]
            self._callbacks = kept or None
            return len(callbacks) - len(kept)

    def _caller(self, fn: Callable[[Any], object], context: Context | None) -> Callable[[], None]:
        loop = asyncio._get_running_loop()
        if loop is None:
            return lambda: self._tell(fn)
        post = LoopHost.of(loop).post
        if context is None:
            return lambda: post(lambda: self._tell(fn))
        return lambda: post(lambda: context.run(self._tell, fn))

    def _tell(self, fn: Callable[[Any], object]) -> None:
        try:
            fn(self)
        except Exception:
            logger.exception("a callback of %s failed", self.describe())

    # The outcome, from those who bring it about.

    def claim(self) -> bool:
        """Take the work, if nobody has."""
        with self._lock:
            return self.begin()

    def begin(self) -> bool:
        """Likewise, with the lock held."""
        if self._state != PENDING:
            return False
        self._state = RUNNING
        return True

    def preset(self, value: Any) -> None:
        """Set the result before anybody else knows the future."""
        self._value = value
        self._state = FINISHED

    def settle(self, state: str, value: Any = None, error: BaseException | None = None) -> bool:
        """Set the outcome and tell everybody; False when there is one already."""
        lock = self._lock
        lock.acquire()
        condition = self._cond
        if condition is None:  # nobody waits: whoever comes later finds the outcome
            told = self._set(state, value, error)
            lock.release()
            if told is NOBODY:
                return True
        else:
            lock.release()
            with condition:
                with lock:
                    told = self._set(state, value, error)
                if told is not None:
                    self._notify(condition)
        if told is None:
            return False
        for call in told:
            call()
        return True

    def _set(self, state: str, value: Any, error: BaseException | None) -> Sequence[Callable[[], object]] | None:
        """Set the outcome, with the lock held; returns what to call then, None when there is an outcome already."""
        if self._state in DONE:
            return None
        self._value = value
        self._error = error
        self._state = state
        after = self.ended()
        callbacks = self._callbacks
        if callbacks is None:
            return NOBODY if after is None else (after,)
        self._callbacks = None
        told = [call for _, call in callbacks]
        return told if after is None else [*told, after]

    def _notify(self, condition: threading.Condition) -> None:
        for watcher in self._watchers or ():
            if self._state == CANCELLED:
                watcher.add_cancelled(self)
            elif self._error is not None:
                watcher.add_exception(self)
            else:
                watcher.add_result(self)
        condition.notify_all()

    def set_running_or_notify_cancel(self) -> bool:
        """For executors: `claim`, and False where the work was cancelled."""
        return self.claim() or self._state == RUNNING

    def set_result(self, result: R) -> None:
        """For executors: end the work with a result."""
        self.settle(FINISHED, result)

    def set_exception(self, exception: BaseException | None) -> None:
        """For executors: end the work with an exception."""
        self.settle(FINISHED, None, exception)

    # What `concurrent.futures.wait` and `as_completed` reach into; to type checkers they are the base's attributes.

    if not TYPE_CHECKING:

        @property
        def _condition(self):
            if self._cond is None:
                with self._lock:
                    if self._cond is None:
                        self._cond = threading.Condition()
            return self._cond

        @property
        def _waiters(self):
            if self._watchers is None:
                self._watchers = []
            return self._watchers


class _Helping:
    """Awaits a future without asking for its outcome."""

    __slots__ = ("future",)

    def __init__(self, future: SharedFuture[Any]) -> None:
        self.future = future

    def __await__(self) -> Generator[Any, Any, None]:
        helping = self.future.help_on_loop()
        if helping is not None:
            yield from helping
