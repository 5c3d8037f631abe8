"""A lock that is held for the length of a commit, and that both threads and event loops wait for.

Whoever waits for it mostly wants something done that the one who holds it may do, too. So giving it back wakes at once all
whose wish was fulfilled, and hands the gate to the first thread whose was not: nobody has to hold it in turn only to see
that there is nothing left to do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from threading import Lock

__all__ = ["Acquire", "Gate"]


class _Waiter:
    """A thread that waits."""

    __slots__ = ("done", "holds", "woken")

    def __init__(self, done: Callable[[], bool]) -> None:
        self.done = done
        self.holds = False  # whether it was handed the gate
        self.woken = Lock()
        self.woken.acquire()


class Gate:
    """The lock."""

    __slots__ = ("_guard", "_held", "_loops", "_threads")

    def __init__(self) -> None:
        self._guard = Lock()
        self._held = False
        self._threads: deque[_Waiter] = deque()
        self._loops: dict[asyncio.AbstractEventLoop, asyncio.Event] = {}

    def acquire(self) -> bool:
        """Take it, if it is free."""
        guard = self._guard
        guard.acquire()  # twice for every commit: `with` would take twice as long
        free = not self._held
        self._held = True
        guard.release()
        return free

    def wait(self, done: Callable[[], bool]) -> bool:
        """Block until it is taken, or until ``done``; whether it was taken."""
        while not self.acquire():
            waiter = _Waiter(done)
            try:
                self._line_up(waiter)
                waiter.woken.acquire()
            except BaseException:
                self._leave(waiter)
                raise
            if waiter.holds or done():
                return waiter.holds
        return True

    def _line_up(self, waiter: _Waiter) -> None:
        with self._guard:
            if self._held:
                self._threads.append(waiter)
            else:
                self._held = waiter.holds = True
                waiter.woken.release()

    def _leave(self, waiter: _Waiter) -> None:
        """Somebody interrupts a thread that waits."""
        with self._guard:
            if waiter in self._threads:
                self._threads.remove(waiter)
        if waiter.holds:
            self.release()

    async def released(self) -> None:
        """Wait on the running event loop until it may be free."""
        with self._guard:
            if not self._held:
                return
            event = self._loops.setdefault(asyncio.get_running_loop(), asyncio.Event())
        await event.wait()

    def release(self) -> None:
        """Give it back, or on. Each loop is woken once, however many of its tasks wait."""
        guard = self._guard
        guard.acquire()
        if not (self._threads or self._loops):
            self._held = False
            guard.release()
            return
        guard.release()
        woken, loops = self._given_back()
        for waiter in woken:
            waiter.woken.release()
        for loop, event in loops.items():
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # it has been closed
                pass

    def _given_back(self) -> tuple[list[_Waiter], dict[asyncio.AbstractEventLoop, asyncio.Event]]:
        with self._guard:
            loops, self._loops, self._held = self._loops, {}, False
            woken = [waiter for waiter in self._threads if waiter.done()]
            self._threads = deque(waiter for waiter in self._threads if waiter not in woken)
            if self._threads:
                first = self._threads.popleft()
                first.holds = self._held = not loops  # where loops wait, too, whoever comes first takes it
                woken.append(first)
        return woken, loops


class Acquire:
    """Take a gate, unless ``done`` says that this is not needed any more; whether it was taken."""

    __slots__ = ("done", "gate")

    def __init__(self, gate: Gate, done: Callable[[], bool] = lambda: False) -> None:
        self.gate = gate
        self.done = done

    def block(self) -> bool:
        """Wait as a thread."""
        return self.gate.wait(self.done)

    async def wait(self) -> bool:
        """Wait with the others of the loop."""
        while not self.done():
            if self.gate.acquire():
                return True
            await self.gate.released()
        return False
