"""One transaction: reading in round trips that works share, then writing everything in one."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..._postgres import Database
from ..._postgres.sources import driver
from . import reading, writing
from .forms import Statement, joined
from .reading import Memory, Want
from .view import Writes

if TYPE_CHECKING:
    from typing import Self

    import psycopg

    from ..._postgres.database import Lent

__all__ = ["Conflict", "Session"]

# A client that stops in the middle must not keep others from what it has locked.
GUARD = """
    select set_config('idle_in_transaction_session_timeout', '10s', true),
    case when current_setting('server_version_num')::int >= 170000 then set_config('transaction_timeout', '60s', true) end"""
BEGIN = ["begin", GUARD]
READ = "begin isolation level repeatable read"  # not read-only, because numbers are taken


class Conflict(Exception):
    """Something is not any more as it was read; nothing was written."""


class Session:
    """Takes a connection when the first statement is sent.

    Attributes:
        committing: whether a commit has been sent, so that losing the connection leaves its outcome unknown.
        has_flushed: whether something has been written already.
    """

    def __init__(self, database: Database, *, durable: bool) -> None:
        self.committing = False
        self.has_flushed = False
        self._database = database
        self._durable = durable
        self._lent: Lent | None = None
        self._connection: psycopg.Connection[Any] | None = None
        self._state = ""  # of the transaction: "reading", "writing" or none
        self._has_looked = False  # whether something was read before a transaction had begun

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._lent is not None:
            self._lent.__exit__(kind, error, traceback)

    @property
    def starts_over(self) -> bool:
        """Whether reading more means reading everything again."""
        return self._has_looked and not self._state

    def read(self, wants: list[Want], memory: Memory) -> None:
        """Read what is wanted in one round trip, from one state of the database together with all that was read before.

        Most works read once. So what is read first by a single statement needs no transaction, and a second read is the
        first of one, in which all is read.
        """
        locking = any(want[0] in reading.LOCKING for want in wants)
        if self.starts_over and not locking:
            wants = [*memory.asked, *wants]
            memory.clear()
        asked = list(reading.statements(wants, memory))
        memory.asked += wants
        if len(asked) == 1 and not (self._state or self._has_looked or locking):
            words, self._has_looked = [], True
        else:
            words = self._beginning(locking)
        answers = self._send([*((word, ()) for word in words), *((statement, bound) for statement, bound, _ in asked)])
        for rows, (_, _, take) in zip(answers[len(words) :], asked, strict=True):
            take(rows)

    def _beginning(self, locking: bool) -> list[str]:
        """What brings the transaction into a state for reading."""
        if not locking:
            words = [] if self._state else [READ]
            self._state = self._state or "reading"
            return words
        words = {"": BEGIN, "reading": ["commit", *BEGIN], "writing": []}[self._state]
        self._state = "writing"
        return words

    def flush(self, writes: Writes, memory: Memory) -> None:
        """Write without committing; what is read from now on is what is there then."""
        self.has_flushed = True
        self._write(self._beginning(True), joined(writing.parts(writes, self._durable)))
        memory.found.clear()

    def commit(self, writes: Writes, writer: str, no: int) -> None:
        """Write and commit, as transaction ``no`` of ``writer``.

        Raises:
            Conflict: nothing was written.
        """
        self.committing = True
        statements = list(joined([*writing.parts(writes, self._durable), writing.last(writer, no)]))
        if len(statements) == 1 and self._state != "writing":  # it is a transaction of its own
            words = ["commit"] if self._state else []
        else:
            words, statements = self._beginning(True), [*statements, ("commit", ())]
        self._write(words, statements)
        self._state = ""

    def end(self) -> None:
        """Let go of what was only read."""
        if self._state:
            self._send([("commit", ())])
            self._state = ""

    def _write(self, words: list[str], statements: Iterable[Statement]) -> None:
        try:
            self._send([*((word, ()) for word in words), *statements])
        except driver().Error as error:
            if error.sqlstate in writing.CONFLICTS:
                raise Conflict(str(error)) from None
            raise

    def _send(self, statements: list[Statement]) -> list[Any]:
        """The rows that each statement answers with."""
        if self._connection is None:
            lent = self._database.connection()
            self._connection, self._lent = lent.__enter__(), lent
        connection, database = self._connection, self._database
        if len(statements) == 1:
            return [database.ask(connection, *statements[0])]
        with database.pipeline(connection):
            return [database.execute(connection, statement, bound) for statement, bound in statements]
