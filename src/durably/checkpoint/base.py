"""The contract between the engine and a database, and what users ask of the database themselves.

The contract is in `durably.checkpoint.rows`: rows, and the operations of a `Transaction` on them. A backend provides these
in transactions; what is made of them is the same for every backend.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import ConfigError, DatabaseLocked, DatabaseUnavailable, DurablyError
from .copying import copying, reading, resealing, writing
from .retention import cutoff, deleting_runs, deleting_thread, pruning
from .rows import (
    Away,
    Busy,
    Chunk,
    Opened,
    OwnerRow,
    RunRow,
    Status,
    ThreadQuery,
    ThreadRow,
    Transaction,
    Uncertain,
    Work,
)

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from ..serde import Serializer
    from .session import Session

__all__ = [
    "Away",
    "BaseCheckpointer",
    "Busy",
    "Chunk",
    "Opened",
    "OwnerRow",
    "RunRow",
    "Status",
    "ThreadQuery",
    "ThreadRow",
    "Transaction",
    "Uncertain",
    "Work",
]


class BaseCheckpointer(ABC):
    """A database of threads, runs and journals. Safe to use from many threads at once.

    Attributes:
        inline: whether a call is so short that an event loop may make it itself.
        patience: for how many seconds a locked database is tried again.
        serde: turns values into bytes and back.
        committer: the engine's queue of writes to this database; backends leave it alone.
    """

    inline: ClassVar[bool] = True
    patience: float = 30.0
    serde: Serializer
    committer: Any = None

    @abstractmethod
    def transact(self, works: Sequence[Work], *, durable: bool = False) -> list[Any]:
        """Do all of ``works`` in one transaction.

        Args:
            works: in order; each sees what those before it wrote.
            durable: whether the transaction must survive a power cut when this returns.

        Returns:
            For each work what it returned, or the `DurablyError` it raised; such an error leaves the others alone.

        Raises:
            Busy: the database is locked; nothing was written.
            Uncertain: it was lost while it committed.
            StorageError: nothing was written.
        """

    def append(self, chunks: Sequence[Chunk], *, durable: bool = False) -> list[bool]:
        """Append to several journals in one transaction; for each, whether its fence still held."""
        return self.transact([_appending(chunk) for chunk in chunks], durable=durable)

    def read(self, work: Work) -> Any:
        """Do one work that only reads, and see one state of the database; by default in a transaction like any other.

        Raises:
            Busy: the database is locked.
            DurablyError: what the work raised.
        """
        (result,) = self.transact([work])
        if isinstance(result, DurablyError):
            raise result
        return result

    def listen(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Have ``heard`` called, from any thread, whenever a run may have become due.

        It is only a hint, so that a worker need not wait for its next look: it may come late, twice, or never. By default it
        never comes.

        Returns:
            What ends that.
        """
        return lambda: None

    def session(self, *, durable: bool = False, is_async: bool = False) -> Session:
        """A transaction for the body of a transactional task, and the connection to give it.

        Args:
            durable: whether the transaction must survive a power cut when it has been committed.
            is_async: whether the body is a coroutine function.

        Raises:
            ConfigError: this backend has none.
        """
        raise ConfigError(
            f"{type(self).__name__} has no tables of your own in which a transactional task could write: give the workflow "
            "a checkpointer on SQLite or Postgres, or replace the task by a stub in tests"
        )

    # Retention.

    def delete_thread(self, thread_id: str) -> bool:
        """Forget a thread with all its runs; whether there was one. A run under way can write nothing any more."""
        deleted = bool(self._write(deleting_thread(str(thread_id))))
        self.reclaim()
        return deleted

    def prune(
        self,
        thread_id: str | None = None,
        *,
        older_than: float | timedelta | datetime | None = None,
        keep_last: int | None = None,
    ) -> int:
        """Forget runs that are over, and free their space.

        The current run of a thread stays, and so does the one that it has its ``previous`` from; while it is under way, so
        does what it builds on.

        Args:
            thread_id: the thread; None for all threads.
            older_than: only runs that ended so many seconds (or such a timedelta) ago, or before this time.
            keep_last: so many of a thread's latest runs stay.

        Returns:
            How many runs were forgotten.

        Raises:
            ConfigError: neither ``older_than`` nor ``keep_last`` is given, or one is no such value.

        >>> from durably import InMemorySaver, entrypoint
        >>> saver = InMemorySaver()
        >>> @entrypoint(checkpointer=saver)
        ... def count(_: int, *, previous: int = 0) -> int:
        ...     return previous + 1
        >>> [count.invoke(0, thread_id="a") for _ in range(5)]
        [1, 2, 3, 4, 5]
        >>> saver.prune("a", keep_last=2), count.invoke(0, thread_id="a")
        (2, 6)
        """
        if older_than is None and keep_last is None:
            raise ConfigError("prune() was told neither older_than= nor keep_last=: say what may go")
        if keep_last is not None and (isinstance(keep_last, bool) or not isinstance(keep_last, int) or keep_last < 0):
            raise ConfigError(f"keep_last={keep_last!r}: give a whole number, zero or more")
        before = cutoff(older_than)
        names = self._thread_ids() if thread_id is None else [str(thread_id)]
        forgotten: int = sum(self._write(pruning(name, before, keep_last or 0, self.serde)) for name in names)
        self.reclaim()
        return forgotten

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> int:
        """Copy a thread with its history to a new one; returns how many runs it has.

        Raises:
            ConfigError: there is no such thread, or there is one of the new name.
        """
        return int(self._write(copying(str(source_thread_id), str(target_thread_id), self.serde)))

    def copy_to(self, other: BaseCheckpointer, thread_id: str | None = None) -> int:
        """Copy threads to another database, of whatever kind, with their history; returns how many were copied.

        Threads and runs keep their names, so that checkpoint ids, idempotency keys, open questions and submitted runs are
        there what they are here. A thread that is there already is left alone, so a copy that was interrupted can be made
        again. Stop the programs that use the threads before: nothing keeps two databases in step.

        Args:
            other: the other database.
            thread_id: the thread; None for all threads.

        Raises:
            ConfigError: there is no such thread, or the two serializers do not understand each other.

        >>> from durably import InMemorySaver, entrypoint
        >>> old, new = InMemorySaver(), InMemorySaver()
        >>> @entrypoint(checkpointer=old)
        ... def count(_: int, *, previous: int = 0) -> int:
        ...     return previous + 1
        >>> [count.invoke(0, thread_id="a") for _ in range(3)]
        [1, 2, 3]
        >>> old.copy_to(new), old.copy_to(new)
        (1, 0)
        """
        serde, copied = resealing(self.serde, other.serde), 0
        for name in self._thread_ids() if thread_id is None else [str(thread_id)]:
            history = self._write(reading(name))
            if history is None and thread_id is not None:
                raise ConfigError(f"there is no thread {name!r} to copy")
            copied += history is not None and other._write(writing(history, serde))
        return copied

    def delete_for_runs(self, run_ids: Sequence[str]) -> int:
        """Forget runs by name, even a thread's current one; returns how many there were.

        An attempt under way that has one of them as its run, or builds on what one of them saved, can write nothing any more.
        """
        deleted = int(self._write(deleting_runs(list(run_ids), self.serde)))
        self.reclaim()
        return deleted

    async def adelete_thread(self, thread_id: str) -> bool:
        """As `delete_thread`, without blocking the running event loop."""
        return await asyncio.to_thread(self.delete_thread, thread_id)

    async def aprune(
        self,
        thread_id: str | None = None,
        *,
        older_than: float | timedelta | datetime | None = None,
        keep_last: int | None = None,
    ) -> int:
        """As `prune`, without blocking the running event loop."""
        return await asyncio.to_thread(partial(self.prune, thread_id, older_than=older_than, keep_last=keep_last))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> int:
        """As `copy_thread`, without blocking the running event loop."""
        return await asyncio.to_thread(self.copy_thread, source_thread_id, target_thread_id)

    async def acopy_to(self, other: BaseCheckpointer, thread_id: str | None = None) -> int:
        """As `copy_to`, without blocking the running event loop."""
        return await asyncio.to_thread(self.copy_to, other, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> int:
        """As `delete_for_runs`, without blocking the running event loop."""
        return await asyncio.to_thread(self.delete_for_runs, run_ids)

    def reclaim(self) -> None:
        """Give the space of what was deleted back to the operating system, where the backend has to be told."""
        return

    def _thread_ids(self) -> Iterator[str]:
        after = 0
        while page := self._write(partial(_page_of_threads, after)):
            yield from (name for _, name in page)
            after = page[-1][0]

    def _write(self, work: Work) -> Any:
        """Do one work by itself, waiting for a locked database."""
        end = time.monotonic() + self.patience
        transact: Callable[[], list[Any] | None] = partial(self.transact, [work])
        results: list[Any] | None = None
        while results is None:
            try:
                results = transact()
                transact = partial(self.transact, [work])
            except Uncertain as uncertain:
                transact = uncertain.find_out
            except Busy as busy:
                if time.monotonic() > end:
                    kind = DatabaseUnavailable if isinstance(busy, Away) else DatabaseLocked
                    raise kind(f"{busy}; it stayed so for {self.patience:g} seconds") from busy
                time.sleep(0.005)
        if isinstance(results[0], DurablyError):
            raise results[0]
        return results[0]

    def close(self) -> None:
        """Give back what the backend holds open."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _appending(chunk: Chunk) -> Work:
    return lambda transaction: transaction.append(chunk)


def _page_of_threads(after: int, transaction: Transaction) -> list[tuple[int, str]]:
    return transaction.thread_nos(after, 500)
