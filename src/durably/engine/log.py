"""What waits to be written: the records of an attempt, and work that somebody waits for; and what one transaction takes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..checkpoint.base import BaseCheckpointer, Chunk, Transaction, Work
from .journal import FORGOTTEN, Record, decode_records, encode_records
from .steps import Steps

if TYPE_CHECKING:
    from ..types import Durability
    from .commit import Committer

__all__ = ["Batch", "Log", "Ticket"]


class Log:
    """The records of one attempt that are not on disk yet.

    Args:
        committer: writes them.
        place: where they go: thread, fence and run.
        durability: when they are to be on disk.
    """

    __slots__ = (
        "_committer",
        "appended",
        "calls",
        "dirty",
        "durability",
        "error",
        "fence",
        "pending",
        "run_no",
        "thread_no",
        "written",
    )

    def __init__(self, committer: Committer, place: tuple[int, int, int], durability: Durability) -> None:
        self._committer = committer
        self.thread_no, self.fence, self.run_no = place
        self.durability = durability
        self.pending: list[Record] = []
        self.appended = 0
        self.written = 0
        self.calls = 0  # how many records of calls there have been, whoever wrote them
        self.dirty = False  # whether the committer knows that there is something to write
        self.error: BaseException | None = None

    @property
    def committer(self) -> Committer:
        """What writes the records."""
        return self._committer

    @property
    def checkpointer(self) -> BaseCheckpointer:
        """The database."""
        return self._committer.checkpointer

    def append(self, record: Record) -> None:
        """Take a record; it is written now, soon or at the end."""
        self.calls += record.kind <= FORGOTTEN
        self._committer.append(self, record)

    def flush(self) -> Steps[None]:
        """Go on when everything appended so far is on disk.

        Raises:
            DurablyError: it could not be written.
        """
        target = self.appended
        self._committer.note(self)
        yield from self._committer.until(lambda: self.written >= target or self.error is not None)
        if self.error is not None:
            raise self.error

    def reread(self) -> Steps[list[Record]]:
        """What is on disk of the run, with everything recorded so far."""
        self._committer.note(self)
        read = self._committer.perform(lambda transaction: transaction.records(self.run_no))
        return decode_records((yield from read))

    def chunk(self, count: int, *more: Record) -> Chunk:
        """The first ``count`` records, and ``more``, ready to be appended to the journal."""
        return Chunk(self.thread_no, self.fence, self.run_no, encode_records([*self.pending[:count], *more]))


class Ticket:
    """A piece of work in the queue, and what became of it."""

    __slots__ = ("done", "durable", "error", "result", "work")

    def __init__(self, work: Work, durable: bool) -> None:
        self.work = work
        self.durable = durable
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None

    def is_done(self) -> bool:
        """Whether something has become of it."""
        return self.done


class Batch:
    """What one transaction writes: the first ``counts`` records of each log, and the tickets."""

    __slots__ = ("counts", "logs", "tickets")

    def __init__(self, logs: list[Log], tickets: list[Ticket]) -> None:
        self.logs = logs
        self.counts = [len(log.pending) for log in logs] if logs else []
        self.tickets = tickets

    def transact(self, checkpointer: BaseCheckpointer) -> list[Any]:
        """Write it; returns what became of each log, then of each ticket."""
        chunks: list[Chunk] = []
        durable = False
        for log, count in zip(self.logs, self.counts, strict=True):
            chunks.append(log.chunk(count))
            durable = durable or log.durability == "sync"
        if not self.tickets:
            return list(checkpointer.append(chunks, durable=durable))
        works: list[Work] = [partial(_append, chunk) for chunk in chunks]
        for ticket in self.tickets:
            works.append(ticket.work)
            durable = durable or ticket.durable
        return checkpointer.transact(works, durable=durable)


def _append(chunk: Chunk, transaction: Transaction) -> bool:
    return transaction.append(chunk)
