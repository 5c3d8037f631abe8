"""Moves what commits have added to an SQLite database from its log into its file, beside those who commit.

SQLite has the commit do it that makes the log too long: that one waits for two flushes of the disk, tens of milliseconds
where another takes one.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Final

__all__ = ["LONGEST_LOG", "WriteAheadLog"]

MOVE_OVER: Final = 16_000_000
"""How many bytes commits add before they are moved: the flushes cost the same whatever the log's length, and pages that were
written again and again are moved once."""

A_COMMIT: Final = 4 * 4096
"""What a commit adds besides its large values: the pages of its rows and of their indexes, about so many."""

LONGEST_LOG: Final = 16_000
"""From how many pages on a commit moves the log after all, as where commits leave no gap for it to begin anew."""


class WriteAheadLog:
    """The log of one database; a commit is told of under the lock of its connection.

    Args:
        path: the database's path or URI; empty where no other connection can be made to it.
    """

    def __init__(self, path: str) -> None:
        # Whoever deletes the file, or changes the working directory, is not to find another one made.
        self._uri = f"{Path(path).absolute().as_uri()}?mode=rw" if path and not path.startswith("file:") else path
        self._added = 0
        self._mover: Thread | None = None

    def grows(self, size: int) -> None:
        """So many bytes are about to be committed besides small rows; for the estimate, so that it needs no lock."""
        self._added += size

    def committed(self) -> None:
        """A transaction has ended: see whether there is enough to be moved."""
        self._added += A_COMMIT
        if self._added < MOVE_OVER or not self._uri or (self._mover is not None and self._mover.is_alive()):
            return
        self._added = 0
        self._mover = Thread(target=_move, args=(self._uri,), name="durably-sqlite-log", daemon=True)
        try:
            self._mover.start()
        except RuntimeError:  # the program is ending
            self._mover = None

    def rest(self, _is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
        """Wait until nothing is being moved any more."""
        mover, self._mover = self._mover, None
        # When the program ends, such threads are stopped without having ended; and this module may be empty by then.
        if mover is not None and not _is_ending():
            mover.join()


def _move(uri: str) -> None:
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()  # which keeps nobody waiting
    except sqlite3.Error:
        pass  # nothing is lost: it stays in the log, and some commit or the next mover moves it
