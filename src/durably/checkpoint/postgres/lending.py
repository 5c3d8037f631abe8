"""A connection of its own, lent to the body of a task for the length of a transaction."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, NoReturn, TypeAlias

from ..._postgres import Database
from ..._postgres.sources import driver
from ..rows import Away, Chunk
from ..session import Broken
from .writers import Lost, Writers, translated
from .writing import appended

__all__ = ["PostgresSession"]

# The journal is appended to at what is there when the body ends, so the transaction must see what others commit meanwhile.
ISOLATION: Final = b"set transaction isolation level read committed"
LEND: Final = "insert into {schema}.durably_lent values (%s), (%s)"
TAKE_BACK: Final = """
    with taken as (delete from {schema}.durably_lent where token = %s returning 1)
    select count(*), set_config('idle_in_transaction_session_timeout', '10s', true) from taken"""
"""A process that stops after this must not keep others from the thread it has locked."""

Talk: TypeAlias = Generator[Any, Any, Any]
"""What is said to the server, in either colour: what an async connection gives is awaited, what a sync one gives is there."""


def blocking(talk: Talk) -> Any:
    """Go through it on a sync connection."""
    answer = None
    while True:
        try:
            answer = talk.send(answer)
        except StopIteration as end:
            return end.value


async def awaiting(talk: Talk) -> Any:
    """Go through it on an async connection."""
    step: Callable[[], Any] = partial(next, talk)
    while True:
        try:
            asked = step()
        except StopIteration as end:
            return end.value
        try:
            answer = await asked
        except BaseException as error:
            step = partial(talk.throw, error)
        else:
            step = partial(talk.send, answer)


class PostgresSession:
    """See `durably.checkpoint.session.Session`.

    Args:
        database: where it connects to.
        writers: mark the commit, so that its outcome can be found out.
        durable: whether it must survive a power cut.
        is_async: whether the body is a coroutine function.
    """

    exclusive = False
    connection: Any = None

    def __init__(self, database: Database, writers: Writers, *, durable: bool, is_async: bool) -> None:
        self._database = database
        self._writers = writers
        self._durable = durable
        self._is_async = is_async
        self._go_through: Callable[[Talk], Any] = awaiting if is_async else blocking
        self._token = secrets.randbits(63)
        self._refused = ""

    def begin(self) -> Any:
        """Connect, and have the server refuse any commit but that of `finish`."""
        return self._go_through(self._begin())

    def finish(self, chunk: Chunk) -> Any:
        """Append and commit."""
        return self._go_through(self._finish(chunk))

    def rollback(self) -> Any:
        """Undo everything that the body wrote."""
        return self._go_through(self._end(b"rollback"))

    def breach(self) -> str:
        """See `durably.checkpoint.session.Session.breach`."""
        connection = self.connection
        if connection.broken:
            raise Away(f"the connection of a transactional task to {self._database.name} was lost")
        if connection.closed:
            return "closed the connection"
        is_over = connection.info.transaction_status == driver().pq.TransactionStatus.IDLE
        return self._refused or ("ended its transaction" if is_over else "")

    def _begin(self) -> Talk:
        with self._passing():
            self.connection = yield self._database.connect(is_async=self._is_async)
            yield self.connection.execute(ISOLATION)
            yield self.connection.execute(self._database.sql(LEND), (self._token, self._token))
        for word in ("commit", "rollback"):
            setattr(self.connection, word, self._refusal(word))

    def _refusal(self, word: str) -> Callable[[], NoReturn]:
        def refuse() -> NoReturn:
            self._refused = self._refused or f"tried to {word.upper()}"
            raise driver().ProgrammingError(f"{word}() is not for the body of a transactional task to call")

        return refuse

    def _finish(self, chunk: Chunk) -> Talk:
        if self.connection.info.transaction_status == driver().pq.TransactionStatus.INERROR:
            raise Broken("went on after the server had refused a statement, which ends its transaction")
        writer = self._writers.take()
        with self._passing():
            taken = yield from self._row(TAKE_BACK, (self._token,))
            if taken[0] != 2:
                raise Broken("ended its transaction, and began another")
            kept = yield from self._row(*appended([chunk], writer.name, writer.no, self._durable))
        if not kept[0]:
            yield from self._end(b"rollback")
            return False
        try:
            with translated, self._explained():
                yield self.connection.execute(b"commit")
        except Lost as lost:
            yield from self._end()
            raise self._writers.uncertain(lost, writer, lambda: [True]) from lost
        self._writers.give(writer)
        yield from self._end()
        return True

    def _row(self, statement: str, bound: tuple[Any, ...]) -> Talk:
        cursor = self.connection.cursor(binary=True, row_factory=driver().rows.tuple_row)
        yield cursor.execute(self._database.sql(statement), bound)
        return (yield cursor.fetchone())

    def _end(self, *words: bytes) -> Talk:
        """Let the connection go, with whatever the body has set on it."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        with suppress(driver().Error):
            for word in words:
                yield connection.execute(word)
        yield connection.close()

    @contextmanager
    def _passing(self) -> Iterator[None]:
        """Nothing is committed yet, so that losing the connection is as if nothing had been."""
        try:
            with translated, self._explained():
                yield
        except Lost as lost:
            raise Away(str(lost)) from lost

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except driver().Error as error:
            raise self._database.explained(error) from error
