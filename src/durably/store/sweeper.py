"""Deletes expired items in the background, for stores that are read more than written."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock, Thread

__all__ = ["Sweeper"]


class Sweeper:
    """Calls a sweep now and at an interval, in a thread of its own, until stopped.

    Args:
        sweep: deletes what has expired.
        seconds: the interval.
    """

    def __init__(self, sweep: Callable[[], object], seconds: float) -> None:
        self._sweep = sweep
        self._seconds = seconds
        self._stopping = Event()
        self._lock = Lock()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs already."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stopping = Event()
                self._thread = Thread(
                    target=self._run, args=(self._stopping,), name="durably-store-sweeper", daemon=True
                )
                self._thread.start()

    def stop(self, timeout: float | None = None) -> bool:
        """Stop the thread; returns whether it has ended within `timeout` seconds."""
        with self._lock:
            self._stopping.set()
            thread, self._thread = self._thread, None
        if thread is None:
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def _run(self, stopping: Event) -> None:
        while not stopping.is_set():
            try:
                self._sweep()
            except Exception:
                # A database that is locked now may be free at the next turn.
                import logging

                logging.getLogger("durably").warning("expired items could not be swept", exc_info=True)
            stopping.wait(self._seconds)
