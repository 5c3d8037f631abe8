"""The saver's own connection, lent to the body of a task for the length of a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any, Final

from ..._sqlite import Database
from ...errors import StorageError
from ..base import Chunk

__all__ = ["SqliteSession"]

VIEW: Final = ("row_factory", "text_factory")
"""What a body may set on the connection; it is set back."""
MODE: Final = ("isolation_level", "autocommit")
"""What it may not, because it decides when transactions begin and end."""


class SqliteSession:
    """See `durably.checkpoint.session.Session`.

    Args:
        database: whose connection is lent.
        transaction: a transaction on it, as long as it is entered.
        append: appends to a journal on the same connection.
    """

    exclusive = True
    connection: sqlite3.Connection

    def __init__(
        self,
        database: Database,
        transaction: AbstractContextManager[sqlite3.Cursor],
        append: Callable[[Chunk], bool],
    ) -> None:
        self._database = database
        self._transaction = transaction
        self._append = append
        self._open = ExitStack()
        self._before: dict[str, Any] = {}
        self._refused = ""

    def begin(self) -> None:
        """Take the write lock, and have SQLite refuse what would end the transaction."""
        self.connection = connection = self._open.enter_context(self._transaction).connection
        self._before = {name: getattr(connection, name) for name in (*VIEW, *MODE) if hasattr(connection, name)}
        connection.set_authorizer(self._authorize)

    def _authorize(self, action: int, statement: str | None, *_: object) -> int:
        if action != sqlite3.SQLITE_TRANSACTION:
            return sqlite3.SQLITE_OK
        self._refused = self._refused or f"tried to {statement}"
        return sqlite3.SQLITE_DENY

    def breach(self) -> str:
        """See `durably.checkpoint.session.Session.breach`."""
        try:
            _ = self.connection.total_changes
        except sqlite3.ProgrammingError:
            return "closed the connection"
        changed = [name for name in MODE if getattr(self.connection, name, None) != self._before.get(name)]
        return self._refused or (f"changed the {changed[0]} of the connection" if changed else "")

    def finish(self, chunk: Chunk) -> bool:
        """Append and commit."""
        self._take_back(VIEW)
        kept = self._append(chunk)
        if kept:
            self._open.close()
        else:
            self.rollback()
        return kept

    def rollback(self) -> None:
        """Undo everything that the body wrote."""
        if not self._before:
            return
        with suppress(sqlite3.Error):
            self._take_back(VIEW)
        try:
            self._open.__exit__(_Undone, _Undone(), None)
            self._take_back(MODE)
        except (StorageError, sqlite3.Error):  # the body has closed the connection, which undoes everything, too
            self._database.forget()

    def _take_back(self, names: tuple[str, ...]) -> None:
        self.connection.set_authorizer(None)
        for name in names:
            if name in self._before and getattr(self.connection, name) != self._before[name]:
                setattr(self.connection, name, self._before[name])


class _Undone(Exception):
    """Leaves the transaction in the way that rolls it back."""
