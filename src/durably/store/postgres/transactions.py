"""Transactions in few round trips, tried again when that can do no harm."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..._postgres import Database
from ...errors import DatabaseLocked, DatabaseUnavailable
from .statements import Statement

if TYPE_CHECKING:
    import psycopg

__all__ = ["Answer", "Transactions"]

T = TypeVar("T")

LONGEST_PAUSE: Final = 1.0  # seconds

BEGIN = Statement("begin", {})
SNAPSHOT = Statement("begin transaction isolation level repeatable read read only", {})
COMMIT = Statement("commit", {})
WHICH = Statement("select pg_current_xact_id()::text", {})
BECAME = "select pg_xact_status(%s::text::xid8)"
# The index is followed until enough rows satisfy the rest of the statement.
FOLLOW = Statement(
    "select set_config('hnsw.iterative_scan', 'strict_order', true), set_config('hnsw.ef_search', '200', true)", {}
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave: its rows, or how many it changed."""

    rows: list[tuple[Any, ...]]
    count: int


class _Unknown(DatabaseUnavailable):
    """The connection was lost after a commit was sent; it names the transaction."""

    def __init__(self, message: str, transaction: str, answers: list[Answer]) -> None:
        super().__init__(message)
        self.transaction = transaction
        self.answers = answers


class Transactions:
    """Runs statements together, and again where that is safe.

    Args:
        database: where.
        patience: for how many seconds a server that is busy or away is tried again.
    """

    def __init__(self, database: Database, patience: float) -> None:
        self._database = database
        self._patience = patience

    def read(self, statements: Sequence[Statement]) -> list[Answer]:
        """Run reading statements, which all see one state, in one round trip."""
        return self._patiently(lambda: self._read(statements))

    def repeatable(self, statement: Statement) -> None:
        """Run a statement that leaves the same when it is run twice, in one round trip."""
        self._patiently(lambda: self._read([statement]))

    def write(
        self, statements: Sequence[Statement], then: Callable[[list[Answer]], list[Statement]] | None = None
    ) -> list[Answer]:
        """Run statements in a transaction: one round trip to begin, one for the statements and the commit.

        Args:
            statements: what to run.
            then: given the answers, what else to run before the commit, which takes a round trip of its own then.

        Returns:
            The answers to `statements`; those that are lost with the connection, in a commit that took effect, are empty.

        Raises:
            DatabaseUnavailable: the server was away for too long. It says so where it is not known what became of a commit.
        """
        return self._patiently(lambda: self._write(statements, then))

    def _read(self, statements: Sequence[Statement]) -> list[Answer]:
        with self._database.connection() as connection:
            if len(statements) == 1 and not statements[0].is_nearest:
                return self._carried_out(connection, statements)
            begin = [SNAPSHOT, FOLLOW] if any(one.is_nearest for one in statements) else [SNAPSHOT]
            return self._carried_out(connection, [*begin, *statements, COMMIT])[len(begin) : -1]

    def _write(
        self, statements: Sequence[Statement], then: Callable[[list[Answer]], list[Statement]] | None
    ) -> list[Answer]:
        answers = [Answer([], 0)] * len(statements)
        transaction = ""
        try:
            with self._database.connection() as connection:
                # By itself: a connection that was lost while nobody used it is found out before anything is sent.
                [_, which] = self._carried_out(connection, [BEGIN, WHICH])
                if then is None:
                    transaction = which.rows[0][0]
                    answers = self._carried_out(connection, [*statements, COMMIT])[:-1]
                else:
                    answers = self._carried_out(connection, statements)
                    last = [*then(answers), COMMIT]
                    transaction = which.rows[0][0]
                    self._carried_out(connection, last)
        except DatabaseUnavailable as error:
            if not transaction:
                raise
            raise _Unknown(str(error), transaction, answers) from error
        return answers

    def _carried_out(self, connection: psycopg.Connection[Any], statements: Sequence[Statement]) -> list[Answer]:
        with self._database.pipeline(connection):
            cursors = [self._database.cursor(connection).execute(self._text(one), one.bound) for one in statements]
        return [Answer(one.fetchall() if one.description else [], one.rowcount) for one in cursors]

    def _text(self, statement: Statement) -> bytes:
        return self._database.sql(statement.sql).replace(b"/*filter*/", statement.filter.encode())

    def _patiently(self, run: Callable[[], list[Answer]]) -> list[Answer]:
        """Run it until it works, it cannot, or too much time has passed."""
        patience = _Patience(self._patience)
        while True:
            try:
                return run()
            except _Unknown as lost:
                if self._took_effect(lost, patience):
                    return lost.answers
                patience.pause(lost)
            except (DatabaseLocked, DatabaseUnavailable) as error:
                patience.pause(error)

    def _took_effect(self, lost: _Unknown, patience: _Patience) -> bool:
        """Ask the server what became of a commit."""
        while True:
            try:
                [[status]] = self._database.rows(BECAME, (lost.transaction,))
            except (DatabaseLocked, DatabaseUnavailable):
                status = "unknown"
            if status in ("committed", "aborted"):
                return bool(status == "committed")
            unsure = f"whether the store was changed is not known: the connection was lost in the commit ({lost})"
            patience.pause(DatabaseUnavailable(unsure))


class _Patience:
    """Pauses that grow, for a while."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._pause = 0.005

    def pause(self, error: Exception) -> None:
        """Wait a little; raise the error when the time is over."""
        if time.monotonic() + self._pause > self._end:
            raise error
        time.sleep(self._pause)
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
