"""Who writes, and how a commit that nobody heard the end of is found out about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final
from uuid import uuid4

from ..._postgres import Database
from ...errors import DatabaseLocked, DatabaseUnavailable
from ..rows import Away, Busy, Uncertain
from .writing import BURN, FOUND_OUT

__all__ = ["Lost", "Writer", "Writers", "translated"]


class Lost(Exception):
    """The server cannot be reached, or not any more."""


@dataclass(slots=True)
class Writer:
    """Counts the transactions that follow one another under one name in the table of commits."""

    name: str = field(default_factory=lambda: uuid4().hex)
    no: int = 0


class Writers:
    """The writers of one process to a database: as many as write at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._idle: list[Writer] = []

    def take(self) -> Writer:
        """A writer that nobody else uses, at its next transaction."""
        try:
            writer = self._idle.pop()
        except IndexError:
            writer = Writer()
        writer.no += 1
        return writer

    def give(self, writer: Writer) -> None:
        """Its transaction has been committed; one whose transaction is uncertain does not come back before that is known."""
        self._idle.append(writer)

    def uncertain(self, lost: Exception, writer: Writer, results: Callable[[], list[Any]]) -> Uncertain:
        """What is raised when the connection is lost in a commit; ``results`` is asked if it took effect."""

        def find_out() -> list[Any] | None:
            try:
                with translated:
                    took_effect = self._took_effect(writer)
                    found = results() if took_effect else None
            except Lost as still:
                raise Away(str(still)) from still
            self.give(writer)
            return found

        return Uncertain(str(lost), find_out)

    def _took_effect(self, writer: Writer) -> bool:
        """Whether a transaction was committed; if not, it never will be, even if the server is still at it."""
        with self._database.transaction() as execute:
            execute(BURN, (writer.name, writer.no))
            row = execute(FOUND_OUT, (writer.name,)).fetchone()
        return row == (writer.no, False)


class Translated:
    """A block that tells the errors of a database that pass from the others."""

    __slots__ = ()

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, DatabaseLocked):
            raise Busy(str(error)) from error
        if isinstance(error, DatabaseUnavailable):
            raise Lost(str(error)) from error


translated: Final = Translated()
