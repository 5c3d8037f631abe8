"""The replay of a block that ran out of time: what had not happened by then does not happen in it this time either."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .call import TaskFuture
    from .identity import Key
    from .journal import Entry

__all__ = ["Cutoff"]


class Cutoff:
    """Holds the calls of a block that were not done when its time ran out, until the block has ended.

    Args:
        due: the calls recorded before the time ran out that the block, or a branch of it, is still to make.
        outer: the same of a block around this one.
    """

    __slots__ = ("_due", "_ended", "_held", "_lock", "_outer", "taken")

    def __init__(self, due: set[Key], outer: Cutoff | None) -> None:
        self._due = due
        self._outer = outer
        self._held: list[tuple[TaskFuture[Any], Entry | None]] = []
        self._ended = False
        self._lock = Lock()
        self.taken = 0  # how many calls were made, as a sign of life

    @property
    def complete(self) -> bool:
        """Whether every call that had been recorded in time has been made again."""
        return not self._due

    def take(self, key: Key) -> None:
        """A fact is met again."""
        with self._lock:
            self.taken += 1
            self._due.discard(key)
        if self._outer is not None:
            self._outer.take(key)

    def holds(self, call: TaskFuture[Any], entry: Entry | None) -> bool:
        """Keep a call that was not done in time from being begun or settled; False for one that was."""
        with self._lock:
            self.taken += 1
            in_time = entry is not None and call.key in self._due
            self._due.discard(call.key)
            if not (in_time or self._ended):
                call.begin()
                self._held.append((call, entry))
                return True
        return self._outer is not None and self._outer.holds(call, entry)

    def open(self) -> None:
        """The block has come to where its time ran out: calls made from now on were made after that the first time, too."""
        with self._lock:
            self._ended = True

    def release(self) -> list[tuple[TaskFuture[Any], Entry | None]]:
        """The block has been told; returns the calls that were held, each with its record if it has one."""
        with self._lock:
            self._ended = True
            held, self._held = self._held, []
        if self._outer is None:
            return held
        return [(call, entry) for call, entry in held if not self._outer.holds(call, entry)]
