"""Time that passes as soon as there is nothing else to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from ..engine.steps import Clock, set_clock
from ..errors import ConfigError

__all__ = ["VirtualClock", "virtual_clock"]


class VirtualClock(Clock):
    """What `virtual_clock` hands out.

    Attributes:
        pauses: the seconds waited before each retry, in the order in which the waiting began.
        skipped: how many seconds have passed that nobody had to wait for.
    """

    longest_nap = float("inf")  # the loop's timers are ruled: there is nothing to look at in between

    def __init__(self, patience: float) -> None:
        self.pauses: list[float] = []
        self.skipped = 0.0
        self._patience = patience
        self._lock = Lock()
        self._selectors: list[Any] = []

    def now(self) -> float:
        """What time it is, with all that has passed without anybody waiting."""
        return time.time() + self.skipped

    def advance(self, seconds: float) -> None:
        """Have time passed while no workflow was looking, such as between two attempts of a run."""
        with self._lock:
            self.skipped += seconds

    def idle(self, seconds: float) -> float:
        """Have the time pass at once until something is due, if anything will be."""
        if seconds == float("inf"):
            return seconds
        self.advance(seconds)
        return 0.0

    def sleep(self, seconds: float) -> None:
        """Have the time passed at once."""
        with self._lock:
            self.pauses.append(seconds)
            self.skipped += seconds

    async def sleep_on_loop(self, seconds: float) -> None:
        """Have the time pass when the event loop has nothing else to do."""
        with self._lock:
            self.pauses.append(seconds)
        await asyncio.sleep(seconds)

    def attend(self, loop: asyncio.AbstractEventLoop) -> None:
        """Rule the timers of this loop."""
        selector = getattr(loop, "_selector", None)
        if selector is None:
            raise ConfigError(f"virtual_clock() rules the event loops of asyncio itself, and not {type(loop).__name__}")
        with self._lock:
            if selector not in self._selectors:
                self._selectors.append(selector)
                selector.select = self._ruling(selector.select, _shift_of(loop))

    def _ruling(self, select: Callable[[float | None], Any], shift: _Shift) -> Callable[[float | None], Any]:
        def ruled(timeout: float | None = None) -> Any:
            if timeout is None or timeout <= self._patience:
                return select(timeout)
            events = select(self._patience)
            if not events:
                with self._lock:
                    self.skipped += timeout - self._patience
                shift.seconds += timeout - self._patience
            return events

        return ruled

    def release(self) -> None:
        """Let the loops have their own pace again; the time that has passed stays passed."""
        with self._lock:
            for selector in self._selectors:
                del selector.select
            self._selectors.clear()


class _Shift:
    """A loop's time, which is ahead of the real one."""

    def __init__(self, real: Callable[[], float]) -> None:
        self._real = real
        self.seconds = 0.0

    def __call__(self) -> float:
        return self._real() + self.seconds


def _shift_of(loop: Any) -> _Shift:
    if not isinstance(loop.time, _Shift):
        loop.time = _Shift(loop.time)
    shift: _Shift = loop.time
    return shift


@contextmanager
def virtual_clock(*, patience: float = 0.01) -> Iterator[VirtualClock]:
    """Let sleep, pauses before retries, timeouts and ``asyncio.sleep`` take no real time in a ``with`` block.

    On a thread a pause before a retry is over at once. On an event loop that runs a workflow, time jumps to the next
    timer whenever the loop has had nothing to do for ``patience``. So timers go off in their order: a task that sleeps
    for a minute is stopped by a timeout of half a minute, and not by one of two.

    Args:
        patience: how long, in real seconds, a loop waits for threads and sockets before time jumps. Work in a thread
            that takes longer may look as if it took very long.

    Raises:
        ConfigError: a workflow is run on an event loop that is not one of asyncio itself.

    >>> from durably import RetryPolicy, entrypoint, task
    >>> attempts = []
    >>> @task(retry_policy=RetryPolicy(initial_interval=60, backoff_factor=10, jitter=False))
    ... def flaky() -> str:
    ...     attempts.append(1)
    ...     if len(attempts) < 3:
    ...         raise ConnectionError
    ...     return "up again"
    >>> @entrypoint()
    ... def call(_: int) -> str:
    ...     return flaky().result()
    >>> with virtual_clock() as clock:
    ...     print(call.invoke(1), clock.pauses)
    up again [60.0, 128.0]
    """
    clock = VirtualClock(patience)
    before = set_clock(clock)
    try:
        yield clock
    finally:
        set_clock(before)
        clock.release()
