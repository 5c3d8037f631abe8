"""The calls that nobody has begun, and how many bodies may be under way. Pure; the run's lock guards both."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .call import TaskFuture

__all__ = ["Limits", "ReadyQueue"]


class ReadyQueue:
    """Calls in the order they were made, deepest first: what a waiting body needs comes before new work.

    Calls that were begun elsewhere in the meantime stay until they reach the front, except for the latest one, which
    leaves at once: so a long sequence of calls keeps nothing alive.
    """

    __slots__ = ("_by_depth",)

    def __init__(self) -> None:
        self._by_depth: list[deque[TaskFuture[Any]]] = []

    def push(self, call: TaskFuture[Any]) -> None:
        """Add a call."""
        while len(self._by_depth) <= call.depth:
            self._by_depth.append(deque())
        self._by_depth[call.depth].append(call)

    def begun(self, call: TaskFuture[Any]) -> None:
        """Somebody has claimed this call."""
        calls = self._by_depth[call.depth]
        if calls and calls[-1] is call:
            calls.pop()

    def first(self) -> TaskFuture[Any] | None:
        """The call to begin next; it stays."""
        for calls in reversed(self._by_depth):
            while calls:
                call: TaskFuture[Any] = calls[0]
                if call.pending:
                    return call
                calls.popleft()
        return None

    def __len__(self) -> int:
        return sum(map(len, self._by_depth))


class Limits:
    """Counts bodies that have no unfinished call of their own: a body that waits holds no slot, however it waits.

    Args:
        bodies: how many may be under way at once, None for any number.
        threads: likewise for sync bodies alone.
    """

    __slots__ = ("_bodies", "_bodies_active", "_threads", "_threads_active")

    def __init__(self, bodies: int | None, threads: int | None) -> None:
        self._bodies = bodies
        self._threads = threads
        self._bodies_active = 0
        self._threads_active = 0

    def __bool__(self) -> bool:
        return self._bodies is not None or self._threads is not None

    def allow(self, call: TaskFuture[Any]) -> bool:
        """Whether the call may begin now."""
        if call.function.is_passive:
            return True
        if self._bodies is not None and self._bodies_active >= self._bodies:
            return False
        return call.function.is_async or self._threads is None or self._threads_active < self._threads

    def count(self, call: TaskFuture[Any]) -> None:
        """The body computes: it has begun, or its last unfinished call has ended."""
        if not (call.counted or call.function.is_passive):
            call.counted = True
            self._bodies_active += 1
            self._threads_active += not call.function.is_async

    def discount(self, call: TaskFuture[Any]) -> None:
        """The body does not compute: it has made a call, or has ended."""
        if call.counted:
            call.counted = False
            self._bodies_active -= 1
            self._threads_active -= not call.function.is_async
