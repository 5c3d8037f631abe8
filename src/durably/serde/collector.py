"""The cyclic garbage collector, kept off while large values are put together."""

from __future__ import annotations

import gc
import os
from threading import Lock

__all__ = ["paused"]


class _Paused:
    """A block during which nothing is collected; such blocks may overlap, on any threads.

    A value that grows to a million parts makes the collector look through all of them again and again, though there is no
    garbage among them: two thirds of the time it takes to read 10 MB.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._blocks = 0
        self._was_on = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._blocks:
                self._was_on = gc.isenabled()
                gc.disable()
            self._blocks += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks and self._was_on:
                gc.enable()

    def forked(self) -> None:
        """In a child: the threads that were in such a block are not there."""
        if self._blocks and self._was_on:
            gc.enable()
        self.__init__()  # type: ignore[misc]  # the lock may be held by one of them


paused = _Paused()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=paused.forked)
