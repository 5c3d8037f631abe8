"""How those who follow a run learn at once that this process has written something of it."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from typing import Any

from ..checkpoint.base import BaseCheckpointer, Busy, Work
from ..errors import DatabaseLocked
from .loops import LoopHost
from .steps import Do, Pause, Steps

__all__ = ["Bell", "Bells", "News", "read"]


class Bell:
    """Wakes one who waits, on a thread or on an event loop. A ring that nobody waits for is heard later."""

    __slots__ = ("_lock", "_loop", "rung")

    def __init__(self) -> None:
        self.rung = threading.Event()
        self._lock = threading.Lock()
        self._loop: tuple[LoopHost, asyncio.Event] | None = None

    def ring(self) -> None:
        """There is news; from any thread."""
        with self._lock:
            self.rung.set()
            loop = self._loop
        if loop is not None:
            host, event = loop
            host.post(event.set)

    def listen(self, host: LoopHost | None) -> asyncio.Event:
        """What is set on an event loop when the bell rings, or has rung."""
        event = asyncio.Event()
        with self._lock:
            self._loop = None if host is None else (host, event)
            if self.rung.is_set():
                event.set()
        return event


class News:
    """Wait for a bell, or for some seconds to go by."""

    __slots__ = ("_bell", "_seconds")

    def __init__(self, bell: Bell, seconds: float) -> None:
        self._bell = bell
        self._seconds = seconds

    def block(self) -> None:
        """Sleep."""
        self._bell.rung.wait(self._seconds)

    async def wait(self) -> None:
        """Let the loop run."""
        event = self._bell.listen(LoopHost.of(asyncio.get_running_loop()))
        try:
            async with asyncio.timeout(self._seconds):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            self._bell.listen(None)


class Bells:
    """The bells of those who follow runs, by the runs' numbers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bells: dict[int, list[Bell]] = {}

    def add(self, run_no: int, bell: Bell) -> None:
        """Ring it whenever something of the run has been written."""
        with self._lock:
            self._bells.setdefault(run_no, []).append(bell)

    def remove(self, run_no: int, bell: Bell) -> None:
        """Ring it no more."""
        with self._lock:
            bells = self._bells[run_no]
            bells.remove(bell)
            if not bells:
                del self._bells[run_no]

    def ring(self, run_no: int) -> None:
        """Something of the run has been written."""
        if self._bells:
            with self._lock:
                bells = tuple(self._bells.get(run_no, ()))
            for bell in bells:
                bell.ring()


def read(checkpointer: BaseCheckpointer, work: Work) -> Steps[Any]:
    """Do a work that only reads.

    Raises:
        DurablyError: what the work raised, or what the database did.
    """
    patience = time.monotonic() + checkpointer.patience
    while True:
        try:
            return (yield Do(partial(checkpointer.read, work), inline=checkpointer.inline))
        except Busy as busy:
            if time.monotonic() > patience:
                raise DatabaseLocked(f"{busy}; it stayed so for {checkpointer.patience:g} seconds") from busy
        yield Pause(0.005)
