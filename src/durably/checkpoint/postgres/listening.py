"""Hearing from the server that runs have become due, on a connection and a thread that are there while somebody listens."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

from ..._postgres import Database
from ..._postgres.sources import driver
from ...errors import DurablyError

__all__ = ["Ear"]

AGAIN: Final = 1.0
"""Seconds before it connects again after the connection was lost."""


class Ear:
    """Calls those who listen when a transaction was committed that made a run due, and whenever it may have missed one.

    Args:
        database: whose transactions.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.RLock()
        self._listeners: list[Callable[[], None]] = []
        self._hush: socket.socket | None = None  # closing it ends the thread

    def add(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Call ``heard`` from now on; returns what ends that."""

        def stop() -> None:
            with self._lock:  # nobody is called after this
                if each in self._listeners:
                    self._listeners.remove(each)
                if not self._listeners:
                    self.close()

        each: Callable[[], None] = lambda: heard()  # noqa: E731  # one may listen twice
        with self._lock:
            self._listeners.append(each)
            if self._hush is None:
                self._hush, end = socket.socketpair()
                threading.Thread(target=self._hear, args=(end,), name="durably-listen", daemon=True).start()
        return stop

    def close(self) -> None:
        """End the thread, which closes its connection."""
        with self._lock:
            if self._hush is not None:
                self._hush.close()
                self._hush = None

    def _hear(self, end: socket.socket) -> None:
        with end, selectors.DefaultSelector() as selector:
            selector.register(end, selectors.EVENT_READ)
            while True:
                try:
                    self._listen(selector, end)
                    return
                except (driver().Error, DurablyError):
                    if selector.select(AGAIN):
                        return

    def _listen(self, selector: selectors.BaseSelector, end: socket.socket) -> None:
        """Until it is told to end, or loses its connection."""
        with self._database.connect(autocommit=True) as connection:
            connection.execute("listen durably_due")
            self._tell()  # of what it may have missed before
            key = selector.register(connection.fileno(), selectors.EVENT_READ)
            try:
                while not any(found.fileobj is end for found, _ in selector.select()):
                    if list[Any](connection.notifies(timeout=0)):
                        self._tell()
            finally:
                selector.unregister(key.fileobj)

    def _tell(self) -> None:
        with self._lock:
            for heard in list(self._listeners):
                heard()
