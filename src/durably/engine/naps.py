"""The sleeps of one attempt, and when it leaves memory for the time they take.

An attempt leaves when all that is unfinished in it waits for time: each body for a call it made, each call without any
for its moment. Then nothing could happen before the first of these moments, and a replay brings the run back to where it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ..errors import GraphInterrupt, Stop
from .steps import clock

if TYPE_CHECKING:
    from .call import TaskFuture
    from .schedule import Scheduler

__all__ = ["Naps"]

SHORT: Final = 1.0
"""Seconds that are waited for in memory whoever waits: to replay the run would cost more."""

LOOK: Final = 0.005
"""Seconds from something happening to the look whether only time is waited for: more may happen, and is looked at then."""


class _Nap:
    """A call that is asleep."""

    __slots__ = ("awake", "due", "leaves")

    def __init__(self, due: float) -> None:
        self.due = due
        self.awake = asyncio.Event()
        self.leaves = False


class Naps:
    """The calls of an attempt that are asleep.

    Args:
        scheduler: of the attempt.

    Attributes:
        calls: those that are asleep.
        due: when the first of those ends that have left, None as long as none has.
        recorded: how many records of calls there were when they left.
    """

    __slots__ = ("_armed", "_looking", "_scheduler", "calls", "due", "recorded")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._armed = 0  # timers that run in this process and would not go off in another; guarded by the run's lock
        self._looking = False
        self.calls: dict[TaskFuture[Any], _Nap] = {}
        self.due: float | None = None
        self.recorded = 0

    async def until(self, call: TaskFuture[Any], due: float) -> None:
        """Sleep in the body of a call. On the run's event loop.

        Raises:
            GraphInterrupt: the attempt leaves memory.
            Stop: it has to end.
        """
        nap = _Nap(due)
        with self._scheduler.lock:
            self.calls[call] = nap
        call.run.napping = True  # from now on, whatever ends or begins to wait says so
        try:
            self.stir()
            while (left := due - clock().now()) > 0:
                if call.run.stopping is not None:
                    raise Stop(call.run.stopping)
                if nap.leaves:
                    raise GraphInterrupt
                await clock().nap(left, nap.awake)
        finally:
            with self._scheduler.lock:
                del self.calls[call]

    def stir(self) -> None:
        """Something happened, from any thread: look soon whether only time is waited for now."""
        with self._scheduler.lock:
            look = bool(self.calls) and not self._looking
            self._looking = self._looking or look
        if look:
            host = self._scheduler.host
            host.post(lambda: host.loop.call_later(LOOK, self._look))

    @contextmanager
    def armed(self) -> Iterator[None]:
        """For the length of a block: a timer runs that only this process knows of, and keeps the attempt in memory."""
        with self._scheduler.lock:
            self._armed += 1
        try:
            yield
        finally:
            with self._scheduler.lock:
                self._armed -= 1
            self.stir()

    def _look(self) -> None:
        """Have them leave if there is nothing else to wait for. On the run's event loop, as all of them."""
        with self._scheduler.lock:
            self._looking = False
            if not self.calls or self._armed:
                return
            call, due = next(iter(self.calls)), min(nap.due for nap in self.calls.values())
            *_, root = call.lineage()
            if not all(map(self._only_waits, _unfinished(root))):
                return
            asked = any(body.asked for body in _unfinished(root))
            if not asked and not (call.run.leaves and due - clock().now() > SHORT):
                return
            if self.due is None:
                log = call.run.recorder.log
                self.recorded = 0 if log is None else log.calls
            self.due = due if self.due is None else min(self.due, due)
            for nap in self.calls.values():
                nap.leaves = True
                nap.awake.set()

    def _only_waits(self, call: TaskFuture[Any]) -> bool:
        """Whether a call is asleep, or waits for others. A body that waits for what is none of its calls seems to compute."""
        if call.children:
            return any(child.awaited for child in call.children)
        rests = call.function.rests
        return call in self.calls or (rests is not None and call.running() and rests())


def _unfinished(root: TaskFuture[Any]) -> Iterator[TaskFuture[Any]]:
    """The calls under way, each before those made in its body. The lock is held."""
    calls = [root]
    while calls:
        call = calls.pop()
        calls.extend(call.children or ())
        yield call
