"""Tasks that write rows of their own in the transaction that records their result: both are there, or neither is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..checkpoint.base import Busy, Uncertain
from ..checkpoint.session import Broken
from ..errors import ConfigError, TransactionError
from .patience import Patience
from .steps import Do, Steps

if TYPE_CHECKING:
    from ..checkpoint.records import Record
    from ..checkpoint.session import Session
    from .call import TaskFuture
    from .log import Log

__all__ = ["transacted"]


class InColour:
    """Call a function that has the colour of a task's body."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def block(self) -> Any:
        """Call it."""
        return self.call()

    async def wait(self) -> Any:
        """Await what it gives. A commit under way cannot be stopped, so being cancelled waits for its end."""
        under_way = asyncio.ensure_future(self.call())
        try:
            return await asyncio.shield(under_way)
        except asyncio.CancelledError:
            await asyncio.wait([under_way])
            raise


def transacted(call: TaskFuture[Any]) -> Steps[Any]:
    """One attempt of a transactional task: its rows and its result are written together, or nothing is.

    Where the database is locked, or lost before it has committed, the body runs again in another transaction.

    Raises:
        ConfigError: the run is not stored where the task could write.
        DatabaseLocked: it stayed locked, or away.
        Superseded: another attempt has taken the run over; nothing was written.
        TransactionError: the body tried to end its transaction.
    """
    log = _log_of(call)
    patience = Patience(log.checkpointer)
    while True:
        session = log.checkpointer.session(durable=log.durability == "sync", is_async=call.function.is_async)
        work = _in_session(call, log, session)
        try:
            return (yield from (log.committer.alone(work) if session.exclusive else work))
        except Busy as busy:
            error = patience.spent(busy)
            if error is not None:
                raise error from busy
            yield patience.pause


def _log_of(call: TaskFuture[Any]) -> Log:
    log, what = call.run.recorder.log, f"{call.describe()} is transactional"
    if log is None or not call.env.journaled:
        raise ConfigError(
            f"{what}: it writes its rows in the database where its result is recorded, and this workflow records nothing. "
            "Give it a checkpointer on SQLite or Postgres."
        )
    if log.durability == "exit":
        raise ConfigError(
            f'{what}: its result is written with its rows, and durability "exit" writes nothing before the end. '
            'Use "async" or "sync".'
        )
    return log


def _in_session(call: TaskFuture[Any], log: Log, session: Session) -> Steps[Any]:
    try:
        yield InColour(session.begin)
        value = yield from _worked(call, session)
        value, to_record = call.run.returned(call, value)
        record = call.run.recorder.record_of(call, to_record)
        writing = _written(call, log, session, record)
        yield from (writing if session.exclusive else log.committer.alone(writing))
    except GeneratorExit:
        raise  # nobody is left to wait for anything
    except BaseException:
        yield InColour(session.rollback)
        raise
    call.run.recorder.keep_for_retries(call, record)
    call.recorded = True
    return value


def _worked(call: TaskFuture[Any], session: Session) -> Steps[Any]:
    """Run the body on the connection."""
    log = call.run.recorder.log
    assert log is not None
    call.connection = session.connection
    try:
        with log.committer.lent(session):
            value = yield call
    except Exception as error:
        _check(call, session, error)
        raise
    finally:
        call.connection = None
    _check(call, session, None)
    return value


def _check(call: TaskFuture[Any], session: Session, error: Exception | None) -> None:
    breach = session.breach()
    if breach:
        raise _broken(call, breach) from error


def _broken(call: TaskFuture[Any], breach: str) -> TransactionError:
    return TransactionError(
        f"the body of {call.describe()} {breach}: its transaction is committed, with its result, when it returns, and "
        "rolled back when it raises. Leave both to the task, and use savepoints for parts that may fail."
    )


def _written(call: TaskFuture[Any], log: Log, session: Session, record: Record) -> Steps[None]:
    """Commit, with all that the log holds before this record."""
    count = len(log.pending)
    chunk = log.chunk(count, record)
    try:
        kept = yield InColour(partial(session.finish, chunk))
    except Broken as broken:
        raise _broken(call, str(broken)) from broken
    except Uncertain as uncertain:
        kept = yield from _found_out(call, log, uncertain)
    log.committer.written(log, count, kept)
    log.calls += 1
    if log.error is not None:
        raise log.error


def _found_out(call: TaskFuture[Any], log: Log, uncertain: Uncertain) -> Steps[bool]:
    """Whether the fence held, where the transaction took effect; `Busy` where it did not."""
    patience = Patience(log.checkpointer)
    while True:
        try:
            results = yield Do(uncertain.find_out, inline=False)
        except Busy as busy:
            error = patience.spent(busy)
            if error is not None:
                call.recorded = True  # perhaps; a failure recorded after it would count
                call.run.stop(error)
                raise error from uncertain
            yield patience.pause
        else:
            if results is None:
                raise Busy(str(uncertain))
            return bool(results[0])
