"""One algorithm, two ways of waiting.

Whatever may have to wait is written as a generator that yields *steps*. A step knows how to be waited for on a thread
(`Step.block`) and on an event loop (`Step.wait`). `drive` and `adrive` run such a generator in either way; nothing else
in the engine exists in two colours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from .threads import pool

__all__ = [
    "TURN",
    "Clock",
    "Do",
    "Pause",
    "Rest",
    "Step",
    "Steps",
    "adrive",
    "clock",
    "drive",
    "set_clock",
]

T = TypeVar("T")


class Step(Protocol):
    """Something to wait for."""

    def block(self) -> Any:
        """Wait on this thread."""

    def wait(self) -> Awaitable[Any]:
        """Wait on the running event loop: what to await there."""
        ...


Steps: TypeAlias = Generator[Step, Any, T]


def drive(steps: Steps[T]) -> T:
    """Run ``steps`` on this thread, blocking where they wait."""
    try:
        step = next(steps)
        while True:
            try:
                value = step.block()
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def adrive(steps: Steps[T]) -> T:
    """Run ``steps`` on the running event loop."""
    try:
        step = next(steps)
        while True:
            try:
                value = await step.wait()
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


class Pause:
    """Let some seconds go by before looking again, whatever the clock in use."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def block(self) -> None:
        """Sleep."""
        time.sleep(self.seconds)

    async def wait(self) -> None:
        """Let the loop run."""
        await asyncio.sleep(self.seconds)


NAP: Final = 1.0
"""Seconds between two looks at the clock of somebody who waits for a moment: a machine that was suspended, or whose
clock is set, wakes him in time, and so does the end of the attempt."""


class Clock:
    """How time goes by for workflows. Tests put another one in its place."""

    longest_nap = NAP

    def now(self) -> float:
        """What time it is, in seconds since the epoch."""
        return time.time()

    def idle(self, seconds: float) -> float:
        """Nothing is to be done for some seconds; returns how many of them somebody has to wait for."""
        return seconds

    def sleep(self, seconds: float) -> None:
        """Let time go by on this thread."""
        time.sleep(seconds)

    async def sleep_on_loop(self, seconds: float) -> None:
        """Let time go by on the running event loop."""
        await asyncio.sleep(seconds)

    async def nap(self, seconds: float, awake: asyncio.Event) -> None:
        """Let at most that much time go by on the running event loop, for somebody who then looks at the clock again."""
        try:
            async with asyncio.timeout(min(seconds, self.longest_nap)):
                await awake.wait()
        except TimeoutError:
            pass

    def attend(self, loop: asyncio.AbstractEventLoop) -> None:
        """A run begins on this event loop, whose timers are its own."""


_clock = Clock()


def clock() -> Clock:
    """The clock in use."""
    return _clock


def set_clock(clock: Clock) -> Clock:
    """Put another clock in its place; returns the one that was there."""
    global _clock
    before, _clock = _clock, clock
    return before


class Rest:
    """Let some seconds go by that belong to the workflow, such as those before a retry."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def block(self) -> None:
        """Sleep by the clock in use."""
        _clock.sleep(self.seconds)

    async def wait(self) -> None:
        """Let the loop run."""
        await _clock.sleep_on_loop(self.seconds)


class Turn:
    """Give other callbacks of the event loop one turn; a thread has nothing to give."""

    __slots__ = ()

    def block(self) -> None:
        """Go on at once."""

    async def wait(self) -> None:
        """Come back after the callbacks that are ready now."""
        await asyncio.sleep(0)


TURN: Final = Turn()


class Do(Generic[T]):
    """Make a call that may block; on an event loop in a thread, unless it is short enough to be made ``inline``."""

    __slots__ = ("call", "inline")

    def __init__(self, call: Callable[[], T], *, inline: bool) -> None:
        self.call = call
        self.inline = inline

    def block(self) -> T:
        """Make it here."""
        return self.call()

    async def wait(self) -> T:
        """Make it here or in a thread. A call under way cannot be stopped, so being cancelled waits for its end."""
        return self.call() if self.inline else await _Elsewhere(self.call).wait()


class _Elsewhere(Generic[T]):
    """A call that is made on a thread of the pool while a coroutine waits. An executor takes twice as long there and back."""

    __slots__ = ("_call", "_ended", "_error", "_loop", "_value", "_waiter")

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] = self._loop.create_future()
        self._error: BaseException | None = None
        self._ended = False

    async def wait(self) -> T:
        """Have it made; being cancelled, however often, waits for its end."""
        pool.run(self._make)
        cancelled: asyncio.CancelledError | None = None
        while not self._ended:
            try:
                await self._waiter
            except asyncio.CancelledError as error:
                cancelled, self._waiter = error, self._loop.create_future()
        raised, self._error = cancelled or self._error, None
        try:
            if raised is not None:
                raise raised
        finally:
            del raised, cancelled  # they have this frame in their traceback
        return self._value

    def _make(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # is raised where it is waited for
            self._error = error
        self._ended = True
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop has been closed
            pass

    def _wake(self) -> None:
        if not self._waiter.done():
            self._waiter.set_result(None)
