"""Group commit without a writer thread.

Records gather in the log of their attempt. Whoever needs something on disk becomes the leader: it writes all that has
gathered, for every run, in one transaction, and the others find theirs written. What nobody waits for is written by
whoever records next once it is a few milliseconds old, or by the sentinel.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..checkpoint.base import BaseCheckpointer, Busy, Uncertain, Work
from ..errors import DurablyError, Superseded, TransactionError
from .gate import Acquire, Gate
from .journal import SAID, Record
from .log import Batch, Log, Ticket
from .news import Bells
from .patience import Patience
from .steps import TURN, Do, Steps
from .threads import pool, sentinel

if TYPE_CHECKING:
    from ..checkpoint.session import Session

__all__ = ["Committer", "Log"]

T = TypeVar("T")

GATHER: Final = 0.005
"""Seconds for which records may wait for company."""


class Committer:
    """All writes of this process to one database."""

    def __init__(self, checkpointer: BaseCheckpointer) -> None:
        self.checkpointer = checkpointer
        self.owner: Any = None  # this process as the holder of threads; made when first needed
        self.bells = Bells()  # of those who follow runs
        self._lock = threading.Lock()  # guards the two lists
        self._leading = Gate()  # held while writing
        self._dirty: list[Log] = []
        self._tickets: list[Ticket] = []
        self._oldest = 0.0
        self._patience = Patience(checkpointer)  # with what nobody waits for; guarded by the leading lock
        self._lent_on = 0  # the thread on which a body has the connection
        self._uncertain: tuple[Batch, Uncertain] | None = None  # what may be on disk; guarded by the leading lock

    @staticmethod
    def of(checkpointer: BaseCheckpointer) -> Committer:
        """The one committer of ``checkpointer``."""
        if checkpointer.committer is None:
            with _making:
                if checkpointer.committer is None:
                    checkpointer.committer = Committer(checkpointer)
        committer: Committer = checkpointer.committer
        return committer

    def append(self, log: Log, record: Record) -> None:
        """Take a record of ``log``."""
        lock = self._lock
        lock.acquire()
        log.pending.append(record)
        log.appended += 1
        fresh = not log.dirty and log.durability != "exit"
        if fresh:
            log.dirty = True
            if not self._dirty:
                self._oldest = time.monotonic()
            self._dirty.append(log)
        lock.release()
        if log.durability == "exit" or (log.durability == "sync" and record.kind != SAID):
            return  # what a call returned is about to be flushed
        if fresh:
            sentinel.watch(self, GATHER)
        elif self.checkpointer.inline and time.monotonic() - self._oldest > GATHER:
            self.lead()

    def note(self, log: Log) -> None:
        """Have the next leader write what ``log`` holds."""
        with self._lock:
            if not log.dirty and log.pending:
                log.dirty = True
                self._dirty.append(log)

    def perform(self, work: Work, *, durable: bool = False) -> Steps[Any]:
        """Do ``work`` in a transaction that others may share; after the records noted before it.

        Raises:
            DurablyError: what the work raised, or what the database did.
        """
        ticket = Ticket(work, durable)
        with self._lock:
            self._tickets.append(ticket)
        try:
            yield from self.until(ticket.is_done)
        except BaseException:  # cancelled: nobody is left who could use what the work does
            self._withdraw(ticket)
            raise
        if ticket.error is not None:
            raise ticket.error
        return ticket.result

    def _withdraw(self, ticket: Ticket) -> None:
        with self._lock:
            ticket.done = True  # so that it is not put back either
            if ticket in self._tickets:
                self._tickets.remove(ticket)

    def until(self, done: Callable[[], bool]) -> Steps[None]:
        """Lead or follow until ``done``."""
        if self._lent_on == threading.get_ident():
            raise TransactionError(
                "the body of a transactional task asks durably for something that is stored in the same database, which is "
                "kept for the task until it ends. Ask before or after the task, or use its connection."
            )
        yield TURN  # on an event loop others may join
        patience: Patience | None = None
        while not done():
            if not (self._leading.acquire() or (yield Acquire(self._leading, done))):
                return
            try:
                if done():
                    return
                if self.checkpointer.inline:
                    self._write()
                else:
                    yield Do(self._write, inline=False)
            except Busy as busy:
                patience = patience or Patience(self.checkpointer)
                error = patience.spent(busy)
                if error is not None:
                    self._fail(error)
            finally:
                self._leading.release()
            if patience is not None and not done():
                yield patience.pause

    def alone(self, steps: Steps[T]) -> Steps[T]:
        """Go through steps during which nobody else writes to the database in this process.

        Raises:
            Busy: nobody knows yet what has been written before them.
        """
        yield Acquire(self._leading)
        try:
            if self._uncertain is not None:
                yield Do(partial(self._find_out, *self._uncertain), inline=self.checkpointer.inline)
            return (yield from steps)
        finally:
            self._leading.release()

    @contextmanager
    def lent(self, session: Session) -> Iterator[None]:
        """While a body has the connection of an exclusive session, its thread cannot wait for another commit."""
        self._lent_on = threading.get_ident() if session.exclusive else 0
        try:
            yield
        finally:
            self._lent_on = 0

    def lead(self) -> None:
        """Write what there is, unless somebody is at it or the database is locked just now."""
        if self._leading.acquire():
            try:
                self._write()
            except Busy as busy:
                error = self._patience.spent(busy)
                if error is not None:
                    self._fail(error)
            else:
                self._patience = Patience(self.checkpointer)
            finally:
                self._leading.release()

    def tick(self, now: float) -> float | None:
        """For the sentinel: write what nobody waits for."""
        if self._waits() and now - self._oldest > GATHER / 2:
            if self.checkpointer.inline:
                self.lead()
            else:  # what takes a round trip must not hold up the sentinel
                pool.run(self.lead)
        return max(GATHER, self._patience.pause.seconds) if self._waits() else None

    def _waits(self) -> bool:
        return bool(self._dirty) or self._uncertain is not None

    def _write(self) -> None:
        """One transaction with everything that has gathered. The leading lock is held."""
        if self._uncertain is not None:
            self._find_out(*self._uncertain)
        with self._lock:
            if not self._dirty and not self._tickets:
                return
            batch = Batch(self._dirty, self._tickets)
            self._dirty, self._tickets = [], []
            for log in batch.logs:
                log.dirty = False
        try:
            results = batch.transact(self.checkpointer)
        except Busy:
            self._put_back(batch)
            raise
        except Uncertain as uncertain:
            self._uncertain = batch, uncertain
            self._find_out(batch, uncertain)
        except Exception as error:
            self._refuse(batch, error)
        else:
            self._settle(batch, results)

    def _find_out(self, batch: Batch, uncertain: Uncertain) -> None:
        """Settle what a transaction wrote that may have taken effect; until then nothing else is written.

        Raises:
            Busy: the database cannot say.
        """
        try:
            results = uncertain.find_out()
        except Busy:
            raise
        except Exception as error:
            self._uncertain = None
            self._refuse(batch, error)
            return
        self._uncertain = None
        if results is None:
            self._put_back(batch)
        else:
            self._settle(batch, results)

    def _settle(self, batch: Batch, results: list[Any]) -> None:
        for log, count, kept in zip(batch.logs, batch.counts, results, strict=False):
            self.written(log, count, kept)
        for ticket, result in zip(batch.tickets, results[len(batch.logs) :], strict=True):
            ticket.result, ticket.error = (None, result) if isinstance(result, DurablyError) else (result, None)
            ticket.done = True

    def written(self, log: Log, count: int, kept: bool) -> None:
        """The first records of a log are on disk, or its fence did not hold. The leading lock is held."""
        if not kept:  # before anybody finds the records written, who waits for that without a lock
            log.error = Superseded(
                "another attempt has taken this run over: this one can write nothing any more. "
                "Its finished work up to then is recorded and will be reused."
            )
        with self._lock:
            del log.pending[:count]
            log.written += count
            if log.dirty and not log.pending:
                log.dirty = False
                self._dirty.remove(log)
        self.bells.ring(log.run_no)

    def _put_back(self, batch: Batch) -> None:
        with self._lock:
            for log in batch.logs:
                if not log.dirty:
                    log.dirty = True
                    self._dirty.append(log)
            self._tickets[:0] = [ticket for ticket in batch.tickets if not ticket.done]

    def _fail(self, error: Exception) -> None:
        """Give up what waits to be written, and what may have been. The leading lock is held."""
        with self._lock:
            batch = Batch(self._dirty, self._tickets)
            self._dirty, self._tickets = [], []
        self._refuse(batch, error)
        if self._uncertain is not None:
            self._refuse(self._uncertain[0], error)
            self._uncertain = None

    def _refuse(self, batch: Batch, error: Exception) -> None:
        for log in batch.logs:
            log.error = error
        for ticket in batch.tickets:
            ticket.error = error
            ticket.done = True


_making = threading.Lock()
